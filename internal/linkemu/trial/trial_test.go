package trial

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// loopback is a network without a link.
type loopback struct {
	net.Dialer
	lookups []string
}

func (l *loopback) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	httptrace.ContextClientTrace(ctx).DNSStart(httptrace.DNSStartInfo{Host: host})
	l.lookups = append(l.lookups, host)
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func fast() netprofile.Profile {
	return netprofile.Profile{
		Name: "fast", Version: "v1", Down: netprofile.GbitPerSecond, Up: netprofile.GbitPerSecond, Queue: 1000, MTU: 1500,
	}
}

func TestRunTriesTheNetwork(t *testing.T) {
	for _, d := range []Direction{Down, Up} {
		n := &loopback{}
		s, err := Run(t.Context(), n, fast(), d, 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.setUps) < leastSetUps || len(s.setUps) > mostSetUps || len(n.lookups) != len(s.setUps) {
			t.Errorf("%s: got %d set-ups and look-ups %v, want 2 to 5 with one each", d, len(s.setUps), n.lookups)
		}
		seen := map[string]bool{}
		for _, name := range n.lookups {
			if seen[name] || !strings.EqualFold(name, "localhost") {
				t.Errorf("%s: got look-ups %v, want a new spelling of localhost each", d, n.lookups)
			}
			seen[name] = true
		}
		for _, one := range s.setUps {
			if one[stageTLS] == 0 || one[stageRequest] == 0 {
				t.Errorf("%s: got stages %v, want all of them", d, one)
			}
		}
		if s.goodput.rate() <= 0 {
			t.Errorf("%s: got goodput %+v, want some", d, s.goodput)
		}
	}
}

// blocked is a network through which nothing goes.
type blocked struct{ loopback }

func (*blocked) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("refused")
}

func TestRunOfANetworkThatCarriesNothing(t *testing.T) {
	s, err := Run(t.Context(), &blocked{}, fast(), Down, time.Millisecond)
	if err != nil {
		t.Fatalf("got %v, want a sample: it is the network that is bad", err)
	}
	r := Judge(fast(), time.Minute, s, s, bounds())
	if r.Verdict != runs.OffProfile || r.Handshake.MedianMS != nil || r.Down.GoodputKbit != nil {
		t.Errorf("got %+v, want off profile and nothing measured", r)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Run(ctx, &loopback{}, fast(), Up, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("got an end after %s, want it at once", took)
	}
}

func TestMeterCountsFromArrivalToArrival(t *testing.T) {
	m := &meter{}
	at := time.Now()
	m.add(1000, at) // before it is known when to begin
	m.start(at.Add(10 * time.Second))
	m.add(1000, at.Add(5*time.Second)) // too early
	for i := range 5 {
		m.add(1250, at.Add(time.Duration(10+i)*time.Second))
	}
	got := m.stop()
	m.add(1000, at.Add(time.Hour))
	if got.bytes != 4*1250 || got.over != 4*time.Second || got.rate() != 10*netprofile.KbitPerSecond {
		t.Errorf("got %+v, %s, want 5000 bytes in 4 s, 10 kbit/s", got, got.rate())
	}
}

func bounds() Bounds {
	return Bounds{
		RoundTrip: func(int) time.Duration { return 3 * time.Millisecond }, Late: 2 * time.Millisecond, Stalled: 0.03,
		LossDeviation: func(float64) float64 { return 10 },
	}
}

// sample is what a perfect 3g gives.
func sample(p netprofile.Profile, d Direction) *Sample {
	const one = 100 * time.Second
	return &Sample{
		setUps:  []setUp{{p.RTT, p.RTT, p.RTT, p.RTT}, {p.RTT, p.RTT, p.RTT, p.RTT}},
		goodput: goodput{bytes: int64(float64(limit(p, d)) / 8 * one.Seconds()), over: one},
		Link: runs.Link{
			Verdict: runs.OnProfile,
			Down:    &runs.LinkTraffic{Sent: 1000, Delivered: 1000, Bytes: 10, LateMeanMS: 0.1, LateP99MS: 0.5, LateMaxMS: 1},
			Up:      &runs.LinkTraffic{Sent: 3000, Delivered: 3000, Bytes: 20, LateMeanMS: 0.2, LateP99MS: 0.7, LateMaxMS: 3},
		},
	}
}

func TestJudge(t *testing.T) {
	lossless, _ := netprofile.Lookup("3g")
	lossy, _ := netprofile.Lookup("3g-lossy")
	slow := func(down, _ *Sample) { down.goodput.bytes = down.goodput.bytes * 9 / 10 }
	late := func(down, up *Sample) {
		for _, s := range []*Sample{down, up} {
			for i := range s.setUps {
				s.setUps[i][stageTCP] += 20 * time.Millisecond
			}
		}
	}
	for _, tt := range []struct {
		name   string
		p      netprofile.Profile
		period time.Duration
		change func(down, up *Sample)
		want   string // part of the one miss; "" = on profile
	}{
		{"perfect", lossless, time.Minute, func(_, _ *Sample) {}, ""},
		{"slow transfer", lossless, time.Minute, slow, "goodput down: got 1377 kbit/s, want at least 1484 kbit/s"},
		{"slow transfer, and short", lossless, time.Second, slow, ""},
		{"slow transfer, with loss", lossy, time.Minute, slow, ""},
		{"slow transfer, over a queue too short", lossless, time.Minute, func(down, up *Sample) {
			slow(down, up)
			down.Link.Down.DroppedQueue = 1
		}, ""},
		{"late handshake", lossless, time.Minute, late, "handshake: got 321.1 ms, want 301.1 ms +- 3.0 ms"},
		{"late handshake, with loss", lossy, time.Minute, late, ""},
		{"link off profile", lossy, time.Second, func(_, up *Sample) {
			up.Link.Verdict, up.Link.Misses = runs.OffProfile, []string{"rtt: too long"}
		}, "in the up transfer: rtt: too long"},
		{"no verdict", lossy, time.Second, func(_, up *Sample) { up.Link.Verdict = "" }, "in the up transfer: got verdict"},
	} {
		down, up := sample(tt.p, Down), sample(tt.p, Up)
		tt.change(down, up)
		r := Judge(tt.p, tt.period, down, up, bounds())
		misses := strings.Join(r.Misses, "; ")
		if (r.Verdict == runs.OnProfile) != (tt.want == "") || !strings.Contains(misses, tt.want) || len(r.Misses) > 1 {
			t.Errorf("%s: got %s: %s, want %q", tt.name, r.Verdict, misses, tt.want)
		}
	}
}

func TestJudgeSumsUp(t *testing.T) {
	p, _ := netprofile.Lookup("3g-lossy")
	down, up := sample(p, Down), sample(p, Up)
	down.Link.Down.DroppedLoss, up.Link.Up.DroppedLoss = 50, 90
	r := Judge(p, time.Minute, down, up, bounds())
	if r.Handshake.Count != 4 || r.SetUp.Count != 4 || *r.SetUp.RoundTrips != 4 || r.SetUp.Want != 4 {
		t.Errorf("got handshake %+v, set-up %+v, want 4 of each, and 4 round trips", r.Handshake, r.SetUp)
	}
	// SYN and SYN-ACK are 74 bytes on the wire: 592/768 + 592/1600 ms. A full packet carries 1448 of 1514.
	if r.Handshake.WantMS != 301.140 || r.Down.LimitKbit < 1530.2 || r.Down.LimitKbit > 1530.3 || r.Up.LimitKbit < 734.5 || r.Up.LimitKbit > 734.6 {
		t.Errorf("got %+v, down %+v, up %+v, want 301.14 ms, 1530.25 and 734.52 kbit/s", r.Handshake, r.Down, r.Up)
	}
	if r.Down.Sent != 2000 || r.Up.Sent != 6000 || r.Up.Bytes != 40 || r.Down.ModelKbit == nil {
		t.Errorf("got down %+v, up %+v, want both trials together, and the model", r.Down, r.Up)
	}
	if l := r.Loss; l.Sent != 8000 || l.Lost != 140 || l.Percent != 1.75 || l.Want != 2 || l.Low > 130 || l.Low < 126 || l.High < 190 || l.High > 195 || !l.Inside {
		t.Errorf("got loss %+v, want 140 of 8000 inside 128 to 193 or so", l)
	}
	if r.Late != (Late{MeanMS: 0.175, P99MS: 0.7, MaxMS: 3}) {
		t.Errorf("got %+v, want the mean of all, and the worst", r.Late)
	}
	// In bursts: 400 -+ 2.5758 * 10.
	p, _ = netprofile.Lookup("3g-very-lossy")
	if l := Judge(p, time.Minute, down, up, bounds()).Loss; l.Low != 375 || l.High != 425 || l.Inside || !l.InBursts {
		t.Errorf("got loss %+v, want 140 outside of 375 to 425", l)
	}
}
