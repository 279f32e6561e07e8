package bus

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// sampleHTTP is what an http run of 3 steps and 5 requests over an emulated network reports. Names and numbers differ from run to run, as they
// do in life: what compresses well is no more than that.
func sampleHTTP(a runs.Assignment, rng *rand.Rand) runs.Result { return sampleRun(a, rng, 3, 5) }

// sampleBrowser is what a browser's run of 10 steps and 60 requests reports.
func sampleBrowser(a runs.Assignment, rng *rand.Rand) runs.Result {
	r := sampleRun(a, rng, 10, 60)
	for i := range r.Requests {
		q := &r.Requests[i]
		q.Type, q.From = []string{"script", "image", "fetch", "stylesheet"}[i%4], "page"
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		s.Type, s.Selector, s.SettledMS = scenario.StepClick, "aria/Add to basket", new(ms(rng, 900))
		if i%3 == 0 {
			s.Vitals = &runs.Vitals{TTFB: new(ms(rng, 300)), FCP: new(ms(rng, 900)), LCP: new(ms(rng, 2000)), CLS: new(0.01)}
			r.Navigations = append(r.Navigations, runs.Navigation{
				Step: s.ID, URL: fmt.Sprintf("https://shop.example.com/page/%d", i), StartedMS: ms(rng, 20000), Vitals: *s.Vitals,
			})
		}
	}
	r.Link.Mode = runs.LinkProxy
	r.Load = &runs.Load{
		Cores: 2, Weight: 0.5, LateMS: ms(rng, 40), WaitedMS: ms(rng, 10), LaunchMS: ms(rng, 400), CPUSeconds: ms(rng, 2), LaunchCPU: ms(rng, 1),
		OthersCPU: ms(rng, 3), PeakMemory: 300<<20 + rng.Int64N(100<<20), PressureCPU: new(ms(rng, 90)),
	}
	return r
}

func sampleRun(a runs.Assignment, rng *rand.Rand, steps, requests int) runs.Result {
	r := resultOf(a, "p1")
	r.StartedAt = a.Slot.Add(time.Duration(rng.IntN(40_000)) * time.Microsecond)
	r.DurationMS = ms(rng, 8000)
	r.TraceID = fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64())
	for i := range steps {
		r.Steps = append(r.Steps, runs.Step{
			ID: fmt.Sprintf("step-%d", i+1), Type: scenario.StepHTTP, State: runs.StepPassed, StartedMS: ms(rng, 9000), DurationMS: ms(rng, 900),
			Requests: requests / steps, Bytes: rng.Int64N(90_000),
		})
	}
	for i := range requests {
		q := runs.Request{
			Step: r.Steps[i*steps/requests].ID, URL: fmt.Sprintf("https://shop.example.com/assets/%d/app-%04x.js", i, rng.IntN(1<<16)), Method: "GET", Status: 200,
			Protocol: "h2", RemoteAddr: "192.0.2.17:443",
			Phases: runs.Phases{Blocked: new(ms(rng, 5)), Send: new(ms(rng, 1)), Wait: new(ms(rng, 300)), Receive: new(ms(rng, 200))},
			Bytes:  rng.Int64N(60_000), Cache: cachestate.Result{State: cachestate.Hit, Vendor: cachestate.Fastly, Age: time.Duration(rng.IntN(3000)) * time.Second, HasAge: true, Evidence: "X-Cache: HIT"},
			ServedRegion: "us", PoP: "FRA", SpanID: fmt.Sprintf("%016x", rng.Uint64()), StartedMS: ms(rng, 9000),
		}
		if i%6 == 0 {
			q.Phases.DNS, q.Phases.Connect, q.Phases.TLS = new(ms(rng, 40)), new(ms(rng, 300)), new(ms(rng, 150))
		}
		r.Requests = append(r.Requests, q)
	}
	traffic := func() *runs.LinkTraffic {
		n := rng.Int64N(900)
		return &runs.LinkTraffic{Sent: n, Delivered: n, Bytes: n * 1400, CalibrationBytes: 24_000, BusyMS: ms(rng, 4000), LateMeanMS: 0.081, LateP99MS: 0.412, LateMaxMS: ms(rng, 2)}
	}
	r.Link = runs.Link{
		Profile: "3g", Version: "v1", Mode: runs.LinkDial, Verdict: runs.OnProfile, RTTMS: new(ms(rng, 200)), DownKbit: new(ms(rng, 1600)),
		UpKbit: new(ms(rng, 768)), Down: traffic(), Up: traffic(),
	}
	r.Clock = &runs.Clock{OffsetMS: ms(rng, 3), ErrorMS: ms(rng, 1)}
	r.Load = &runs.Load{Cores: 2, LateMS: ms(rng, 40)}
	r.Summarise()
	return r
}

// ms is a time of up to so many milliseconds, to the microsecond.
func ms(rng *rand.Rand, upTo int) float64 { return float64(rng.IntN(upTo*1000)) / 1000 }

// samples makes n results of a kind, one a minute for each of the combinations.
func samples(t testing.TB, kind func(runs.Assignment, *rand.Rand) runs.Result, n int) []runs.Result {
	rng := rand.New(rand.NewPCG(7, 7))
	a := assignment(t, "shop", "us")
	var out []runs.Result
	for i := range n {
		out = append(out, kind(runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Add(time.Duration(i-n)*time.Minute)), rng))
	}
	return out
}
