package autonomy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
	"lastmile/internal/wholefile"
)

// The files in a probe's folder.
const (
	planFile   = "plan.json"    // the region's last plan
	cutOffFile = "cut-off.json" // there while the probe is on its own
	asideFile  = planFile + ".damaged"
	maxFile    = 64 << 20 // bytes
)

// store keeps the plan on a probe's disk. A file is either whole and under its name, or not there.
type store struct{ dir string }

// stored is the plan's file. The sum is over the plan as it stands there: what a disk has changed must not be measured.
type stored struct {
	Sum  string          `json:"sha256"`
	Plan json.RawMessage `json:"plan"`
}

// cutOff is the other file.
type cutOff struct {
	Since time.Time `json:"since"` // when a coordinator last answered, by the hub's clock
}

// load reads the plan of a region; nil where there is none. One that cannot be used is moved aside, and the error says why.
func (s store) load(region string) (*runs.Plan, error) {
	path := filepath.Join(s.dir, planFile)
	p, err := readPlan(path, region)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		return p, nil
	}
	err = fmt.Errorf("read plan %s: %w", path, err)
	if moved := os.Rename(path, filepath.Join(s.dir, asideFile)); moved != nil {
		return nil, errors.Join(err, moved)
	}
	return nil, err
}

func readPlan(path, region string) (*runs.Plan, error) {
	body, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return decodePlan(body, region)
}

// decodePlan reads what is in a plan's file.
func decodePlan(body []byte, region string) (*runs.Plan, error) {
	var f stored
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, err
	}
	if got := sum(f.Plan); got != f.Sum {
		return nil, fmt.Errorf("got a plan with sha256 %s, want the %.64q that was written with it", got, f.Sum)
	}
	var p runs.Plan
	if err := json.Unmarshal(f.Plan, &p); err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	if p.Region != region {
		return nil, fmt.Errorf("got a plan of region %s, want one of %s", p.Region, region)
	}
	return &p, nil
}

// save replaces the plan; it is on disk when save returns nil.
func (s store) save(p *runs.Plan) error {
	plan, err := json.Marshal(p)
	if err == nil {
		err = s.write(planFile, stored{Sum: sum(plan), Plan: plan})
	}
	if err != nil {
		return fmt.Errorf("keep plan: %w", err)
	}
	faultpoint.Reached(faultpoint.PlanStored)
	return nil
}

// mark notes that the probe is on its own, for its next process.
func (s store) mark(since time.Time) error { return s.write(cutOffFile, cutOff{Since: since}) }

// unmark notes that it no longer is. A note that comes back after a power failure does no harm.
func (s store) unmark() error {
	err := os.Remove(filepath.Join(s.dir, cutOffFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// marked tells since when the process before was on its own when it ended; ok=false where it was not.
func (s store) marked() (since time.Time, ok bool) {
	var c cutOff
	body, err := readFile(filepath.Join(s.dir, cutOffFile))
	if err != nil || json.Unmarshal(body, &c) != nil {
		return since, false
	}
	return c.Since, true
}

func sum(body []byte) string {
	hash := sha256.Sum256(body)
	return hex.EncodeToString(hash[:])
}

// readFile reads at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(body) > maxFile {
		err = fmt.Errorf("got more than %d bytes", maxFile)
	}
	return body, err
}

// write replaces a file.
func (s store) write(name string, content any) error {
	return wholefile.Replace(filepath.Join(s.dir, name), func(w io.Writer) error { return json.NewEncoder(w).Encode(content) }, nil)
}
