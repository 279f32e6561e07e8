package orders

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// ErrUnusable is in the error of Maintenance where what stands there cannot be read. It can be replaced.
var ErrUnusable = errors.New("unusable")

const (
	// KindMaintenance is the maintenance windows, of the whole fleet.
	KindMaintenance = "maintenance"

	// MaxMaintenanceSpan is the longest window: what is not to run for longer does not belong into the plan.
	MaxMaintenanceSpan = 90 * 24 * time.Hour
	// MaintenanceKept is how long a window is kept after its end: as long as a slot of it may still change.
	MaintenanceKept = 72 * time.Hour

	maxWhy = 500 // bytes
	maxBy  = 200 // bytes
)

// windows is the record of all maintenance windows.
type windows struct {
	Schema  int                `json:"schema"`
	Windows []runs.Maintenance `json:"windows"`
}

// Maintenance returns the maintenance windows, sorted by their beginning, and the revision to hand to SaveMaintenance; none and 0 where there have never
// been any. Where the record cannot be used the error holds ErrUnusable, and the revision is the one at which it can be replaced.
func (c *Coord) Maintenance(ctx context.Context) ([]runs.Maintenance, uint64, error) {
	packed, revision, err := c.read(ctx, KindMaintenance, "")
	if err != nil || revision == 0 {
		return nil, 0, err
	}
	list, err := DecodeMaintenance(packed)
	if err != nil {
		return nil, revision, fmt.Errorf("read maintenance windows: %w: %w", ErrUnusable, err)
	}
	return list, revision, nil
}

// SaveMaintenance replaces all windows and returns the new revision. revision is the one that Maintenance or the last SaveMaintenance returned;
// where it is no longer the latest the error holds ErrConflict, and nothing has changed.
func (c *Coord) SaveMaintenance(ctx context.Context, list []runs.Maintenance, revision uint64) (uint64, error) {
	packed, err := EncodeMaintenance(list)
	if err != nil {
		return 0, err
	}
	if err := c.fits(packed); err != nil {
		return 0, fmt.Errorf("encode maintenance windows: %w", err)
	}
	return c.swap(ctx, KindMaintenance, "", packed, revision)
}

// Planned names, for each region of which there is a record of beginnings, the scenarios that are in its plan, sorted.
func (c *Coord) Planned(ctx context.Context) (map[string][]string, error) {
	const what = "list what is planned"
	kv, err := c.js.KeyValue(ctx, c.bucket)
	if err != nil {
		return nil, c.fault(what, err)
	}
	keys, err := kv.ListKeysFiltered(ctx, key(KindBegun, "*"))
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil, c.fault(what, err)
	}
	out := map[string][]string{}
	if err != nil {
		return out, nil
	}
	defer func() { _ = keys.Stop() }() // it is only the subscription
	for k := range keys.Keys() {
		region := strings.TrimPrefix(k, KindBegun+".")
		record, _, err := c.Begun(ctx, region)
		if err != nil {
			return nil, err
		}
		names := map[string]bool{}
		for combination := range record.First {
			if _, gone := record.Left[combination]; !gone {
				name, _, _ := strings.Cut(combination, ".")
				names[name] = true
			}
		}
		out[region] = slices.Sorted(maps.Keys(names))
	}
	return out, nil
}

// KeptMaintenance returns those of the windows that have not been over for MaintenanceKept, in a slice of its own.
func KeptMaintenance(list []runs.Maintenance, now time.Time) []runs.Maintenance {
	return slices.DeleteFunc(slices.Clone(list), func(m runs.Maintenance) bool { return now.Sub(m.To) > MaintenanceKept })
}

// EncodeMaintenance packs windows that pass their checks: gzip'd JSON, sorted by beginning and then id.
func EncodeMaintenance(list []runs.Maintenance) ([]byte, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b runs.Maintenance) int {
		if d := a.From.Compare(b.From); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	if err := checkMaintenance(list); err != nil {
		return nil, err
	}
	packed, err := pack(windows{Schema: runs.Schema, Windows: list})
	if err != nil {
		return nil, fmt.Errorf("encode maintenance windows: %w", err)
	}
	return packed, nil
}

// DecodeMaintenance unpacks windows, so far as they are not too large, and checks them.
func DecodeMaintenance(packed []byte) ([]runs.Maintenance, error) {
	var record windows
	if err := unpack(packed, &record); err != nil {
		return nil, fmt.Errorf("decode maintenance windows: %w", err)
	}
	if record.Schema != runs.Schema {
		return nil, fmt.Errorf("decode maintenance windows: got schema %d, want %d", record.Schema, runs.Schema)
	}
	if err := checkMaintenance(record.Windows); err != nil {
		return nil, err
	}
	return record.Windows, nil
}

// checkMaintenance holds for what is written as well as for what is read. A window begins no earlier than it was made: what was due before it was
// announced is owed, and nobody takes a bad hour out of the books afterwards.
func checkMaintenance(list []runs.Maintenance) error {
	if len(list) > runs.MaxMaintenance {
		return fmt.Errorf("check maintenance windows: got %d, want at most %d: end some that have not begun, or wait until old ones are dropped", len(list), runs.MaxMaintenance)
	}
	known := map[string]bool{}
	for i := range list {
		m := &list[i]
		if err := m.Check(); err != nil {
			return err
		}
		switch {
		case known[m.ID]:
			return fmt.Errorf("check maintenance %s: got the id twice", m.ID)
		case m.From.Before(m.MadeAt):
			return fmt.Errorf("check maintenance %s: got from %s, want no earlier than when it was made, %s", m.ID, m.From, m.MadeAt)
		case m.To.Sub(m.From) > MaxMaintenanceSpan:
			return fmt.Errorf("check maintenance %s: got a window of %s, want at most %s", m.ID, m.To.Sub(m.From), MaxMaintenanceSpan)
		case !line(m.Why, maxWhy):
			return fmt.Errorf("check maintenance %s: got why %.600q, want one printable line of 1 to %d bytes", m.ID, m.Why, maxWhy)
		case !line(m.By, maxBy):
			return fmt.Errorf("check maintenance %s: got by %.300q, want one printable line of 1 to %d bytes", m.ID, m.By, maxBy)
		}
		known[m.ID] = true
	}
	return nil
}

// line reports whether a text is one that may be shown on a terminal as it is.
func line(text string, most int) bool {
	return text != "" && len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
