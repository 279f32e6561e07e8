package coordination

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"lastmile/internal/exposition"
	"lastmile/internal/statement"
)

// Front answers for a Unit, and before there is one: a coordinator that waits for its hub is alive.
type Front struct{ unit atomic.Pointer[Unit] }

// Handler answers /metrics, /healthz, /readyz, the ledger's path and RunPath.
func (f *Front) Handler() http.Handler {
	return f.withLedger(exposition.Handler(f.metrics, f.readiness))
}

// metrics writes nothing before the ledger is complete: counters that run up while the results are read back would look like news, and
// page for every leak in the books.
func (f *Front) metrics(w io.Writer) {
	if u := f.unit.Load(); u != nil && u.ready.Load() {
		u.metrics.WritePrometheus(w)
	}
}

func (f *Front) readiness() error {
	if u := f.unit.Load(); u != nil {
		return u.readiness()
	}
	return errors.New("the hub has not been reached yet")
}

// withLedger answers for the books and the results beside what rest answers.
func (f *Front) withLedger(rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+statement.Path, statement.Handler(f.books))
	mux.Handle("GET "+RunPath, f.results())
	mux.Handle("/", rest)
	return mux
}

// books are those of the unit, once they are complete and if they are the ones that count.
func (f *Front) books(ctx context.Context) (statement.Source, error) {
	u := f.unit.Load()
	if u == nil {
		return statement.Source{}, errors.New("the hub has not been reached yet")
	}
	if !u.ready.Load() {
		return statement.Source{}, errors.New("reading back the results: the books are not complete yet")
	}
	if !u.leads() {
		leader, err := u.hub.Leader(ctx)
		if err != nil {
			u.log.Warn("leader not known", "err", err)
		}
		return statement.Source{}, &statement.StandbyError{Leader: leader}
	}
	return statement.Source{Books: u.ledger, Scenarios: u.set.Scenarios, Grace: u.opts.Grace, Now: u.clock.Now()}, nil
}

// Show has the front answer for a unit from now on.
func (f *Front) Show(u *Unit) { f.unit.Store(u) }
