package evaluate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"lastmile/internal/evaluate/evidence"
	"lastmile/internal/scenario"
)

// The form of what is saved: the magic line, then blocks, each with its length before it (4 bytes, big-endian). The first is the state, the second the
// drift of each scenario, each further one a unit; one of no length is the end.
const (
	savedMagic = "lastmile evaluate 1\n"
	maxBlock   = 64 << 20 // bytes
)

// savedPlan is the drift of a scenario.
type savedPlan struct {
	Scenario string         `json:"scenario"`
	Drift    *evidence.Sums `json:"drift"`
}

// Save writes all of it, counts and states. Results and verdicts must not be taken up meanwhile; all else may go on, since the engine is locked for one
// unit at a time, and never while w writes.
func (e *Engine) Save(w io.Writer) error {
	e.mu.Lock()
	units := slices.Clone(e.list)
	first, err := json.Marshal(e.state(false))
	var drifts []savedPlan
	for _, p := range e.ordered {
		drifts = append(drifts, savedPlan{Scenario: p.Scenario.Name, Drift: &p.Drift.Sums})
	}
	second, err2 := json.Marshal(drifts)
	e.mu.Unlock()
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	if _, err = io.WriteString(w, savedMagic); err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	if err = errors.Join(writeBlock(w, first), writeBlock(w, second)); err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	for _, u := range units {
		e.mu.Lock()
		blank := !u.Heard()
		body, err := u.save()
		e.mu.Unlock()
		if blank {
			continue
		}
		if err = errors.Join(err, writeBlock(w, body)); err != nil {
			return fmt.Errorf("save alerts: %s in %s: %w", u.Scenario, u.Region, err)
		}
	}
	if err = writeBlock(w, nil); err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	return nil
}

// save returns the unit's block: what was decided on, whether it is to be looked at, and the evidence.
func (u *unit) save() ([]byte, error) {
	out := binary.BigEndian.AppendUint64(nil, uint64(u.handled))
	out = append(out, flag(u.changed), flag(u.queued))
	return u.Append(out)
}

const unitHead = 10 // bytes before the evidence

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// loadUnit reads a unit's block.
func loadUnit(body []byte) (*unit, error) {
	if len(body) < unitHead || body[8] > 1 || body[9] > 1 {
		return nil, errors.New("read unit: got an end, or flags that are none")
	}
	known, err := evidence.Load(body[unitHead:])
	return &unit{Unit: known, handled: int64(binary.BigEndian.Uint64(body)), changed: body[8] == 1, queued: body[9] == 1}, err
}

func writeBlock(w io.Writer, body []byte) error {
	if len(body) > maxBlock {
		return fmt.Errorf("write block: got %d bytes, want at most %d", len(body), maxBlock)
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...))
	return err
}

// Load reads what Save wrote, and no further. Scenarios may be defined before or after. After an error nothing has changed.
func (e *Engine) Load(r io.Reader) error {
	loaded := New(e.books)
	if err := loaded.load(r); err != nil {
		return fmt.Errorf("load alerts: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var scenarios []scenario.Scenario
	for _, p := range e.ordered {
		scenarios = append(scenarios, p.Scenario)
	}
	e.ticked, e.since, e.gone, e.plans, e.units = loaded.ticked, loaded.since, loaded.gone, loaded.plans, loaded.units
	e.ordered, e.list, e.active, e.touched = nil, nil, nil, nil
	if len(scenarios) > 0 {
		e.define(scenarios)
	}
	return nil
}

// load reads into an engine that knows nothing.
func (e *Engine) load(r io.Reader) error {
	magic := make([]byte, len(savedMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != savedMagic {
		return errors.Join(fmt.Errorf("got %q, want %q", magic, savedMagic), err)
	}
	body, err := readBlock(r)
	if err != nil {
		return err
	}
	s, err := readState(body)
	if err != nil {
		return err
	}
	if body, err = readBlock(r); err != nil {
		return err
	}
	var drifts []savedPlan
	if err = json.Unmarshal(body, &drifts); err != nil {
		return fmt.Errorf("read drift: %w", err)
	}
	for _, d := range drifts {
		if d.Drift == nil {
			return fmt.Errorf("read drift: got none of %.100q", d.Scenario)
		}
		e.shell(d.Scenario).Drift.Sums = *d.Drift
	}
	for {
		if body, err = readBlock(r); err != nil {
			return err
		}
		if len(body) == 0 {
			break
		}
		u, err := loadUnit(body)
		if err != nil {
			return err
		}
		e.units[unitKey{u.Scenario, u.Region}] = u
	}
	e.ticked, e.since, e.gone = s.Ticked, s.Since, s.Gone
	for i := range s.Units {
		from := &s.Units[i]
		key := unitKey{from.Scenario, from.Region}
		if e.units[key] == nil {
			e.units[key] = &unit{Unit: evidence.Unit{Scenario: key.scenario, Region: key.region}}
		}
		e.units[key].standing, e.units[key].handled = from.Standing, from.Handled
	}
	for i := range s.Plans {
		e.shell(s.Plans[i].Scenario).global = s.Plans[i].Standing
	}
	return nil
}

// shell returns the plan of a scenario that is to be defined yet.
func (e *Engine) shell(name string) *plan {
	if e.plans[name] == nil {
		e.plans[name] = &plan{Plan: &evidence.Plan{}}
	}
	return e.plans[name]
}

// readBlock reads one, and takes no more room than there are bytes.
func readBlock(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, fmt.Errorf("read block: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n > maxBlock {
		return nil, fmt.Errorf("read block: got %d bytes, want at most %d", n, maxBlock)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, n); err != nil {
		return nil, fmt.Errorf("read block of %d bytes: %w", n, err)
	}
	return body.Bytes(), nil
}
