package linktest

import (
	"testing"
	"time"

	"lastmile/internal/runs"
)

// Each miss is as linkemu words it.
func TestUnproven(t *testing.T) {
	quiet := runs.LinkTraffic{LateMeanMS: 0.06, LateMaxMS: 1.2}
	busy := runs.LinkTraffic{LateMeanMS: 0.8, LateMaxMS: 14}
	for _, tt := range []struct {
		name, miss string
		down       runs.LinkTraffic
		stalled    float64
		proven     bool
	}{
		{"stood still", "one: got the link standing still for 45.2 of 600 ms, want at most 18.0 ms: the machine is too busy", quiet, 45.2, true},
		{"stood still, of which the record knows nothing", "one: got the link standing still for 45.2 of 600 ms, want at most 18.0 ms: the machine is too busy", busy, 0, false},
		{"stood still within the limit", "one: got the link standing still for 17.9 of 600 ms, want at most 10.0 ms: the machine is too busy", busy, 17.9, false},
		{"late", "down: got packets 0.80 ms late on average, want at most 0.50 ms: the machine is too busy", busy, 0, true},
		{"late, but not so late", "down: got packets 0.80 ms late on average, want at most 0.50 ms: the machine is too busy", quiet, 0, false},
		{"late the other way", "up: got packets 0.80 ms late on average, want at most 0.50 ms: the machine is too busy", busy, 0, false},
		{"farther", "rtt: got 103.1 ms, want 100.0 ms +- 2.0 ms", busy, 0, true},
		{"farther on a quiet machine", "rtt: got 103.1 ms, want 100.0 ms +- 2.0 ms", quiet, 0, false},
		{"nearer", "rtt: got 97.1 ms, want 100.0 ms +- 2.0 ms", busy, 0, false},
		{"no answer", "rtt: got no answer to the calibration exchange", busy, 0, false},
		{"slower", "down: got 7500 kbit/s, want 8 Mbit/s +- 4 %", busy, 0, true},
		{"slower on a quiet machine", "down: got 7500 kbit/s, want 8 Mbit/s +- 4 %", quiet, 0, false},
		{"no rate", "down: got no rate from the calibration exchange", busy, 0, false},
		{"lost", "down: got 9 of 173 packets lost, want 0 +- 3", busy, 0, false},
		{"not taken", "namespace: got 3 packets that the browser's side did not take, want none", busy, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := runs.Link{Misses: []string{tt.miss}, Down: &tt.down, Up: &quiet, StalledMS: tt.stalled}
			if got := Unproven(l, 100*time.Millisecond); (len(got) == 0) != tt.proven {
				t.Errorf("got unproven %q, want proven %v", got, tt.proven)
			}
		})
	}
}
