package trial

import (
	"math"
	"testing"
	"time"

	"lastmile/internal/netprofile"
)

func TestPFTK(t *testing.T) {
	const free = 1 << 30
	tests := []struct {
		name string
		path Path
		want float64 // packets a second
	}{
		// k = 4/6, E[W] = 2/3 + sqrt(4/3 + 4/9) = 2, Q = 1, f = 1 + 6/2 = 4:
		// (1 + 2 + 1/0.5) / (0.1 (1*2 + 1) + 1*1*4/0.5) = 5/8.3.
		{"by hand, half is lost", Path{0.5, 100 * time.Millisecond, time.Second, 2, free}, 5 / 8.3},
		// k = 2/3, E[W] = 2/3 + sqrt(7.84/0.12 + 4/9) = 8.777017, Q = 0.399447, f = 1.020833:
		// (49 + 8.777017 + 0.407599) / (0.3*9.777017 + 0.399447*0.5*1.020833/0.98) = 58.184615 / 3.141150.
		{"2 %, two packets per ACK", Path{0.02, 300 * time.Millisecond, 500 * time.Millisecond, 2, free}, 18.523348},
		// k = 1, E[W] = 1 + sqrt(7.84/0.06 + 1) = 12.474610, Q = 0.307267: 61.788148 / 2.331226.
		{"2 %, one packet per ACK", Path{0.02, 300 * time.Millisecond, 500 * time.Millisecond, 1, free}, 26.504567},
		// E[W] = 12.2 > 6; Q(6) = 0.522164, f = 1.010204:
		// (99 + 6 + 0.527438) / (0.243 (2/8*6 + 0.99/0.06 + 2) + 0.522164*2.495*1.010204/0.99) = 105.527438 / 6.189386.
		{"a window of six", Path{0.01, 243 * time.Millisecond, 2495 * time.Millisecond, 2, 6}, 17.049741},
		{"no loss", Path{0, time.Second, time.Second, 1, free}, math.Inf(1)},
		{"all is lost", Path{1, time.Second, time.Second, 1, free}, 0},
	}
	for _, tt := range tests {
		if got := PFTK(tt.path); got != tt.want && math.Abs(got/tt.want-1) > 1e-6 {
			t.Errorf("%s: got %v packets/s, want %v", tt.name, got, tt.want)
		}
	}
}

// A sender is never the faster for more loss, longer trips, longer timeouts or fewer acknowledgements, and keeps to its window. With
// little loss it follows the square root of Mathis, Semke, Mahdavi and Ott, "The Macroscopic Behavior of the TCP Congestion Avoidance
// Algorithm", CCR 1997: sqrt(3/2bp) packets a round trip.
func TestPFTKProperties(t *testing.T) {
	for loss := 1e-6; loss < 0.9; loss *= 1.3 {
		for _, window := range []int{4, 40, 1 << 30} {
			base := Path{Loss: netprofile.Ratio(loss), RTT: 200 * time.Millisecond, RTO: 400 * time.Millisecond, PerACK: 1, MaxWindow: window}
			got := PFTK(base)
			for name, change := range map[string]func(*Path){
				"loss": func(p *Path) { p.Loss *= 1.1 },
				"rtt":  func(p *Path) { p.RTT *= 2 },
				"rto":  func(p *Path) { p.RTO *= 2 },
				"acks": func(p *Path) { p.PerACK = 2 },
			} {
				worse := base
				change(&worse)
				if than := PFTK(worse); than > got*1.001 {
					t.Errorf("%+v: got %v packets/s, and more with a worse %s: %v", base, got, name, than)
				}
			}
			if most := float64(window) / base.RTT.Seconds(); got > most*1.001 {
				t.Errorf("%+v: got %v packets/s, want at most the window's %v", base, got, most)
			}
			if root := math.Sqrt(1.5/loss) / base.RTT.Seconds(); window > 1e6 && loss < 1e-4 && math.Abs(got/root-1) > 0.05 {
				t.Errorf("%+v: got %v packets/s, want about %v", base, got, root)
			}
		}
	}
}

func TestEventLoss(t *testing.T) {
	preset := func(name string) netprofile.Profile {
		p, ok := netprofile.Lookup(name)
		if !ok {
			t.Fatalf("no preset %s", name)
		}
		return p
	}
	mixed := preset("3g-very-lossy")
	mixed.Loss = 0.1
	for name, tt := range map[string]struct {
		p    netprofile.Profile
		want float64
	}{
		"none":   {preset("3g"), 0},
		"random": {preset("3g-lossy"), 0.02},
		// Bad for 0.02/0.2 = 1/10: (0.9*0.02*0.5 + 0.1*0.5*0.82*0.5) / 0.95.
		"bursts": {preset("3g-very-lossy"), 0.0295 / 0.95},
		// Losses 0.1 and 0.55: (0.9*0.9*(0.98*0.1 + 0.02*0.55) + 0.1*0.45*(0.82*0.55 + 0.18*0.1)) / (1 - 0.145).
		"both": {mixed, (0.81*0.109 + 0.045*0.469) / 0.855},
	} {
		if got := float64(eventLoss(tt.p)); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// The model stays below what the link can carry.
func TestExpected(t *testing.T) {
	for _, p := range netprofile.Presets() {
		if !p.Emulated() {
			continue
		}
		for _, d := range []Direction{Down, Up} {
			got, most := expected(p, d), limit(p, d)
			if got <= 0 || got > most || p.MeanLoss() == 0 && got != most {
				t.Errorf("%s %s: got %s, want at most %s, and that without loss", p.Name, d, got, most)
			}
		}
	}
}

func TestBinomial(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		p, q float64
		want int64
	}{
		{10, 0.5, 0.005, 1}, // P(0) = 1/1024, P(<=1) = 11/1024
		{10, 0.5, 0.995, 9}, // P(<=8) = 1013/1024, P(<=9) = 1023/1024
		{2, 0.1, 0.8, 0},    // P(0) = 0.81
		{2, 0.1, 0.82, 1},   //
		{100, 0, 0.995, 0},  //
		{100, 1, 0.005, 100},
		{0, 0.5, 0.995, 0},
	} {
		if got := binomial(tt.n, tt.p, tt.q); got != tt.want {
			t.Errorf("quantile %v of %d at %v: got %d, want %d", tt.q, tt.n, tt.p, got, tt.want)
		}
	}
	// Of many: the normal distribution's, 2000 -+ 2.5758 * 44.27.
	if low, high := binomial(100_000, 0.02, 0.005), binomial(100_000, 0.02, 0.995); low < 1884 || low > 1889 || high < 2112 || high > 2117 {
		t.Errorf("got %d to %d of 100000, want about 1886 to 2114", low, high)
	}
}
