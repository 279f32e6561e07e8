package evidence

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"lastmile/internal/evaluate/tally"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// savedUnit is what a block says of a unit before its counts.
type savedUnit struct {
	Scenario string         `json:"scenario"`
	Region   string         `json:"region"`
	Head     int64          `json:"head"`
	BadAt    int64          `json:"bad_at,omitempty"`
	LostAt   int64          `json:"lost_at,omitempty"`
	LeakAt   int64          `json:"leak_at,omitempty"`
	Leak     *runs.Failure  `json:"leak,omitempty"`
	Share    savedShare     `json:"share"`
	Networks []savedNetwork `json:"networks"`
	Tracks   []savedTrack   `json:"tracks"`
}

type savedShare struct {
	Slice   int64 `json:"slice"`
	Stretch int64 `json:"stretch"`
	Count   int   `json:"count"`
	Last    int64 `json:"last"`
}

type savedNetwork struct {
	Name  string `json:"name"`
	Probe string `json:"probe,omitempty"`
}

type savedTrack struct {
	SLO     scenario.SLO  `json:"slo"`
	BaseBad float64       `json:"base_bad"`
	BaseAll float64       `json:"base_all"`
	Streak  uint16        `json:"streak"`
	First   *runs.Failure `json:"first,omitempty"`
	Latest  *runs.Failure `json:"latest,omitempty"`
}

// Append appends a form from which Load restores the unit, but for what its plan says.
func (u *Unit) Append(out []byte) ([]byte, error) {
	s := savedUnit{
		Scenario: u.Scenario, Region: u.Region, Head: int64(u.head), BadAt: u.BadAt, LostAt: u.LostAt, LeakAt: u.LeakAt, Leak: u.Leak,
		Share: savedShare{Slice: u.share.slice, Stretch: u.share.stretch, Count: u.share.count, Last: u.share.last},
	}
	for i := range u.Networks {
		s.Networks = append(s.Networks, savedNetwork{Name: u.Networks[i].Name, Probe: u.Networks[i].Probe})
	}
	for i := range u.Tracks {
		t := &u.Tracks[i]
		one := savedTrack{SLO: t.Objective.SLO, BaseBad: t.baseBad, BaseAll: t.baseAll, Streak: t.Streak}
		if t.Failed != nil {
			one.First, one.Latest = &t.Failed.First, &t.Failed.Latest
		}
		s.Tracks = append(s.Tracks, one)
	}
	head, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write unit: %w", err)
	}
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(head))), head...)
	out = u.skipped.Append(u.unmeasured.Append(u.measured.Append(out)))
	for i := range u.Networks {
		out = u.Networks[i].Recent.Append(out)
	}
	for i := range u.Tracks {
		t := &u.Tracks[i]
		out = t.ran.Append(t.badEvents.Append(t.events.Append(t.idle.Append(t.left.Append(t.lost.Append(out))))))
	}
	return out, nil
}

// Load restores a unit, to be attached to a plan. The bytes may be any.
func Load(body []byte) (u Unit, err error) {
	if len(body) < 4 || int64(binary.BigEndian.Uint32(body)) > int64(len(body)-4) {
		return u, errors.New("read unit: got an end, want its head")
	}
	size := int(binary.BigEndian.Uint32(body))
	var s savedUnit
	if err := json.Unmarshal(body[4:4+size], &s); err != nil {
		return u, fmt.Errorf("read unit: %w", err)
	}
	if s.Head < 0 || s.Head > 1<<40 {
		return u, fmt.Errorf("read unit: got newest minute %d, want one of this age", s.Head)
	}
	u = Unit{
		Scenario: s.Scenario, Region: s.Region, head: tally.Head(s.Head), BadAt: s.BadAt, LostAt: s.LostAt, LeakAt: s.LeakAt, Leak: s.Leak,
		share: driftShare{slice: s.Share.Slice, stretch: s.Share.Stretch, count: s.Share.Count, last: s.Share.Last},
	}
	rest := body[4+size:]
	err = readAll(&rest, reader(&u.measured), reader(&u.unmeasured), reader(&u.skipped))
	u.Networks = make([]Network, len(s.Networks))
	for i, n := range s.Networks {
		u.Networks[i].Name, u.Networks[i].Probe = n.Name, n.Probe
		err = errors.Join(err, readAll(&rest, u.Networks[i].Recent.Read))
	}
	u.Tracks = make([]Track, len(s.Tracks))
	for i, one := range s.Tracks {
		t := &u.Tracks[i]
		t.Objective, t.baseBad, t.baseAll, t.Streak = newObjective(one.SLO), one.BaseBad, one.BaseAll, one.Streak
		if one.First != nil && one.Latest != nil {
			t.Failed = &Failed{First: *one.First, Latest: *one.Latest}
		}
		if t.baseBad < 0 || t.baseAll < t.baseBad {
			return u, fmt.Errorf("read unit: got %v of %v runs to learn from, want no more bad ones than runs", t.baseBad, t.baseAll)
		}
		err = errors.Join(err, readAll(&rest, reader(&t.lost), reader(&t.left), reader(&t.idle), reader(&t.events), reader(&t.badEvents), reader(&t.ran)))
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("read unit: got %d bytes more, want an end", len(rest))
	}
	return u, err
}

func reader[T tally.Count](c **tally.Counter[T]) func([]byte) ([]byte, error) {
	return func(in []byte) ([]byte, error) { return tally.Read(c, in) }
}

// readAll reads one thing after another, up to the first that is not there.
func readAll(rest *[]byte, read ...func([]byte) ([]byte, error)) (err error) {
	for _, one := range read {
		if *rest, err = one(*rest); err != nil {
			return err
		}
	}
	return nil
}

type savedSums struct {
	Base  float64     `json:"base"`
	Zero  int64       `json:"zero"`
	Head  int64       `json:"head"`
	Cells [][2]uint32 `json:"cells"`
}

// MarshalJSON implements json.Marshaler.
func (d *Sums) MarshalJSON() ([]byte, error) {
	s := savedSums{Base: d.base, Zero: d.zero, Head: d.head}
	for _, c := range d.cells {
		s.Cells = append(s.Cells, [2]uint32{c.good, c.bad})
	}
	return json.Marshal(s)
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Sums) UnmarshalJSON(body []byte) error {
	var s savedSums
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	if len(s.Cells) != driftMinutes || s.Head < 0 || s.Base < 0 {
		return fmt.Errorf("read drift: got %d minutes up to %d and a sum of %v, want %d, and none below 0", len(s.Cells), s.Head, s.Base, driftMinutes)
	}
	*d = Sums{base: s.Base, zero: s.Zero, head: s.Head}
	for i, c := range s.Cells {
		d.cells[i] = driftCell{good: c[0], bad: c[1]}
	}
	return nil
}
