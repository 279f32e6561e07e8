package schedule

import (
	"slices"
	"sync"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// givenUp remembers the slots for which nobody was asked, and why. A stretch of them is one span: a day without a bus takes no more room than a
// minute.
type givenUp struct {
	mu    sync.Mutex
	spans map[scenario.Combination][]givenSpan
}

// givenSpan is a stretch of slots of one combination that follow one another.
type givenSpan struct {
	from, to int64 // slots, in Unix seconds
	until    time.Time
	reason   runs.Reason
}

// add gives an order up.
func (g *givenUp) add(o *order, reason runs.Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	spans := g.spans[o.combination]
	if n := len(spans); n > 0 && spans[n-1].reason == reason && spans[n-1].to == o.previous.Unix() {
		spans[n-1].to, spans[n-1].until = o.slot.Unix(), o.deadline()
		return
	}
	g.spans[o.combination] = append(spans, givenSpan{from: o.slot.Unix(), to: o.slot.Unix(), until: o.deadline(), reason: reason})
}

// reason looks a slot up.
func (g *givenUp) reason(id runs.ID) (runs.Reason, bool) {
	c, slot, err := id.Parse()
	if err != nil {
		return "", false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := slot.Unix()
	for _, span := range slices.Backward(g.spans[c]) {
		if span.from <= at && at <= span.to {
			return span.reason, true
		}
	}
	return "", false
}

// The slots that are remembered: those whose minute is not closed, and an hour more, should one have been entered too late for its own.
// After twice the longest absence nobody asks any more, closed or not.
const (
	givenFor    = 2 * maxCatchUp
	givenClosed = time.Hour
)

// forget drops the slots whose verdict has long been written: closed says until when each region's minutes are. Whoever asks for a reason may
// hold the book's lock, so that the book must not be asked in here.
func (g *givenUp) forget(now time.Time, closed map[string]time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c, spans := range g.spans {
		limit := closed[c.Region].Add(-givenClosed)
		if now.Sub(limit) > givenFor {
			limit = now.Add(-givenFor)
		}
		left := slices.DeleteFunc(spans, func(span givenSpan) bool { return span.until.Before(limit) })
		if g.spans[c] = left; len(left) == 0 {
			delete(g.spans, c)
		}
	}
}
