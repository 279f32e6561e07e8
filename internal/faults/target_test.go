package faults

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// target is the service that all scenarios ask. The path of each request ends in the id of its run.
type target struct {
	*httptest.Server

	mu     sync.Mutex
	asked  map[runs.ID][]time.Time
	onAsk  func(id runs.ID) // called in the middle of a run, before its answer
	strays int              // requests without the id of a run
}

// slowAnswer is how long the target takes for paths that begin with /slow/.
const slowAnswer = 1200 * time.Millisecond

func newTarget(t testing.TB) *target {
	g := &target{asked: map[runs.ID][]time.Time{}}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

// ServeHTTP answers 200, and remembers who asked.
func (g *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, last, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	id := runs.ID(last)
	_, _, err := id.Parse()
	g.mu.Lock()
	if err == nil {
		g.asked[id] = append(g.asked[id], time.Now())
	} else {
		g.strays++
	}
	tell := g.onAsk
	g.mu.Unlock()
	if tell != nil && err == nil {
		tell(id)
	}
	if kind == "slow" {
		select {
		case <-time.After(slowAnswer):
		case <-r.Context().Done():
		}
	}
	_, _ = w.Write([]byte("well"))
}

// tell has a function called in the middle of every run, from any goroutine; nil = no more.
func (g *target) tell(f func(runs.ID)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onAsk = f
}

// times returns when a run asked.
func (g *target) times(id runs.ID) []time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[id]
}
