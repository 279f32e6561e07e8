package coordination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lastmile/internal/bus/layout"
	"lastmile/internal/ledger"
	"lastmile/internal/runs"
)

// RunPath is where a coordinator answers with the results of a run: what alerts link to. Any of them does, whether it leads or not.
const RunPath = "/api/v1/runs/{id}"

// RunAnswer is the answer to GET RunPath.
type RunAnswer struct {
	RunID   runs.ID       `json:"run_id"`
	Results []runs.Result `json:"results,omitempty"` // one for each time that it was executed, the first one stored first
	Error   string        `json:"error,omitempty"`
}

const (
	findAtOnce = 2                // runs that are looked for at a time: the results of a scenario since then are gone through
	findTime   = 10 * time.Second // for one
)

// results answers GET RunPath.
func (f *Front) results() http.Handler {
	turns := make(chan struct{}, findAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), findTime)
		defer cancel()
		answer := RunAnswer{RunID: runs.ID(fmt.Sprintf("%.300s", r.PathValue("id")))}
		status := http.StatusServiceUnavailable
		select {
		case turns <- struct{}{}:
			status = f.find(ctx, &answer)
			<-turns
		case <-ctx.Done():
			answer.Error = "too many runs are being looked for"
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(&answer) // whoever asked may have gone
	})
}

// find looks a run up, and returns the status of the answer.
func (f *Front) find(ctx context.Context, answer *RunAnswer) (status int) {
	c, slot, err := answer.RunID.Parse()
	if err != nil {
		answer.Error = err.Error()
		return http.StatusBadRequest
	}
	u := f.unit.Load()
	if u == nil {
		answer.Error = "the hub has not been reached yet"
		return http.StatusServiceUnavailable
	}
	if !slices.Contains(u.set.Fleet.Regions, c.Region) {
		answer.Error = u.unknown(c.Region)
		return http.StatusNotFound
	}
	const none = "no result of this run is stored: it has not ended, or its results are no longer kept"
	if age := u.clock.Now().Sub(slot); age < -maxAhead || age > layout.ResultsAge+ledger.Retention { // the hub need not be asked
		answer.Error = none
		return http.StatusNotFound
	}
	answer.Results, err = u.hub.Results(ctx, answer.RunID)
	switch {
	case errors.Is(err, context.Canceled): // whoever asked has gone
		return http.StatusServiceUnavailable
	case err != nil:
		u.log.Warn("results of a run not found", "run_id", answer.RunID, "err", err)
		answer.Results, answer.Error = nil, "the hub did not give its results"
		return http.StatusServiceUnavailable
	case len(answer.Results) == 0:
		answer.Error = none
		return http.StatusNotFound
	}
	return http.StatusOK
}
