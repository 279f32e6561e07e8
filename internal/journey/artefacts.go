package journey

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lastmile/internal/har"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Keeper keeps the artefacts of runs.
type Keeper interface {
	// Keep stores the files of a run and says where they are. Those that it could store are returned with an error too.
	Keep(ctx context.Context, a *runs.Assignment, files []runs.File) ([]runs.Artefact, error)
}

// Camera is an executor that can show what it has before it.
type Camera interface {
	// Picture returns a screenshot on which nothing secret shows: what the scope knows, what was typed of it, passwords, and what the
	// scenario wants masked. An error means that there is none, or none that is known to show nothing. It ends with ctx.
	Picture(ctx context.Context, scope *vars.Scope) (runs.Picture, error)
}

// The bounds of what is kept of one run.
const (
	maxKept      = 4 << 20          // bytes of all its artefacts
	maxHAR       = 2 << 20          // bytes
	pictureLimit = 5 * time.Second  // for taking one screenshot: a quarter of a second, but on a machine or a page that is busy
	keepLimit    = 10 * time.Second // for storing all artefacts
)

// muted is an assignment of which nothing is kept.
func muted(a *runs.Assignment) *runs.Assignment {
	quiet := *a
	quiet.Scenario.Artefacts = scenario.Artefacts{Screenshot: scenario.WhenNever, HAR: scenario.WhenNever, Filmstrip: scenario.WhenNever}
	return &quiet
}

// photograph takes a screenshot of a step that is over, where one is to be kept. What that takes is ours, and so is what goes wrong.
func (r *run) photograph(ctx context.Context, done *runs.Step) {
	camera, ok := r.executors[ofBrowser].(Camera)
	if !ok || !done.Type.Browser() || ctx.Err() != nil || !r.a.Keeps(runs.ArtefactScreenshot, done.State == runs.StepFailed) {
		return
	}
	limit := r.spare(done.State)
	if limit <= 0 {
		r.missed(fmt.Errorf("screenshot of step %s: the run has no time to spare", done.ID))
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	picture, err := camera.Picture(ctx, r.scope)
	took := time.Since(began)
	r.opening += took
	if !r.cleanup.IsZero() {
		r.cleanup = r.cleanup.Add(took)
	}
	if err != nil {
		r.missed(fmt.Errorf("screenshot of step %s: %w", done.ID, err))
		return
	}
	done.Pictures = append(done.Pictures, picture)
}

// spare is how long a picture of the step that is over may take. While there may be steps to come, it is only what the run's deadline
// leaves beside the time that is the service's: else a step would fail for our picture.
func (r *run) spare(state runs.StepState) time.Duration {
	failed := state == runs.StepFailed && !r.a.Scenario.Steps[len(r.result.Steps)].Optional
	if failed || r.result.State == runs.StateFailed || r.fault != nil {
		return pictureLimit
	}
	return min(pictureLimit, r.a.Deadline.Sub(r.started.Add(r.a.Scenario.Timeout.D()+r.opening)))
}

// missed notes why an artefact is not there.
func (r *run) missed(err error) {
	r.lost = errors.Join(r.lost, err)
}

// keep makes the run's artefacts and hands them over. The result is complete by then, and nothing of it changes but what it says of them.
func (r *run) keep(ctx context.Context, keeper Keeper, version string) {
	if keeper != nil {
		if files := r.files(version); len(files) > 0 {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepLimit)
			defer cancel()
			kept, err := keeper.Keep(ctx, r.a, files)
			r.result.Artefacts = kept
			if err != nil {
				r.missed(err)
			}
		}
	}
	if r.lost != nil {
		r.result.ArtefactError = clip(r.scope.Redact(strings.ReplaceAll(r.lost.Error(), "\n", "; ")))
	}
	for i := range r.result.Steps {
		r.result.Steps[i].Pictures = nil // they have gone where they are kept, or nowhere
	}
	for i := range r.result.Requests {
		r.result.Requests[i].Exchange = nil
	}
}

// maxComplaint is how much of an error a result has, in bytes.
const maxComplaint = 500

func clip(text string) string {
	if len(text) <= maxComplaint {
		return text
	}
	return strings.ToValidUTF8(text[:maxComplaint], "") + "..."
}

// files are the run's artefacts, the telling ones first, as many as may be kept of one run.
func (r *run) files(version string) []runs.File {
	bad := r.result.State != runs.StatePassed
	var files []runs.File
	left := int64(maxKept)
	add := func(file runs.File) {
		if left -= int64(len(file.Data)); left < 0 {
			r.missed(fmt.Errorf("%s: left out: a run may keep %d bytes", file.Name, int64(maxKept)))
			left += int64(len(file.Data))
			return
		}
		files = append(files, file)
	}
	if r.a.Keeps(runs.ArtefactHAR, bad) {
		body, truncated, err := har.Encode(&r.result, har.Options{Version: cmp.Or(version, "devel"), Redact: r.scope.Redact, Limit: maxHAR})
		if err != nil {
			r.missed(err)
		} else {
			add(runs.File{Kind: runs.ArtefactHAR, Name: "run.har", ContentType: "application/json", Data: body, Truncated: truncated})
		}
	}
	for _, file := range r.screenshots() {
		add(file)
	}
	if len(r.film) > 0 && r.a.Keeps(runs.ArtefactFilmstrip, bad) {
		strip := make([]frame, 0, len(r.film))
		for _, p := range r.film {
			strip = append(strip, frame{r.since(p.At), p.Step, p.JPEG})
		}
		body, err := json.Marshal(strip)
		if err != nil { // cannot happen: plain values
			r.missed(err)
		}
		add(runs.File{Kind: runs.ArtefactFilmstrip, Name: "run.filmstrip.json", ContentType: "application/json", Data: body})
	}
	return files
}

// frame is one picture of a filmstrip.
type frame struct {
	AtMS float64 `json:"at_ms"` // since the run's start
	Step string  `json:"step"`
	JPEG []byte  `json:"jpeg"` // base64
}

// screenshots are those of the steps: of the failed ones first, and then the latest first.
func (r *run) screenshots() (files []runs.File) {
	failed, used := map[string]bool{}, map[string]bool{}
	for i := range r.result.Steps {
		step := &r.result.Steps[i]
		for _, p := range step.Pictures {
			name := plainName(step.ID, i)
			for used[name] { // by a step that is called what another one's place is
				name = fmt.Sprintf("%s-%d", name, i+1)
			}
			used[name] = true
			name += ".screenshot.jpg"
			failed[name] = step.State == runs.StepFailed
			files = append(files, runs.File{Kind: p.Kind, Step: step.ID, Name: name, ContentType: "image/jpeg", Data: p.JPEG})
		}
	}
	slices.Reverse(files)
	slices.SortStableFunc(files, func(a, b runs.File) int {
		rank := map[bool]int{true: 0, false: 1}
		return cmp.Compare(rank[failed[a.Name]], rank[failed[b.Name]])
	})
	return files
}

// maxStepName is how much of a step's id stands in a file's name, in bytes.
const maxStepName = 60

// plainName turns a step's id into the beginning of a file's name, which is its own in the run: i is the step's place.
func plainName(id string, i int) string {
	plain := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, id)
	plain = strings.TrimLeft(plain[:min(len(plain), maxStepName)], "-_")
	if plain != id {
		plain = strings.TrimPrefix(fmt.Sprintf("%s-%d", plain, i+1), "-")
	}
	return plain
}
