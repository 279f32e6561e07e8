package runs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"lastmile/internal/scenario"
)

// maxExposed bounds the warnings of a step about answers that a shared cache ought not to have given.
const maxExposed = 5

// Review fills in what only all requests of the run together tell: which of them the run had made before, and with which step to warn of
// answers that a shared cache ought not to have given. A warning neither fails nor degrades the run: see cachestate.Exposed for why.
// It is to be called once, before texts are redacted.
func (r *Result) Review() {
	r.markWarm()
	warned := map[string]int{}
	for i := range r.Requests {
		q := &r.Requests[i]
		if q.Exposed == "" {
			continue
		}
		at := len(r.Steps) - 1
		for at >= 0 && r.Steps[at].ID != q.Step {
			at--
		}
		if at < 0 || warned[q.Step] == maxExposed {
			continue
		}
		warned[q.Step]++
		r.Steps[at].Warnings = append(r.Steps[at].Warnings, "exposed: "+q.URL+": "+q.Exposed)
	}
}

// markWarm marks the requests that the run had made before, by whichever kind of step: same method, same URL with its query. Only what
// went over the network counts, and only what was answered: nothing else can have warmed a cache. Of two that are under way at once the
// later counts as warm, though it may not find what the earlier has not brought yet.
func (r *Result) markWarm() {
	order := make([]*Request, len(r.Requests))
	for i := range r.Requests {
		order[i] = &r.Requests[i]
	}
	slices.SortStableFunc(order, func(a, b *Request) int { return cmp.Compare(a.StartedMS, b.StartedMS) })
	asked := map[string]bool{}
	for _, q := range order {
		if q.BrowserCache != "" || q.Status == 0 {
			continue
		}
		url := q.URL
		if q.Exchange != nil && q.Exchange.URL != "" {
			url, _, _ = strings.Cut(q.Exchange.URL, "#")
		}
		key := q.Method + " " + url
		q.Warm, asked[key] = asked[key], true
	}
}

// OtherLabel stands for what has no name of its own among counts: a URL that no objective matches, or a name beyond those that are kept
// apart.
const OtherLabel = "other"

// Lookups counts the answers of a shared cache, one that may store what was asked for, for one class of objects at one point of presence.
type Lookups struct {
	Class string // name of the first objective with sli cache-hit whose match fits; else OtherLabel
	PoP   string // as the CDN names it; "unknown" where it does not
	Warm  bool   // the run had asked for the same before
	Hits  int64  // from the cache, fresh
	Stale int64  // from the cache, past its freshness
	Other int64  // from the origin, or after asking it
}

// Ages adds up how old the answers from caches were, for one class of objects.
type Ages struct {
	Class string
	Sum   time.Duration
	Count int64
}

// Waits adds up how long requests waited for the first byte of their answer.
type Waits struct {
	Sum   time.Duration
	Count int64
}

// Add takes up more of them.
func (w *Waits) Add(more Waits) {
	w.Sum += more.Sum
	w.Count += more.Count
}

// Mean is their mean; ok=false where there are none.
func (w Waits) Mean() (mean time.Duration, ok bool) {
	if w.Count == 0 {
		return 0, false
	}
	return w.Sum / time.Duration(w.Count), true
}

// Routed is how long answers took by whether the region that gave them was the expected one. Runs whose times are not to be trusted are
// left out.
type Routed struct {
	Right, Wrong Waits
}

// Cost is how much longer an answer of a wrong region took in the mean than one of the right region to the same step. Each Routed is of a
// step, and counts by its wrong answers; one without answers of both kinds has nothing to be compared with, and is left out. ok=false
// where that leaves none.
func Cost(steps []Routed) (cost time.Duration, ok bool) {
	var sum float64
	var n int64
	for _, r := range steps {
		right, some := r.Right.Mean()
		wrong, any := r.Wrong.Mean()
		if some && any {
			sum, n = sum+float64(wrong-right)*float64(r.Wrong.Count), n+r.Wrong.Count
		}
	}
	if n == 0 {
		return 0, false
	}
	return time.Duration(sum / float64(n)), true
}

// Indicator counts the good events and all events of an objective that counts answers, or runs of kind replication.
type Indicator struct {
	Name  string // of the objective
	SLI   scenario.SLI
	Good  int64
	Total int64
}
