// Package vitals makes the account of a run's navigations and their web vitals from what a script in the page tells.
//
// It does no I/O and reads no clock.
package vitals

import (
	"cmp"
	_ "embed" // the script
	"encoding/json"
	"slices"
	"time"

	"lastmile/internal/runs"
)

// Script tells of everything by calling Binding, a function of its world. It runs from a document's start.
//
//go:embed vitals.js
var Script string

// Binding is the name of the function by which the script tells.
const Binding = "lastmileVitals"

// maxNavigations bounds the navigations that are kept of a run: a page can make any number of them.
const maxNavigations = 200

// Log keeps the run's navigations, and what was done in each step. The zero value has seen nothing.
//
// Pages tell of everything when it happens, with its time, which may be in a step before the current one: what a click did to the page is
// known when the page has been painted again.
type Log struct {
	navigations []*navigation
	current     *navigation // nil = none that counts
	ahead       *account    // of a document that comes back, told before it has been said that it does
	steps       []*stepVitals
}

// navigation is a document, or a soft navigation within it, and what is known of its vitals.
type navigation struct {
	runs.Navigation
	origin float64 // the document's time origin, ms since 1970; 0 = it has told nothing yet
	inputs inputs
	shifts shifts
}

// stepVitals is what was done in a step.
type stepVitals struct {
	id     string
	began  time.Time
	last   *navigation // the last that began in it
	inputs inputs
	shifts shifts

	painted  bool // at its end, the page had been
	answered bool // the page has told how long an interaction took, to its end
}

// account is what a document tells at once.
type account struct {
	Origin       float64 `json:"origin"`       // its time origin, ms since 1970: it names the document
	Interactions int     `json:"interactions"` // so far
	Told         []told  `json:"told"`
}

// told is one thing that a page has told of. Times are ms, those of at since the document's time origin.
type told struct {
	Kind  string  `json:"kind"`
	At    float64 `json:"at"`
	Value float64 `json:"value"`
	ID    float64 `json:"id"`
	URL   string  `json:"url"`
	Last  bool    `json:"last"` // input: the interaction's last event, or all that comes after it takes as long
}

// Begin books what is done from now on to the step.
func (l *Log) Begin(step string, now time.Time) {
	l.steps = append(l.steps, &stepVitals{id: step, began: now})
}

// step returns the current step, nil before the first.
func (l *Log) step() *stepVitals {
	if len(l.steps) == 0 {
		return nil
	}
	return l.steps[len(l.steps)-1]
}

// stepAt returns the step that was under way at a time, nil where it was before the first.
func (l *Log) stepAt(at time.Time) *stepVitals {
	for _, s := range slices.Backward(l.steps) {
		if !at.Before(s.began) {
			return s
		}
	}
	return nil
}

// add begins a navigation.
func (l *Log) add(n *navigation) {
	if s := l.stepAt(n.StartedAt); s != nil {
		n.Step, s.last = s.id, n
	}
	l.current = n
	if len(l.navigations) < maxNavigations {
		l.navigations = append(l.navigations, n)
	}
}

// Navigated begins the navigation to a document that the page shows now. restored says that the document had been left and has come
// back as it was.
func (l *Log) Navigated(url string, at time.Time, restored bool) {
	l.add(&navigation{Navigation: runs.Navigation{URL: url, StartedAt: at}})
	ahead := l.ahead
	l.ahead = nil
	if restored && ahead != nil {
		l.hear(ahead)
	}
}

// Left says that the page shows nothing of the target's.
func (l *Log) Left() { l.current = nil }

// Hear takes what the script tells.
func (l *Log) Hear(payload string) {
	var said account
	if err := json.Unmarshal([]byte(payload), &said); err == nil {
		l.hear(&said)
	}
}

// maxAhead bounds what is kept of a document before it is known to come back.
const maxAhead = 100

// hear books what a document tells: to the navigation that it is of.
func (l *Log) hear(said *account) {
	begins := slices.ContainsFunc(said.Told, func(w told) bool { return w.Kind == "begin" })
	switch n := l.current; {
	case n != nil && n.origin == said.Origin:
	case n != nil && n.origin == 0 && begins:
		n.origin, n.inputs.before = said.Origin, said.Interactions
	case begins:
		l.ahead = said
		return
	case l.ahead != nil && l.ahead.Origin == said.Origin && len(l.ahead.Told) < maxAhead:
		l.ahead.Told = append(l.ahead.Told, said.Told...)
		return
	default:
		return // of a document that has been left
	}
	for i := range said.Told {
		l.take(said, &said.Told[i])
	}
}

// take books one thing to the navigation under way and to the step in which it happened.
func (l *Log) take(said *account, what *told) {
	n, at := l.current, time.UnixMicro(int64((said.Origin+what.At)*1000))
	switch what.Kind {
	case "ttfb":
		n.Vitals.TTFB = &what.Value
	case "fcp":
		n.Vitals.FCP = &what.Value
	case "lcp":
		n.Vitals.LCP = &what.Value
	case "soft":
		next := &navigation{origin: said.Origin, Navigation: runs.Navigation{URL: what.URL, Soft: true, StartedAt: at}}
		next.inputs.before = said.Interactions
		next.Vitals.TTFB, next.Vitals.FCP = new(float64), &what.Value
		l.add(next)
	case "shift":
		n.shifts.add(what.At, what.Value)
		if s := l.stepAt(at); s != nil {
			s.shifts.add(what.At, what.Value)
		}
	case "input":
		n.inputs.add(what.ID, what.Value, said.Interactions)
		if s := l.stepAt(at); s != nil {
			s.inputs.add(what.ID, what.Value, 0)
			s.answered = s.answered || what.Last
		}
	}
}

// result is the navigation's vitals as they are now.
func (n *navigation) result() runs.Vitals {
	out := n.Vitals
	out.INP = n.inputs.inp()
	if out.FCP != nil {
		out.CLS = new(n.shifts.worst)
	}
	return out
}

// vitals returns the step's: those of the last navigation it led to, else of what was done in it. INP is always of what was done in it,
// if anything was. They are nil where there are none.
func (s *stepVitals) vitals() *runs.Vitals {
	if s.last != nil {
		got := s.last.result()
		got.INP = cmp.Or(s.inputs.inp(), got.INP)
		if got != (runs.Vitals{}) {
			return &got
		}
		return nil
	}
	got := runs.Vitals{INP: s.inputs.inp()}
	if s.painted {
		got.CLS = new(s.shifts.worst)
	}
	if got == (runs.Vitals{}) {
		return nil
	}
	return &got
}

// maxInputs is how many of the longest interactions are kept: enough for the 98th percentile of 500.
const maxInputs = 10

// inputs are the interactions of a person with a page.
type inputs struct {
	longest []interaction // longest first
	before  int           // how many the document had had when this began
	total   int           // how many it has had
	seen    int           // of those that were told of
}

type interaction struct{ id, duration float64 }

// add takes an event of an interaction, which may have several; total is how many the document has had so far, 0 = not known.
func (i *inputs) add(id, duration float64, total int) {
	i.total = max(i.total, total)
	if known := slices.IndexFunc(i.longest, func(x interaction) bool { return x.id == id }); known >= 0 {
		i.longest[known].duration = max(i.longest[known].duration, duration)
	} else {
		i.seen++
		i.longest = append(i.longest, interaction{id, duration})
	}
	slices.SortStableFunc(i.longest, func(a, b interaction) int {
		if a.duration > b.duration {
			return -1
		}
		return 1
	})
	i.longest = i.longest[:min(len(i.longest), maxInputs)]
}

// inp is the interaction to next paint: the longest, but for one in 50 (https://web.dev/articles/inp). It is nil where there was none.
func (i *inputs) inp() *float64 {
	if len(i.longest) == 0 {
		return nil
	}
	n := max(i.total-i.before, i.seen)
	return new(i.longest[min(n/50, len(i.longest)-1)].duration)
}

// shifts are the layout shifts that nobody asked for, in windows: each ends a second after its last shift, and after five at most
// (https://web.dev/articles/cls).
type shifts struct {
	first, last float64 // of the window, ms
	sum, worst  float64
}

func (s *shifts) add(at, value float64) {
	if s.sum > 0 && at-s.last < 1000 && at-s.first < 5000 {
		s.sum += value
	} else {
		s.first, s.sum = at, value
	}
	s.last = at
	s.worst = max(s.worst, s.sum)
}

// Painted reports whether the first and the largest paint of the current document are known; later paints may still change the latter.
// It is true where there is no document to wait for.
func (l *Log) Painted() bool {
	n := l.current
	return n == nil || n.Vitals.FCP != nil && n.Vitals.LCP != nil
}

// Answered reports whether it is known how long the page took to answer what was done in the current step, or whether nobody will tell
// any more, because the page has gone.
func (l *Log) Answered() bool {
	s := l.step()
	return s == nil || s.answered || s.last != nil && !s.last.Soft
}

// Step returns the vitals of the current step so far, nil where there are none.
func (l *Log) Step() *runs.Vitals {
	s := l.step()
	if s == nil {
		return nil
	}
	s.painted = l.current != nil && l.current.Vitals.FCP != nil
	return s.vitals()
}

// Navigations returns the run's, in order. Their URLs are as the page has them.
func (l *Log) Navigations() []runs.Navigation {
	out := make([]runs.Navigation, 0, len(l.navigations))
	for _, n := range l.navigations {
		done := n.Navigation
		done.Vitals = n.result()
		out = append(out, done)
	}
	return out
}

// Late returns the vitals of steps that led to no document, by the step's id: what was done in them may have been told of after
// their end.
func (l *Log) Late() map[string]runs.Vitals {
	out := map[string]runs.Vitals{}
	for _, s := range l.steps {
		if s.last != nil && !s.last.Soft {
			continue
		}
		if got := s.vitals(); got != nil {
			out[s.id] = *got
		}
	}
	return out
}
