package notes

import (
	"fmt"
	"strings"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Begun says with which slot each combination of a region began: from then on every slot is accounted for, whatever dies. Its keys
// are <scenario>.<network>, its times Unix seconds.
type Begun struct {
	Schema int              `json:"schema"`
	Region string           `json:"region"`
	First  map[string]int64 `json:"first"`          // slots
	Left   map[string]int64 `json:"left,omitempty"` // since when a combination is in no plan any more
}

// MaxBegun is how many combinations a record may name.
const MaxBegun = 100_000

// BegunKey is a combination's in the record of its region.
func BegunKey(c scenario.Combination) string { return c.Scenario + "." + c.Network }

// Check reports what makes a record that came over the bus unusable.
func (b *Begun) Check() error {
	if b.Schema != runs.Schema {
		return fmt.Errorf("check beginnings: got schema %d, want %d", b.Schema, runs.Schema)
	}
	if !scenario.ValidName(b.Region) {
		return fmt.Errorf("check beginnings: got region %.100q, want a label", b.Region)
	}
	if len(b.First) > MaxBegun {
		return fmt.Errorf("check beginnings of %s: got %d combinations, want at most %d", b.Region, len(b.First), MaxBegun)
	}
	for key, slot := range b.First {
		name, network, _ := strings.Cut(key, ".")
		if !scenario.ValidName(name) || !scenario.ValidName(network) || slot <= 0 {
			return fmt.Errorf("check beginnings of %s: got %.200q at %d s, want <scenario>.<network> and a Unix time", b.Region, key, slot)
		}
	}
	for key, at := range b.Left {
		if _, ok := b.First[key]; !ok || at <= 0 {
			return fmt.Errorf("check beginnings of %s: got %.200q gone at %d s, want one that has begun and a Unix time", b.Region, key, at)
		}
	}
	return nil
}
