package worker

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
)

// What a run saw while its probe stood still is not held against the service.
func TestStandstill(t *testing.T) {
	failed := &runs.Cause{Class: runs.ClassTimeout, Step: "pay", Detail: "timed out after 20s"}
	for name, tc := range map[string]struct {
		stood   time.Duration
		state   runs.State
		want    runs.State
		tainted bool
	}{
		"failed meanwhile":         {20 * time.Second, runs.StateFailed, runs.StateInvalid, false},
		"worked all the same":      {20 * time.Second, runs.StatePassed, runs.StatePassed, true},
		"over a budget":            {20 * time.Second, runs.StateDegraded, runs.StateDegraded, true},
		"could not measure anyway": {20 * time.Second, runs.StateInvalid, runs.StateInvalid, false},
		"failed, a moment late":    {500 * time.Millisecond, runs.StateFailed, runs.StateFailed, false},
		"failed":                   {0, runs.StateFailed, runs.StateFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := runs.Result{State: tc.state, Cause: failed}
			synctest.Test(t, func(t *testing.T) {
				var passed atomic.Int64 // while nobody was let run
				s := standstill{now: func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }}
				s.begin()
				time.Sleep(3 * time.Second)
				passed.Add(int64(tc.stood))
				time.Sleep(3 * time.Second)
				s.judge(&r)
			})
			if r.State != tc.want || tc.tainted != slices.ContainsFunc(r.Tainted, func(text string) bool { return strings.Contains(text, "stood still") }) {
				t.Errorf("got %s %+v, tainted %q, want %s", r.State, r.Cause, r.Tainted, tc.want)
			}
			if ours := r.Cause.Class == runs.ClassProbe; ours != (tc.want == runs.StateInvalid && tc.state == runs.StateFailed) || ours && !strings.Contains(r.Cause.Detail, "timed out after 20s") {
				t.Errorf("got cause %+v, want the probe's only where it stood still, with what it saw", r.Cause)
			}
		})
	}
	leak := runs.Result{State: runs.StateFailed, Cause: &runs.Cause{Class: runs.ClassCacheLeak}}
	stood := standstill{stop: func() time.Duration { return 20 * time.Second }}
	if stood.judge(&leak); leak.State != runs.StateFailed || leak.Cause.Class != runs.ClassCacheLeak || len(leak.Tainted) != 1 {
		t.Errorf("a leak: got %s %+v, tainted %q, want it to stand", leak.State, leak.Cause, leak.Tainted)
	}
	r := runs.Result{State: runs.StateInvalid}
	(&standstill{}).judge(&r) // of a run that has not begun
}
