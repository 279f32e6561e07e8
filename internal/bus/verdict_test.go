package bus

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// A region with thousands of combinations falls silent: the verdict on a minute of it is more than a message holds as it comes.
func TestVerdictOfManySlots(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const slots = 12_000
	v := verdictAt("us", 100)
	for n := range slots {
		c := scenario.Combination{Scenario: fmt.Sprintf("s%d-%s", n, strings.Repeat("x", 40)), Region: "us", Network: "3g-lossy"}
		v.Slots = append(v.Slots, runs.SlotVerdict{RunID: runs.NewID(c, v.Minute.Add(time.Second)), State: runs.StateMissing, Reason: runs.ReasonNoProbe})
	}
	if created, err := b.PublishVerdict(soon(t), v); !created || err != nil {
		t.Fatalf("got created=%t, %v, want it written", created, err)
	}
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var got []runs.SlotVerdict
	err := b.Follow(ctx, []string{"us"}, nil, Handler{
		Result: func(runs.Result, Meta) {}, Verdict: func(v runs.Verdict, _ Meta) { got = v.Slots }, CaughtUp: cancel,
	})
	if err != nil || len(got) != slots || got[slots-1] != v.Slots[slots-1] {
		t.Errorf("got %d slots, %v, want all %d", len(got), err, slots)
	}
}
