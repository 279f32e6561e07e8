package linkemu

import (
	"context"
	"errors"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// What a busy machine cannot disturb: that all was tried over both links, and was held against the right numbers.
func TestMeasure(t *testing.T) {
	t.Parallel()
	p := netprofile.Profile{
		Name: "near", Version: "v1", Down: 8 * netprofile.MbitPerSecond, Up: 4 * netprofile.MbitPerSecond,
		RTT: 40 * time.Millisecond, Loss: 0.01, Queue: 1000, MTU: 1500,
	}
	// An emulator whose own runs reach nothing but public addresses measures all the same.
	m, err := New(discard(), Options{Seed: 1}).Measure(t.Context(), p, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if m.Network != "near" || m.Handshake.Count == 0 || m.Handshake.MedianMS == nil || *m.Handshake.MedianMS < 40 {
		t.Errorf("got %+v, want handshakes of 40 ms or more", m.Handshake)
	}
	if m.Handshake.WantMS != 40.222 { // 592 bits at 8 and at 4 Mbit/s
		t.Errorf("got %v ms wanted of a handshake, want 40.222", m.Handshake.WantMS)
	}
	if m.SetUp.RoundTrips == nil || *m.SetUp.RoundTrips < float64(m.SetUp.Want)*0.9 {
		t.Errorf("got set-up %+v, want each stage to take a round trip", m.SetUp)
	}
	if m.Down.Sent < 100 || m.Up.Sent < 100 || m.Loss.Sent != m.Down.Sent+m.Up.Sent || m.Loss.Want != 1 {
		t.Errorf("got %+v, %+v, %+v, want hundreds of packets, and 1 %% of them lost", m.Down, m.Up, m.Loss)
	}
	if (m.Verdict == runs.OnProfile) != (len(m.Misses) == 0) {
		t.Errorf("got %s with misses %v", m.Verdict, m.Misses)
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := New(discard(), Options{}).Measure(ctx, preset(t, "3g"), time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}
