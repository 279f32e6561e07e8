package trial

import (
	"fmt"
	"math"
	"slices"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// Report is what became of the trial of a network: got and want of each quantity, and the verdict. Pointers are nil where nothing was
// measured or nothing is wanted.
type Report struct {
	Network    string           `json:"network"`
	Version    string           `json:"version"`
	Verdict    runs.LinkVerdict `json:"verdict"`
	Misses     []string         `json:"misses,omitempty"` // what was off profile: what, got, want
	Handshake  Handshake        `json:"handshake"`
	SetUp      SetUp            `json:"set_up"`
	Down       Way              `json:"down"`
	Up         Way              `json:"up"`
	Loss       Loss             `json:"loss"`
	Late       Late             `json:"late"`
	Tolerances Tolerances       `json:"tolerances"`
}

// Handshake is TCP's on an idle link: SYN and SYN-ACK.
type Handshake struct {
	Count    int      `json:"count"`
	MedianMS *float64 `json:"median_ms"`
	WantMS   float64  `json:"want_ms"` // round trip and serialisation
}

// SetUp is what a new connection costs, from the look-up of a name to the first byte of an answer over TLS 1.3.
type SetUp struct {
	Count      int      `json:"count"`
	RoundTrips *float64 `json:"round_trips"` // beyond serialisation: the sum of each stage's median; nil on a link without delay
	Want       int      `json:"want_round_trips"`
}

// Way is one direction of a network.
type Way struct {
	RateKbit    float64  `json:"rate_kbit"`    // the profile's, on the wire
	LimitKbit   float64  `json:"limit_kbit"`   // what TCP can carry at that rate
	GoodputKbit *float64 `json:"goodput_kbit"` // in steady state
	OverMS      float64  `json:"over_ms"`      // how long it was measured
	ModelKbit   *float64 `json:"model_kbit"`   // what the PFTK model gives a link that loses packets: within 40 % as a rule
	Sent        int64    `json:"sent"`         // packets, acknowledgements included
	Overflowed  int64    `json:"dropped_queue"`
	Bytes       int64    `json:"bytes"`
}

// Loss is what the link lost on purpose, both directions together. Of a hundred links with the profile's numbers, 99 lose as many
// packets as Low to High.
type Loss struct {
	Sent     int64   `json:"sent"`
	Lost     int64   `json:"lost"`
	Percent  float64 `json:"percent"`
	Want     float64 `json:"want_percent"`
	Low      int64   `json:"low"`
	High     int64   `json:"high"`
	Inside   bool    `json:"inside"`
	InBursts bool    `json:"bursts"` // the interval is that of the Gilbert-Elliott chain
}

// Late is how late packets came: the scheduling error of the timer and the machine. P99 is that of the worst line.
type Late struct {
	MeanMS float64 `json:"mean_ms"`
	P99MS  float64 `json:"p99_ms"`
	MaxMS  float64 `json:"max_ms"`
}

// Tolerances are the bounds of the verdict. Beyond them it takes in what the network says of itself: the round trip, the rates and the loss
// of each direction.
type Tolerances struct {
	HandshakeMS  *float64 `json:"handshake_ms"`  // either way; nil = not judged, as packets are lost
	GoodputShare *float64 `json:"goodput_share"` // least share of the limit; nil = not judged
	LateMS       float64  `json:"late_ms"`       // later than that, the link stands still
	StalledShare float64  `json:"stalled_share"` // of a trial's time in which the link may stand still
}

// Bounds is how far a network may be off its profile, where the network itself decides that.
type Bounds struct {
	RoundTrip     func(n int) time.Duration // of n round trips
	Late          time.Duration             // later than that, the link stands still
	Stalled       float64                   // share of the time in which the link may stand still
	LossDeviation func(n float64) float64   // standard deviation of the loss of n packets
}

// The goodput is judged where the link loses nothing and the transfer was long enough.
const (
	leastGoodput = 0.97
	leastPeriod  = 5 * time.Second
)

// Judge makes the report of two trials of a profile, one for each direction.
func Judge(p netprofile.Profile, period time.Duration, down, up *Sample, b Bounds) *Report {
	r := &Report{Network: p.Name, Version: p.Version, Verdict: runs.OnProfile}
	samples := []*Sample{down, up}
	r.Tolerances = Tolerances{LateMS: runs.Milliseconds(b.Late), StalledShare: b.Stalled}
	r.connections(p, samples, b)
	r.Down, r.Up = way(p, Down, down.goodput, samples), way(p, Up, up.goodput, samples)
	r.goodput(p, period)
	r.loss(p, samples, b)
	r.late(samples)
	for i, d := range []Direction{Down, Up} {
		for _, miss := range samples[i].Link.Misses {
			r.miss("in the %s transfer: %s", d, miss)
		}
		if samples[i].Link.Verdict != runs.OnProfile && len(samples[i].Link.Misses) == 0 {
			r.miss("in the %s transfer: got verdict %q, want %q", d, samples[i].Link.Verdict, runs.OnProfile)
		}
	}
	return r
}

func (r *Report) miss(format string, args ...any) {
	r.Verdict = runs.OffProfile
	r.Misses = append(r.Misses, fmt.Sprintf(format, args...))
}

// connections sums up the set-ups of both samples.
func (r *Report) connections(p netprofile.Profile, samples []*Sample, b Bounds) {
	var stages [stageCount][]time.Duration
	for _, s := range samples {
		for _, one := range s.setUps {
			r.SetUp.Count++
			for stage, took := range one {
				if took > 0 {
					stages[stage] = append(stages[stage], took)
				}
			}
		}
	}
	var all time.Duration
	for _, times := range stages {
		if len(times) > 0 {
			all += median(times)
			r.SetUp.Want++
		}
	}
	if p.RTT > 0 {
		r.SetUp.RoundTrips = new(rounded(float64(all) / float64(p.RTT)))
	}
	handshakes := stages[stageTCP]
	r.Handshake = Handshake{Count: len(handshakes), WantMS: runs.Milliseconds(p.RTT + handshakeSerialised(p))}
	if len(handshakes) == 0 {
		r.miss("handshake: got none")
		return
	}
	got := median(handshakes)
	r.Handshake.MedianMS = new(runs.Milliseconds(got + handshakeSerialised(p)))
	if p.MeanLoss() > 0 || p.Reorder > 0 {
		return
	}
	within := b.RoundTrip(len(handshakes))
	r.Tolerances.HandshakeMS = new(runs.Milliseconds(within))
	if (got - p.RTT).Abs() > within {
		r.miss("handshake: got %.1f ms, want %.1f ms +- %.1f ms", *r.Handshake.MedianMS, r.Handshake.WantMS, runs.Milliseconds(within))
	}
}

// way sums up one direction: its own transfer, and what crossed it in both trials.
func way(p netprofile.Profile, d Direction, g goodput, samples []*Sample) Way {
	w := Way{RateKbit: kbit(rate(p, d)), LimitKbit: kbit(limit(p, d)), OverMS: runs.Milliseconds(g.over)}
	if got := g.rate(); got > 0 {
		w.GoodputKbit = new(kbit(got))
	}
	if p.MeanLoss() > 0 {
		w.ModelKbit = new(kbit(expected(p, d)))
	}
	for _, s := range samples {
		if t := traffic(s, d); t != nil {
			w.Sent += t.Sent
			w.Overflowed += t.DroppedQueue
			w.Bytes += t.Bytes
		}
	}
	return w
}

func traffic(s *Sample, d Direction) *runs.LinkTraffic {
	if d == Down {
		return s.Link.Down
	}
	return s.Link.Up
}

// goodput judges the transfers where a link without loss had time and room for them: what a short queue, or packets that overtake
// others, leave of the rate is TCP's business.
func (r *Report) goodput(p netprofile.Profile, period time.Duration) {
	if period < leastPeriod || p.MeanLoss() > 0 || p.Reorder > 0 || r.Down.Overflowed+r.Up.Overflowed > 0 {
		return
	}
	r.Tolerances.GoodputShare = new(leastGoodput)
	for i, w := range []Way{r.Down, r.Up} {
		d := []Direction{Down, Up}[i]
		if w.GoodputKbit == nil {
			r.miss("goodput %s: got none", d)
		} else if *w.GoodputKbit < leastGoodput*w.LimitKbit {
			r.miss("goodput %s: got %.0f kbit/s, want at least %.0f kbit/s", d, *w.GoodputKbit, leastGoodput*w.LimitKbit)
		}
	}
}

// loss sums up all lines. It judges nothing: one link in a hundred is outside, and each line has been judged by itself.
func (r *Report) loss(p netprofile.Profile, samples []*Sample, b Bounds) {
	l := &r.Loss
	for _, s := range samples {
		for _, d := range []Direction{Down, Up} {
			if t := traffic(s, d); t != nil {
				l.Sent += t.Sent
				l.Lost += t.DroppedLoss
			}
		}
	}
	share := float64(p.MeanLoss())
	l.Want, l.InBursts = rounded(100*share), p.Burst != nil
	if l.Sent > 0 {
		l.Percent = rounded(100 * float64(l.Lost) / float64(l.Sent))
	}
	if l.InBursts {
		const deviations = 2.5758 // 99 % of a normal distribution
		mean, within := share*float64(l.Sent), deviations*b.LossDeviation(float64(l.Sent))
		l.Low, l.High = int64(math.Ceil(max(0, mean-within))), int64(math.Floor(mean+within))
	} else {
		l.Low, l.High = binomial(l.Sent, share, 0.005), binomial(l.Sent, share, 0.995)
	}
	l.Inside = l.Low <= l.Lost && l.Lost <= l.High
}

func (r *Report) late(samples []*Sample) {
	var packets, total float64
	for _, s := range samples {
		for _, d := range []Direction{Down, Up} {
			if t := traffic(s, d); t != nil {
				packets += float64(t.Delivered)
				total += float64(t.Delivered) * t.LateMeanMS
				r.Late.P99MS, r.Late.MaxMS = max(r.Late.P99MS, t.LateP99MS), max(r.Late.MaxMS, t.LateMaxMS)
			}
		}
	}
	if packets > 0 {
		r.Late.MeanMS = rounded(total / packets)
	}
}

// median sorts times, of which there is at least one.
func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return (times[(len(times)-1)/2] + times[len(times)/2]) / 2
}

// rounded drops the decimals that mean nothing.
func rounded(x float64) float64 { return math.Round(1000*x) / 1000 }

func kbit(r netprofile.Rate) float64 { return float64(r) / float64(netprofile.KbitPerSecond) }
