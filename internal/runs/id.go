package runs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/scenario"
)

// ID names one run: <scenario>.<region>.<network>.<slot in Unix seconds>. It follows from the plan alone, so the bus, the spool
// and the ledger all recognise a repeat, and a probe cut off from the hub derives the same ids.
type ID string

// NewID makes the id of a combination's run at a slot.
func NewID(c scenario.Combination, slot time.Time) ID {
	return ID(c.Scenario + "." + c.Region + "." + c.Network + "." + strconv.FormatInt(slot.Unix(), 10))
}

// Parse takes an id apart. The error names what was got and what was wanted.
func (id ID) Parse() (c scenario.Combination, slot time.Time, err error) {
	parts := strings.Split(string(id), ".")
	bad := fmt.Errorf("parse run id: got %.200q, want scenario.region.network.unixtime", string(id))
	if len(parts) != 4 {
		return c, slot, bad
	}
	for _, name := range parts[:3] {
		if !scenario.ValidName(name) {
			return c, slot, bad
		}
	}
	seconds, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil || seconds <= 0 || strconv.FormatInt(seconds, 10) != parts[3] {
		return c, slot, bad
	}
	return scenario.Combination{Scenario: parts[0], Region: parts[1], Network: parts[2]}, time.Unix(seconds, 0).UTC(), nil
}
