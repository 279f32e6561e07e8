package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/ledger"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// gate is a TCP proxy that can be shut: then it cuts what goes through it, and lets nobody in.
type gate struct {
	listener net.Listener
	to       string
	shut     atomic.Bool
	working  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, to: to, conns: map[net.Conn]bool{}}
	g.working.Go(g.run)
	t.Cleanup(func() {
		_ = l.Close()
		g.cut()
		g.working.Wait()
	})
	return g
}

func (g *gate) run() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		if g.shut.Load() {
			_ = in.Close()
			continue
		}
		out, err := net.Dial("tcp", g.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		g.conns[in], g.conns[out] = true, true
		g.mu.Unlock()
		g.working.Go(func() { g.carry(in, out) })
		g.working.Go(func() { g.carry(out, in) })
	}
}

// carry copies until one side ends, and ends both.
func (g *gate) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, to)
	delete(g.conns, from)
}

// cut ends what is under way, and lets nobody in any more.
func (g *gate) cut() {
	g.shut.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *gate) open() { g.shut.Store(false) }

// office is a coordinator: it plans, orders, answers, and keeps books.
type office struct {
	*hall
	t    *testing.T
	book *ledger.Ledger
	plan runs.Plan
	gone atomic.Bool // it neither orders nor answers

	mu      sync.Mutex
	planned map[runs.ID]runs.Assignment
	ordered map[runs.ID]bool
	results []runs.Result
}

// newOffice plans count scenarios that ask site, each every 20 s in region us.
func newOffice(t *testing.T, site string, count int) *office {
	t.Helper()
	o := &office{hall: newHall(t, "us"), t: t, book: ledger.New(), planned: map[runs.ID]runs.Assignment{}, ordered: map[runs.ID]bool{}}
	schedule, err := scenario.ParseSchedule("@every 20s")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := netprofile.Lookup(netprofile.None)
	o.plan = runs.Plan{Schema: runs.Schema, Region: "us", Revision: "r1", Term: 1, MadeAt: time.Now(), Networks: []netprofile.Profile{none}}
	for i := range count {
		o.plan.Scenarios = append(o.plan.Scenarios, scenario.Scenario{
			APIVersion: scenario.APIVersion, Name: fmt.Sprintf("shop-%d", i), Schedule: schedule, Timeout: scenario.Duration(10 * time.Second),
			Regions: scenario.Strings{"us"}, Steps: []scenario.Step{{ID: "home", Type: scenario.StepHTTP, URL: site}},
		})
	}
	o.book.Define(o.plan.Scenarios)
	if err := o.bus.PublishPlan(t.Context(), o.plan); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		working.Wait()
	})
	working.Go(func() {
		_ = o.bus.Follow(ctx, []string{"us"}, nil, bus.Handler{
			Result: o.enter, Verdict: func(runs.Verdict, bus.Meta) {}, Rejected: func(err *bus.RejectedError) { t.Errorf("rejected: %v", err) },
		})
	})
	working.Go(func() { o.order(ctx) })
	return o
}

// answer answers heartbeats until the returned function is called.
func (o *office) answer() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var answering sync.WaitGroup
	answering.Go(func() {
		_ = o.bus.ServeHeartbeats(ctx, func(runs.Heartbeat) runs.HeartbeatReply {
			return runs.HeartbeatReply{ReceivedAt: time.Now(), Term: 1, Plan: o.plan.Revision}
		})
	})
	return func() {
		cancel()
		answering.Wait()
	}
}

func (o *office) enter(r runs.Result, _ bus.Meta) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.book.Result(&r, false)
	o.results = append(o.results, r)
}

// order enters every slot in the books, and orders those whose window is open unless it is gone.
func (o *office) order(ctx context.Context) {
	next := map[scenario.Combination]time.Time{}
	began := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		for i := range o.plan.Scenarios {
			s := &o.plan.Scenarios[i]
			for _, c := range s.Combinations() {
				if next[c].IsZero() {
					next[c] = s.Timetable().Next(c, began)
				}
				if next[c].After(now) {
					continue
				}
				a := runs.NewAssignment(*s, "us", o.plan.Networks[0], next[c])
				o.mu.Lock()
				o.book.Plan(c, a.Slot, a.Deadline)
				o.planned[a.RunID] = a
				o.mu.Unlock()
				next[c] = s.Timetable().Next(c, next[c])
			}
		}
		o.dispatch(ctx, now)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (o *office) dispatch(ctx context.Context, now time.Time) {
	if o.gone.Load() {
		return
	}
	for _, a := range o.due(now) {
		if _, err := o.bus.Dispatch(ctx, a); err != nil && ctx.Err() == nil {
			o.t.Logf("dispatch %s: %v", a.RunID, err)
		}
	}
}

// due is what has not been ordered and may still begin.
func (o *office) due(now time.Time) (out []runs.Assignment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, a := range o.planned {
		if !o.ordered[id] && now.Before(a.StartBy) {
			o.ordered[id] = true
			out = append(out, a)
		}
	}
	return out
}

// came counts the results that match.
func (o *office) came(match func(*runs.Result) bool) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.results {
		if match(&o.results[i]) {
			n++
		}
	}
	return n
}

// giveUp closes what is planned, has not come and began before a time, as nobody else would in the time that this test has.
func (o *office) giveUp(now time.Time) (ids map[runs.ID]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids = map[runs.ID]bool{}
	for id := range o.planned {
		ids[id] = true
	}
	for i := range o.results {
		delete(ids, o.results[i].RunID)
	}
	v := runs.Verdict{Schema: runs.Schema, Region: "us", Minute: now.Truncate(time.Minute)}
	for id := range ids {
		v.Slots = append(v.Slots, runs.SlotVerdict{RunID: id, State: runs.StateMissing, Reason: runs.ReasonCutOff})
	}
	o.book.Verdict(&v)
	return ids
}

// member is a probe of the region that can be started again on the same disk.
type member struct {
	name, data string
	args       func() ServeOptions
	log        *clitest.Output
	cancel     context.CancelFunc
	done       chan error
}

func (m *member) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func() { m.done <- Serve(ctx, slog.New(slog.NewTextHandler(m.log, nil)), m.args()) }()
}

func (m *member) stop(t *testing.T) {
	t.Helper()
	m.cancel()
	select {
	case err := <-m.done:
		if err != nil {
			t.Errorf("probe %s: %v", m.name, err)
		}
	case <-time.After(clitest.Patience):
		t.Errorf("probe %s does not stop", m.name)
	}
}

// TestARegionOnItsOwn has two probes go through all that autonomy is for: first there is no coordinator, while they still hear each other; then
// the whole region is cut off from the hub, and one of them is started again meanwhile. In the end every slot has exactly one official result, at
// its own time.
func TestARegionOnItsOwn(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer site.Close()
	o := newOffice(t, site.URL, 30)
	g := newGate(t, strings.TrimPrefix(o.url, "nats://"))
	var probes []*member
	for _, name := range []string{"one", "two"} {
		m := &member{name: name, data: t.TempDir(), log: &clitest.Output{}}
		m.args = func() ServeOptions {
			options := ServeOptions{
				Region: "us", Probe: m.name, NATS: "nats://" + g.listener.Addr().String(), Data: m.data, Listen: "127.0.0.1:0", HTTPSlots: 4,
				Grace: time.Second, Artefacts: "off", Silence: 2 * time.Second,
			}
			options.AllowNet = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			return options
		}
		probes = append(probes, m)
	}
	answering := o.answer()
	for _, m := range probes {
		m.start()
		defer func() { m.stop(t) }()
	}
	for _, m := range probes {
		clitest.Eventually(t, "the plan on the disk of "+m.name, func() bool { return strings.Contains(m.log.String(), "got a plan to go on with") })
	}
	clitest.Eventually(t, "runs by order", func() bool { return o.came(func(r *runs.Result) bool { return !r.Autonomous }) > 3 })

	// The coordinator is gone, the bus is not.
	o.gone.Store(true)
	answering()
	for _, m := range probes {
		clitest.Eventually(t, "runs of its own by "+m.name, func() bool {
			return o.came(func(r *runs.Result) bool { return r.Autonomous && r.Probe == m.name }) > 2
		})
	}
	back := time.Now()
	o.gone.Store(false)
	answering = o.answer()
	defer func() { answering() }()
	for _, m := range probes {
		clitest.Eventually(t, "the end of it for "+m.name, func() bool { return strings.Contains(m.log.String(), "a coordinator answers again") })
	}
	clitest.Eventually(t, "runs by order again", func() bool {
		return o.came(func(r *runs.Result) bool { return !r.Autonomous && r.Slot.After(back) }) > 1
	})

	// The region is cut off.
	g.cut()
	cut := time.Now()
	for _, m := range probes {
		clitest.Eventually(t, "word that "+m.name+" goes on", func() bool { return strings.Count(m.log.String(), "going on with the last plan") == 2 })
	}
	probes[1].stop(t)
	probes[1].start()
	again := time.Now()
	clitest.Eventually(t, "word that two goes on from its disk", func() bool { return strings.Count(probes[1].log.String(), "going on with the last plan") == 3 })
	time.Sleep(5 * time.Second)
	lost := o.giveUp(time.Now())
	if len(lost) < 3 {
		t.Errorf("got %d slots without a result while the region was cut off, want some", len(lost))
	}
	g.open()
	rejoined := time.Now()
	o.settle(rejoined)
	clitest.Eventually(t, "runs of the probe that was started while cut off", func() bool {
		return o.came(func(r *runs.Result) bool {
			return r.Autonomous && r.Probe == "two" && r.StartedAt.After(again) && r.Slot.Before(rejoined)
		}) > 0
	})
	o.audit(back, cut, rejoined, lost)
}

// settle waits until all that was due by a time has come, from whoever runs it.
func (o *office) settle(until time.Time) {
	o.t.Helper()
	clitest.Eventually(o.t, "all results", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		open := 0
		for id, a := range o.planned {
			if !a.Slot.After(until) {
				open++
				for i := range o.results {
					if o.results[i].RunID == id && o.results[i].State.Measured() {
						open--
						break
					}
				}
			}
		}
		return open == 0
	})
}

// audit looks at the books, and at what the probes said.
func (o *office) audit(back, cut, rejoined time.Time, lost map[runs.ID]bool) {
	t := o.t
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	by := map[runs.ID][]runs.Result{}
	for _, r := range o.results {
		by[r.RunID] = append(by[r.RunID], r)
		a := o.planned[r.RunID]
		if !r.Slot.Equal(a.Slot) || r.StartedAt.Before(a.Slot) || r.StartedAt.After(a.StartBy) || r.State != runs.StatePassed {
			t.Errorf("got %s %s of slot %s begun at %s, %+v, want it passed, at its time", r.RunID, r.State, r.Slot, r.StartedAt, r.Cause)
		}
	}
	for id, all := range by {
		slot := all[0].Slot
		apart := !slot.Before(cut.Add(-20 * time.Second)) // who is cut off from the other cannot know what that one does
		returned := slot.After(back.Add(-10*time.Second)) && slot.Before(back.Add(10*time.Second))
		if len(all) > 1 && !apart && !returned {
			t.Errorf("got %s run %d times while the probes heard each other, want once", id, len(all))
		}
	}
	amended := int64(0)
	for _, account := range o.book.Accounts(time.Now()) {
		amended += account.Amended
	}
	if amended != int64(len(lost)) {
		t.Errorf("got %d slots amended, want the %d that had been given up", amended, len(lost))
	}
	for i := range o.plan.Scenarios {
		c := o.plan.Scenarios[i].Combinations()[0]
		for _, slot := range o.book.Slots(c, rejoined.Add(-time.Hour)) {
			if !slot.Slot.After(rejoined) && slot.State != runs.StatePassed {
				t.Errorf("got %+v in the books, want it passed", slot)
			}
		}
	}
}
