package cachestate

import (
	"encoding/json"
	"testing"
	"time"
)

func TestJSONRoundTrip(t *testing.T) {
	for _, want := range []Result{
		{State: Unknown},
		{State: Hit, Tier: Edge, Vendor: Fastly, Age: 0, HasAge: true, Evidence: "X-Cache: HIT"},
		{State: Stale, Age: 90 * time.Second, HasAge: true},
	} {
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Result
		if err := json.Unmarshal(body, &got); err != nil || got != want {
			t.Errorf("got %+v (%v) from %s, want %+v", got, err, body, want)
		}
	}
	body, err := json.Marshal(Result{State: Miss})
	if err != nil || string(body) != `{"state":"miss"}` {
		t.Errorf("got %s (%v), want only the state", body, err)
	}
}
