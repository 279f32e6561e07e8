package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// ledgers is a service with a primary and a replica in each region, which are behind in ways of their own. Time counts from the first time
// that a region asks for an order: that is after the writer knows that it is written, so no read can see it sooner than lag after the write.
type ledgers struct {
	mu     sync.Mutex
	orders int
	asked  map[string]time.Time // by region and order
	reads  map[string]int
	undone []string
}

// behind is by how much the replicas of a region are, and whether its reads take turns with one that never gets anything.
var behind = map[string]struct {
	lag   time.Duration
	never bool
	turns bool
}{"eu": {lag: 400 * time.Millisecond}, "apac": {lag: 400 * time.Millisecond}, "latam": {never: true}, "africa": {turns: true}}

func (l *ledgers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // region, order
	switch {
	case r.Method == http.MethodPost && parts[0] == "us":
		l.orders++
		_, _ = fmt.Fprintf(w, `{"id":"%d"}`, l.orders)
		return
	case r.Method == http.MethodDelete && parts[0] == "us":
		l.undone = append(l.undone, parts[1])
		return
	case r.Method != http.MethodGet || len(parts) != 2:
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	key, replica := r.URL.Path, behind[parts[0]]
	if l.asked[key].IsZero() {
		l.asked[key] = time.Now()
	}
	l.reads[key]++
	late := time.Since(l.asked[key]) < replica.lag
	if late || replica.never || replica.turns && l.reads[key]%2 == 0 {
		http.Error(w, "not yet", http.StatusNotFound)
		return
	}
	_, _ = fmt.Fprintf(w, `{"id":%q}`, parts[1])
}

// cleaned lists the orders that were removed.
func (l *ledgers) cleaned() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.undone)
}

// copies is the scenario that the probes run against it.
func copies(t *testing.T, base string) scenario.Scenario {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	const second = scenario.Duration(time.Second)
	return scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "copies", Kind: scenario.KindReplication, Schedule: schedule, Timeout: 12 * second,
		Regions: scenario.Strings{"us", "eu", "apac", "latam", "africa"}, Vars: map[string]scenario.Text{"base": scenario.Text(base)}, AllowHosts: []string{"127.0.0.1"},
		Replication: &scenario.Replication{
			From: "us", Pass: []string{"order"}, VisibleWithin: 3 * second, Every: second / 20, Watch: second / 2,
			Write: []scenario.Step{
				{ID: "put", Type: scenario.StepHTTP, Method: "POST", URL: "${vars.base}/${region}", Extract: map[string]scenario.Extractor{"order": {JSON: "$.id"}}},
				{ID: "undo", Type: scenario.StepHTTP, Method: "DELETE", URL: "${vars.base}/${region}/${order}", Always: true},
			},
		},
		Steps: []scenario.Step{{
			ID: "see", Type: scenario.StepHTTP, URL: "${vars.base}/${region}/${order}",
			Assert: []scenario.Assertion{{Status: scenario.StatusSet{"200"}}, {JSON: "$.id", Equals: new(scenario.Text("${order}"))}},
		}},
	}
}

// league is a hub with a probe in each region, whose results and heartbeats are kept.
type league struct {
	*hall
	mu      sync.Mutex
	results map[runs.ID]runs.Result
	beats   map[string]runs.Heartbeat // by region
}

func newLeague(t *testing.T, shifts map[string]time.Duration) *league {
	t.Helper()
	var regions []string
	for region := range shifts {
		regions = append(regions, region)
	}
	l := &league{hall: newHall(t, regions...), results: map[runs.ID]runs.Result{}, beats: map[string]runs.Heartbeat{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	running.Go(func() { _ = l.bus.ServeTime(ctx) })
	running.Go(func() {
		_ = l.bus.ServeHeartbeats(ctx, func(hb runs.Heartbeat) runs.HeartbeatReply {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.beats[hb.Region] = hb
			return runs.HeartbeatReply{ReceivedAt: time.Now()}
		})
	})
	running.Go(func() {
		_ = l.bus.Follow(ctx, regions, nil, bus.Handler{
			Result: func(r runs.Result, _ bus.Meta) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.results[r.RunID] = r
			},
			Verdict: func(runs.Verdict, bus.Meta) {}, Rejected: func(err *bus.RejectedError) { t.Errorf("rejected: %v", err) }, CaughtUp: func() {},
		})
	})
	log := slog.New(slog.DiscardHandler)
	for region, shift := range shifts {
		relay := bus.NewRelay(log, region, bus.RelayOptions{Now: func() time.Time { return time.Now().Add(shift) }})
		options := ServeOptions{Region: region, Probe: "p", NATS: l.url, Data: t.TempDir(), Listen: "127.0.0.1:0", HTTPSlots: 2, Grace: time.Second, Artefacts: "off", Relay: relay}
		options.AllowNet = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		running.Go(func() {
			if err := Serve(ctx, log, options); err != nil {
				t.Errorf("probe in %s: %v", region, err)
			}
		})
		clitest.Eventually(t, "clock of "+region, func() bool { _, ok := relay.Clock(); return ok })
	}
	return l
}

// order orders a run, and returns its id.
func (l *league) order(t *testing.T, s scenario.Scenario, region string, slot time.Time) runs.ID {
	t.Helper()
	none, _ := netprofile.Lookup(netprofile.None)
	a := runs.NewAssignment(s, region, none, slot)
	if created, err := l.bus.Dispatch(t.Context(), a); err != nil || !created {
		t.Fatalf("dispatch in %s: got %t and %v", region, created, err)
	}
	return a.RunID
}

// result waits for what became of a run.
func (l *league) result(t *testing.T, id runs.ID) (r runs.Result) {
	t.Helper()
	clitest.Eventually(t, "result of "+string(id), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		var ok bool
		r, ok = l.results[id]
		return ok
	})
	return r
}

// TestReplicationInAFleet has one region write and four read, each probe a program of its own: one replica that is a little behind, another
// one that is read by a probe whose clock is three seconds behind, one that never gets the write, and one whose reads go back.
func TestReplicationInAFleet(t *testing.T) {
	t.Parallel()
	service := &ledgers{asked: map[string]time.Time{}, reads: map[string]int{}}
	server := httptest.NewServer(service)
	defer server.Close()
	const shift = -3 * time.Second
	l := newLeague(t, map[string]time.Duration{"us": 0, "eu": 0, "apac": shift, "latam": 0, "africa": 0})
	s, slot := copies(t, server.URL), time.Now().UTC().Truncate(time.Second)
	ids := map[string]runs.ID{}
	for _, region := range []string{"eu", "latam", "us", "apac", "africa"} { // some are there before the writer, some come later
		ids[region] = l.order(t, s, region, slot)
	}
	wrote := l.result(t, ids["us"])
	if wrote.State != runs.StatePassed || wrote.Replication == nil || wrote.Replication.WrittenAt.IsZero() || wrote.Clock == nil || len(service.cleaned()) != 1 {
		t.Fatalf("writer: got %s %+v, %+v, want it passed, and cleaned up", wrote.State, wrote.Cause, wrote.Replication)
	}
	for _, region := range []string{"eu", "apac"} {
		r := l.result(t, ids[region])
		out := r.Replication
		if r.State != runs.StatePassed && (r.State != runs.StateDegraded || r.Cause.Class != runs.ClassBudget) || out.LagMS == nil || r.Clock == nil {
			t.Fatalf("%s: got %s %+v, %+v, want the write seen", region, r.State, r.Cause, out)
		}
		least := float64(behind[region].lag.Milliseconds()) - wrote.Clock.ErrorMS - r.Clock.ErrorMS
		// From the truth it differs by no more than it says: it became visible at lag after the first read was answered, which began after the write.
		if *out.LagMS < least || *out.LagMS > 11e3 || out.ErrorMS < wrote.Clock.ErrorMS+r.Clock.ErrorMS || out.ErrorMS > *out.LagMS+wrote.Clock.ErrorMS+r.Clock.ErrorMS+1 {
			t.Errorf("%s: got a lag of %v ms ± %v, want at least %v ms, and an error of both clocks and the time between two looks", region, *out.LagMS, out.ErrorMS, least)
		}
		if !out.WrittenAt.Equal(wrote.Replication.WrittenAt) || out.StaleReads < 1 || out.Looks <= out.StaleReads || out.Lost || out.Backwards != 0 || len(r.Requests) > 3 {
			t.Errorf("%s: got %+v and %d requests, want some stale reads, then none, and three requests kept", region, out, len(r.Requests))
		}
		want := 0.0
		if region == "apac" {
			want = -runs.Milliseconds(shift)
		}
		if off := r.Clock.OffsetMS - want; off > r.Clock.ErrorMS || off < -r.Clock.ErrorMS {
			t.Errorf("%s: got a clock off by %v ms ± %v, want %v", region, r.Clock.OffsetMS, r.Clock.ErrorMS, want)
		}
	}
	for region, want := range map[string]string{"latam": "not visible within", "africa": "no longer saw the write"} {
		r := l.result(t, ids[region])
		if r.State != runs.StateFailed || r.Cause.Class != runs.ClassReplication || r.Cause.Step != "see" || !strings.Contains(r.Cause.Detail, want) {
			t.Errorf("%s: got %s %+v, want it failed: %s", region, r.State, r.Cause, want)
		}
		if out := r.Replication; out.Lost != (region == "latam") || (out.Backwards > 0) != (region == "africa") || out.Lost && out.LagMS != nil || len(r.Requests) > 5 {
			t.Errorf("%s: got %+v and %d requests", region, out, len(r.Requests))
		}
	}
	clitest.Eventually(t, "heartbeat with a clock", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		clock := l.beats["apac"].Clock
		return clock != nil && (clock.Offset()+shift).Abs() <= clock.Uncertainty()
	})
}

// Where the writer never writes, dies before it has told, or is stopped, the others could not measure. Nobody calls that a lost write.
func TestReplicationWithoutAWriter(t *testing.T) {
	server := httptest.NewServer(&ledgers{asked: map[string]time.Time{}, reads: map[string]int{}})
	defer server.Close()
	l := newLeague(t, map[string]time.Duration{"eu": 0})
	s := copies(t, server.URL)
	s.Timeout = scenario.Duration(time.Second)
	r := l.result(t, l.order(t, s, "eu", time.Now().UTC().Truncate(time.Second)))
	if r.State != runs.StateInvalid || r.Cause.Class != runs.ClassProbe || !strings.Contains(r.Cause.Detail, "no token from region us") || r.Replication.Lost || len(r.Steps) != 0 {
		t.Errorf("got %s %+v, want invalid: no token from region us", r.State, r.Cause)
	}
}

// By hand, one run writes and reads.
func TestRunReplicationByHand(t *testing.T) {
	server := httptest.NewServer(&ledgers{asked: map[string]time.Time{}, reads: map[string]int{}})
	defer server.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "regions.yaml"), "apiVersion: lastmile/v1\nregions: {us: {description: here}, eu: {description: there}}\n")
	file := write(t, filepath.Join(dir, "one.yaml"), `apiVersion: lastmile/v1
scenario: one
kind: replication
schedule: "@every 1m"
timeout: 10s
regions: [us, eu]
vars: {base: "`+server.URL+`"}
replication:
  from: us
  write:
    - {id: put, type: http, method: POST, url: "${vars.base}/${region}", extract: {order: {json: $.id}}}
  pass: [order]
  visibleWithin: 2s
  every: 20ms
  watch: 100ms
steps: [{id: see, type: http, url: "${vars.base}/${region}/${order}"}]
`)
	for _, args := range [][]string{nil, {"--region", "eu"}} {
		code, r := runJSON(t, append(args, file)...)
		if code != 0 && r.State != runs.StateDegraded || r.Replication == nil || r.Replication.LagMS == nil || *r.Replication.LagMS < 400 || r.Replication.StaleReads == 0 {
			t.Errorf("%v: got status %d, %s %+v, %+v, want it seen after 400 ms or more", args, code, r.State, r.Cause, r.Replication)
		}
	}
}
