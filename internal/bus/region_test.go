package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus/plans"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A region's plan is published and read, and what is none is counted.
func TestPlanOfARegion(t *testing.T) {
	server, err := StartServer(slog.New(slog.DiscardHandler), ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop(context.Background()) }()
	b, err := Connect(t.Context(), slog.New(slog.DiscardHandler), Options{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if _, err := b.Plan(t.Context(), "us"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("before there is a bucket: got %v, want %v", err, ErrUnavailable)
	}
	if err := b.EnsureStreams(t.Context(), []string{"us"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Plan(t.Context(), "us"); !errors.Is(err, ErrNoPlan) {
		t.Errorf("before there is a plan: got %v, want %v", err, ErrNoPlan)
	}
	schedule, _ := scenario.ParseSchedule("@every 1m")
	none, _ := netprofile.Lookup(netprofile.None)
	p := runs.Plan{Schema: runs.Schema, Region: "us", Revision: "r1", Term: 2, Networks: []netprofile.Profile{none}, Scenarios: []scenario.Scenario{{
		Name: "shop", Schedule: schedule, Regions: scenario.Strings{"us"}, Steps: []scenario.Step{{Type: scenario.StepHTTP}},
	}}}
	if err := b.PublishPlan(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Plan(t.Context(), "us"); err != nil || got.Revision != "r1" || len(got.Scenarios) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	p.Revision, p.Term = "r0", 1
	if err := b.PublishPlan(t.Context(), p); !errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v for an older leader's plan, want %v", err, ErrConflict)
	}
	p.Region = "a b"
	if err := b.PublishPlan(t.Context(), p); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v for an unsound plan, want it refused for good", err)
	}
	if _, err := b.js.Publish(t.Context(), "$KV."+plans.Bucket+".us", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Plan(t.Context(), "us"); b.Stats().Rejected[KindPlan] != 1 {
		t.Errorf("got %v and %v, want garbage rejected and counted", err, b.Stats().Rejected)
	}
}

func TestPeersOverTheBus(t *testing.T) {
	server, err := StartServer(slog.New(slog.DiscardHandler), ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop(context.Background()) }()
	b, err := Connect(t.Context(), slog.New(slog.DiscardHandler), Options{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan runs.PeerBeat, 100)
	var listening sync.WaitGroup
	listening.Go(func() {
		if err := b.FollowPeers(ctx, "us", func(beat runs.PeerBeat) { heard <- beat }); err != nil {
			t.Error(err)
		}
	})
	defer listening.Wait()
	defer cancel()
	limit := time.After(20 * time.Second)
	for {
		if err := b.SendPeerBeat(runs.PeerBeat{Schema: runs.Schema, Region: "us", Probe: "one"}); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			if got.Probe != "one" {
				t.Errorf("got %+v", got)
			}
			return
		case <-limit:
			t.Fatal("no beat was heard")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
