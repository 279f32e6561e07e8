package runs

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/scenario"
)

// Result is what became of one run. Durations are milliseconds, sizes bytes.
type Result struct {
	Schema     int       `json:"schema"`
	RunID      ID        `json:"run_id"`
	Scenario   string    `json:"scenario"`
	Revision   string    `json:"revision"`
	Region     string    `json:"region"`
	Network    string    `json:"network"`
	Slot       time.Time `json:"slot"`
	Trigger    Trigger   `json:"trigger"`
	Probe      string    `json:"probe"`
	Autonomous bool      `json:"autonomous,omitempty"` // the probe ordered it itself, cut off from any coordinator
	State      State     `json:"state"`
	Cause      *Cause    `json:"cause,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	DurationMS float64   `json:"duration_ms"` // from the first step's start to the last step's end; waiting for a page to settle not included
	Steps      []Step    `json:"steps"`
	Requests   []Request `json:"requests"`
	Dropped    int       `json:"requests_dropped,omitempty"` // requests left out, for there were too many to keep or to fit a message: they are in steps, but not among what is counted by request
	Cache      Cache     `json:"cache"`
	Link       Link      `json:"link"`
	TraceID    string    `json:"trace_id,omitempty"` // W3C Trace Context, as sent in traceparent

	Replication   *Replication     `json:"replication,omitempty"`
	Clock         *Clock           `json:"clock,omitempty"`       // the probe's, where its offset is known
	Navigations   []Navigation     `json:"navigations,omitempty"` // of the browser, in order
	Console       []ConsoleMessage `json:"console,omitempty"`     // warnings and errors of pages, uncaught exceptions included; bounded
	Artefacts     []Artefact       `json:"artefacts,omitempty"`
	ArtefactError string           `json:"artefact_error,omitempty"` // why an artefact that was to be kept is not there; redacted
	Load          *Load            `json:"load,omitempty"`           // what the run and its machine were busy with
	Tainted       []string         `json:"tainted,omitempty"`        // why the run's times are not to be trusted: it counts for availability, not for latency
}

// Navigation is one document, or one soft navigation (history.pushState after a person's action), that the main frame showed.
type Navigation struct {
	Step      string  `json:"step"`
	URL       string  `json:"url"` // redacted, without its query
	Soft      bool    `json:"soft,omitempty"`
	StartedMS float64 `json:"started_ms"` // since the run's start
	Vitals    Vitals  `json:"vitals"`     // as they were when the next navigation began, or the run ended

	StartedAt time.Time `json:"-"`
}

// Replication is what a run of kind replication found.
type Replication struct {
	From       string    `json:"from"`                  // the region that wrote
	WrittenAt  time.Time `json:"written_at"`            // when the write was acknowledged, by the writer's clock as corrected by its offset
	LagMS      *float64  `json:"lag_ms,omitempty"`      // from then until a read saw it, clocks corrected; nil for the writer, and where it was never seen
	ErrorMS    float64   `json:"error_ms,omitempty"`    // how far off LagMS may be: both clocks' errors, and the time from one look to the next
	Looks      int       `json:"looks,omitempty"`       // reads in all
	StaleReads int       `json:"stale_reads,omitempty"` // of those, that did not see the write yet
	Backwards  int       `json:"backwards,omitempty"`   // of those, that no longer saw it after one had
	Lost       bool      `json:"lost,omitempty"`        // no read saw it within the run's time
}

// Clock is how a probe's clock compares with the hub's.
type Clock struct {
	OffsetMS float64 `json:"offset_ms"` // to be added to the probe's time
	ErrorMS  float64 `json:"error_ms"`  // at most so far off
}

// ConsoleMessage is what a page said on its console.
type ConsoleMessage struct {
	Step  string `json:"step"`
	Level string `json:"level"` // warning, error, exception
	Text  string `json:"text"`  // redacted, cut off after 500 bytes
	URL   string `json:"url,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// Load is what the run cost, and what its machine was busy with.
type Load struct {
	Cores       float64  `json:"cores"`                     // that the probe may use
	Weight      float64  `json:"weight,omitempty"`          // the cores that admission reckoned with for this run
	Busy        float64  `json:"busy,omitempty"`            // the cores that other runs had been given when it was admitted
	LateMS      float64  `json:"late_ms"`                   // from the slot until the first step
	WaitedMS    float64  `json:"waited_ms,omitempty"`       // of that, for admission
	LaunchMS    float64  `json:"launch_ms,omitempty"`       // the start of the browser
	CPUSeconds  float64  `json:"cpu_s,omitempty"`           // of the browser, all its processes
	LaunchCPU   float64  `json:"launch_cpu_s,omitempty"`    // of that, for its start
	OthersCPU   float64  `json:"others_cpu_s,omitempty"`    // of everybody else on the machine, from the first step on
	PeakMemory  int64    `json:"peak_memory,omitempty"`     // of the browser, bytes
	PressureCPU *float64 `json:"cpu_pressure_ms,omitempty"` // how long work of this machine waited for a processor meanwhile (PSI)
}

// Combination names what the result is of.
func (r *Result) Combination() scenario.Combination {
	return scenario.Combination{Scenario: r.Scenario, Region: r.Region, Network: r.Network}
}

// Duration returns the run's duration.
func (r *Result) Duration() time.Duration {
	return time.Duration(r.DurationMS * float64(time.Millisecond))
}

// Check reports what makes a result that came over the bus unusable.
func (r *Result) Check() error {
	if r.Schema != Schema {
		return fmt.Errorf("check result: got schema %d, want %d", r.Schema, Schema)
	}
	c, slot, err := r.RunID.Parse()
	if err != nil {
		return fmt.Errorf("check result: %w", err)
	}
	if c != r.Combination() || !slot.Equal(r.Slot) {
		return fmt.Errorf("check result: got run id %s, want that of %+v at %s", r.RunID, r.Combination(), r.Slot)
	}
	if !r.State.Measured() && r.State != StateInvalid {
		return fmt.Errorf("check result %s: got state %q, want passed, degraded, failed or invalid", r.RunID, r.State)
	}
	if r.Cause != nil && !slices.Contains(Classes(), r.Cause.Class) {
		return fmt.Errorf("check result %s: got cause class %.100q, want one of %v", r.RunID, r.Cause.Class, Classes())
	}
	if r.Trigger != TriggerSchedule && r.Trigger != TriggerManual && r.Trigger != TriggerConfirm {
		return fmt.Errorf("check result %s: got trigger %.100q, want schedule, manual or confirm", r.RunID, r.Trigger)
	}
	if !(r.DurationMS >= 0 && r.DurationMS < 1e9) { // also refuses NaN
		return fmt.Errorf("check result %s: got duration %v ms, want 0 to 1e9", r.RunID, r.DurationMS)
	}
	return nil
}

// Step is what became of one step.
type Step struct {
	ID         string            `json:"id"` // the step's own id, or its position from 1
	Type       scenario.StepType `json:"type"`
	State      StepState         `json:"state"`
	Cause      *Cause            `json:"cause,omitempty"`
	StartedMS  float64           `json:"started_ms,omitempty"` // since the run's start
	DurationMS float64           `json:"duration_ms"`          // time the user waits; look-up and settling not included
	SettledMS  *float64          `json:"settled_ms,omitempty"` // until the page was quiet, where it was watched
	Requests   int               `json:"requests"`
	Bytes      int64             `json:"bytes"`
	Selector   string            `json:"selector,omitempty"` // the alternative that won
	Vitals     *Vitals           `json:"vitals,omitempty"`
	Attempts   int               `json:"attempts,omitempty"` // where the step polls or retries
	Warnings   []string          `json:"warnings,omitempty"` // breached budgets, and what the step asked for in vain
	Skipped    SkipReason        `json:"skipped,omitempty"`  // why, where State is skipped
	Pictures   []Picture         `json:"-"`                  // for the artefacts: they do not travel with the result
}

// SkipReason says why a step did not run.
type SkipReason string

// The reasons.
const (
	SkipFailure SkipReason = "failure" // an earlier step failed
	SkipWhen    SkipReason = "when"    // its condition did not hold
)

// Picture is what a browser showed.
type Picture struct {
	Kind ArtefactKind // screenshot or filmstrip
	Step string       // during which it was taken
	At   time.Time
	JPEG []byte // what must not show is covered
}

// StepState is what became of a step.
type StepState string

// The states of a step.
const (
	StepPassed   StepState = "passed"
	StepDegraded StepState = "degraded"
	StepFailed   StepState = "failed"
	StepSkipped  StepState = "skipped"
)

// Vitals are web vitals: a step's are those of the last navigation it led to, or where it led to none, CLS while it ran. INP is of what
// was done in the step, where anything was. nil where the page did not report one.
type Vitals struct {
	TTFB *float64 `json:"ttfb_ms,omitempty"`
	FCP  *float64 `json:"fcp_ms,omitempty"`
	LCP  *float64 `json:"lcp_ms,omitempty"`
	CLS  *float64 `json:"cls,omitempty"`
	INP  *float64 `json:"inp_ms,omitempty"`
}

// Request is one request of a run. URL is redacted and without its query.
type Request struct {
	Step         string            `json:"step"`
	URL          string            `json:"url"`
	Method       string            `json:"method"`
	Status       int               `json:"status"` // 0 = no response
	Protocol     string            `json:"protocol,omitempty"`
	RemoteAddr   string            `json:"remote_addr,omitempty"`
	Phases       Phases            `json:"phases"`
	Bytes        int64             `json:"bytes"`                   // received, headers included where known
	BrowserCache string            `json:"browser_cache,omitempty"` // memory, disk, prefetch, service-worker; "" = from the network
	Cache        cachestate.Result `json:"cache"`
	ServedRegion string            `json:"served_region,omitempty"`
	PoP          string            `json:"pop,omitempty"`     // the CDN's point of presence, as it names it
	Warm         bool              `json:"warm,omitempty"`    // the run had asked for this before
	Again        bool              `json:"again,omitempty"`   // in a further attempt of a step that polls or retries: only the first is counted, of caches and regions
	Exposed      string            `json:"exposed,omitempty"` // why a shared cache ought not to have answered this
	SpanID       string            `json:"span_id,omitempty"` // W3C Trace Context, as sent in traceparent
	Error        string            `json:"error,omitempty"`
	StartedMS    float64           `json:"started_ms"`              // since the run's start
	Type         string            `json:"type,omitempty"`          // browser: document, script, image, fetch, websocket, ...
	From         string            `json:"from,omitempty"`          // browser: page, frame, worker, service-worker, popup; "" = http step
	RedirectedTo string            `json:"redirected_to,omitempty"` // as URL
	StartedAt    time.Time         `json:"-"`
	Exchange     *Exchange         `json:"-"` // for the HAR: it does not travel with the result
}

// Trail is what a session leaves behind beside the outcome of its steps. Requests and navigations are in order of start.
type Trail struct {
	Requests    []Request
	Dropped     int // requests beyond those that are kept
	Navigations []Navigation
	Vitals      map[string]Vitals // by step, in place of what the step said: a page tells how it took a click when it has been painted again
	Console     []ConsoleMessage
	Load        *Load // nil = nothing to tell
	Tainted     []string
	Film        []Picture // the filmstrip, in order
}

// Exchange is what only a HAR has of a request. Nothing in it is redacted.
type Exchange struct {
	URL             string // with its query
	StatusText      string
	RequestHeaders  http.Header
	ResponseHeaders http.Header
	RequestBytes    int64  // of the request's body
	BodyBytes       int64  // of the response's body, decoded; -1 = not known
	MIME            string // of the response
	Priority        string // browser: VeryHigh ... VeryLow
	Initiator       string // browser: the URL of what asked for it
}

// Phases are the parts of a request in milliseconds. A phase that did not happen (a reused connection has no connect) is nil:
// zero would read as "instant". connect includes tls.
type Phases struct {
	Blocked *float64 `json:"blocked_ms,omitempty"`
	DNS     *float64 `json:"dns_ms,omitempty"`
	Connect *float64 `json:"connect_ms,omitempty"`
	TLS     *float64 `json:"tls_ms,omitempty"`
	Send    *float64 `json:"send_ms,omitempty"`
	Wait    *float64 `json:"wait_ms,omitempty"`
	Receive *float64 `json:"receive_ms,omitempty"`
}

// Cache counts the run's CDN cache answers by state.
type Cache struct {
	Hits    int                      `json:"hits"`
	Misses  int                      `json:"misses"` // every other answer that belongs in the hit ratio
	ByState map[cachestate.State]int `json:"by_state,omitempty"`
}

// Summarise fills the result's cache counts from its requests. Answers from the browser's own cache did not reach the CDN and
// do not count, nor do those to further attempts of a step: a poll would drown all others.
func (r *Result) Summarise() {
	r.Cache = Cache{ByState: map[cachestate.State]int{}}
	for i := range r.Requests {
		q := &r.Requests[i]
		if q.BrowserCache != "" || q.Status == 0 || q.Again {
			continue
		}
		r.Cache.ByState[q.Cache.State]++
		switch {
		case q.Cache.State.Hit():
			r.Cache.Hits++
		case q.Cache.State.Counts():
			r.Cache.Misses++
		}
	}
}
