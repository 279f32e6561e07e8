package faults

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/runs"
)

var (
	soakFor     = flag.Duration("soak", 0, "how long the soak injects faults; 0 = it is not run: make soak")
	soakSeed    = flag.Uint64("seed", 0, "seed of the soak's faults; 0 = from the clock")
	soakSummary = flag.String("summary", "", "file that the soak writes its summary to, as Markdown")
)

// chaos injects faults at random, one after the other, and keeps a list of them.
type chaos struct {
	f      *fleet
	random *rand.Rand
	until  time.Time

	log *faultLog
}

// faultLog is what was injected, by everybody who injects.
type faultLog struct {
	mu        sync.Mutex
	lines     []string
	kinds     map[string]int
	takeovers []time.Duration
}

// note enters a fault that lasted from began until now.
func (l *faultLog) note(kind, what string, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds[kind]++
	l.lines = append(l.lines, fmt.Sprintf("| %s | %.0f s | %s |", began.UTC().Format("15:04:05"), time.Since(began).Seconds(), what))
}

// TestSoak lets a whole fleet run for as long as it is told to, while two hands inject faults: one to probes and their links, one to the
// coordinators and the cluster. In the end every slot is accounted for.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("the soak takes as long as it is told to: make soak FOR=30m")
	}
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	f := newFleet(t, layout{
		scenarios: []string{"steady", "slow", "wide", "patient"}, probes: map[string]int{"us": 2, "eu": 2, "far": 2},
		servers: 3, coordinators: 2, leaf: "far", coordinator: []string{"--replicas", "3"},
	})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	time.Sleep(min(*soakFor/10, 30*time.Second))
	before := f.memories()
	began := time.Now()
	log := &faultLog{kinds: map[string]int{}}
	var hands sync.WaitGroup
	for i, menu := range [][]func(*chaos){
		{(*chaos).killProbe, (*chaos).killProbeAtStep, (*chaos).stopProbe, (*chaos).cutLeaf, (*chaos).cutProbe, (*chaos).wearLink, (*chaos).jump},
		{
			(*chaos).killCoordinator, (*chaos).killCoordinatorAtStep, (*chaos).stopLeader, (*chaos).killBoth, (*chaos).killNode, (*chaos).killNodes,
			(*chaos).cutCoordinator, (*chaos).repeat,
		},
	} {
		c := &chaos{f: f, random: rand.New(rand.NewPCG(seed, uint64(i))), until: began.Add(*soakFor), log: log}
		hands.Go(func() { c.inject(menu) })
	}
	hands.Wait()
	f.awaitMeasured(f.regions()...)
	sums := f.check()
	if *soakSummary == "" {
		return
	}
	if err := os.WriteFile(*soakSummary, []byte(summary(seed, time.Since(began), sums, log, before, f.memories())), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inject takes faults off the menu, with a pause after each, until its time is over.
func (c *chaos) inject(menu []func(*chaos)) {
	for time.Now().Before(c.until) && !c.f.t.Failed() {
		menu[c.random.IntN(len(menu))](c)
		time.Sleep(c.between(2, 12))
	}
}

// between draws a time of some seconds.
func (c *chaos) between(least, most int) time.Duration {
	return time.Duration(least)*time.Second + time.Duration(c.random.Int64N(int64(most-least)*int64(time.Second)))
}

// pick draws the name of a probe and its region.
func (c *chaos) pick() (p *process, name, region string) {
	names := slices.Sorted(maps.Keys(c.f.probes))
	name = names[c.random.IntN(len(names))]
	region, _, _ = strings.Cut(name, "-")
	return c.f.probes[name], name, region
}

// The reasons that fit what is done to a region's probes, and to the hub.
func probeReasons() []runs.Reason {
	return []runs.Reason{runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe, runs.ReasonCutOff}
}

func hubReasons() []runs.Reason {
	return []runs.Reason{runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonCutOff, runs.ReasonLost}
}

// during injects one fault: begin, some time, end, and time for what was held up.
func (c *chaos) during(kind, what, region string, reasons []runs.Reason, lasting time.Duration, begin, end func()) {
	over := c.f.death(what, region, reasons...)
	began := time.Now()
	begin()
	time.Sleep(lasting)
	end()
	c.log.note(kind, what, began)
	time.Sleep(10 * time.Second)
	over()
}

func (c *chaos) killProbe() {
	p, name, region := c.pick()
	c.during("kill -9 of a probe", "kill -9 of probe "+name, region, probeReasons(), c.between(0, 20), p.kill, func() { p.start("") })
}

// killProbeAtStep starts it again with a fault point, at which it dies soon.
func (c *chaos) killProbeAtStep() {
	p, name, region := c.pick()
	step := probeSteps()[c.random.IntN(len(probeSteps()))]
	over := c.f.death("kill -9 of probe "+name+" at "+step, region, probeReasons()...)
	began := time.Now()
	p.kill()
	p.start(step)
	for limit := time.Now().Add(40 * time.Second); p.alive() && time.Now().Before(limit); {
		time.Sleep(50 * time.Millisecond)
	}
	what := "kill -9 of probe " + name + " at " + step
	if p.alive() { // its sibling took all runs
		p.kill()
		what = "kill -9 of probe " + name + ", which did not get to " + step
	}
	time.Sleep(c.between(0, 5))
	p.start("")
	c.log.note("kill -9 of a probe at a step", what, began)
	time.Sleep(10 * time.Second)
	over()
}

func (c *chaos) stopProbe() {
	p, name, region := c.pick()
	c.during("SIGSTOP of a probe", "SIGSTOP of probe "+name, region, probeReasons(), c.between(3, 30),
		func() { p.signal(syscall.SIGSTOP) }, func() { p.signal(syscall.SIGCONT) })
}

func (c *chaos) cutLeaf() {
	c.during("leaf link cut", "leaf link of region far cut", "far", probeReasons(), c.between(5, 70), c.f.cutLeaf, c.f.healLeaf)
}

// linksOf are a process's links to all servers of the hub.
func (c *chaos) linksOf(name string) (out []*link) {
	for key, l := range c.f.links {
		if key == name || strings.HasPrefix(key, name+"/") {
			out = append(out, l)
		}
	}
	return out
}

func (c *chaos) cutProbe() {
	_, name, region := c.pick()
	directions := [][]int{{up, down}, {up}, {down}}[c.random.IntN(3)]
	c.during("link of a probe cut", fmt.Sprintf("link of probe %s cut, directions %v", name, directions), region, probeReasons(), c.between(5, 50), func() {
		for _, l := range c.linksOf(name) {
			l.cut(directions...)
		}
	}, func() {
		for _, l := range c.linksOf(name) {
			l.heal()
		}
	})
}

func (c *chaos) wearLink() {
	_, name, region := c.pick()
	c.during("link of a probe slow, then reset", "link of probe "+name+" slow, then reset", region, probeReasons(), c.between(3, 15), func() {
		for _, l := range c.linksOf(name) {
			l.slow(150 * time.Millisecond)
		}
	}, func() {
		for _, l := range c.linksOf(name) {
			l.reset()
			l.heal()
		}
	})
}

func (c *chaos) jump() {
	_, name, region := c.pick()
	by := time.Duration(c.random.IntN(240)-120) * time.Second
	c.during("clock of a probe jumps", fmt.Sprintf("clock of probe %s set by %s", name, by), region, probeReasons(), c.between(3, 30),
		func() { c.f.setClock(name, by) }, func() { c.f.setClock(name, 0) })
}

func (c *chaos) killCoordinator() {
	i := c.random.IntN(len(c.f.coordinators))
	p := c.f.coordinators[i]
	c.during("kill -9 of a coordinator", "kill -9 of "+p.name, "", hubReasons(), c.between(0, 20), func() {
		led := c.f.leads(i)
		p.kill()
		if began := time.Now(); led {
			c.f.leader(i)
			c.log.mu.Lock()
			defer c.log.mu.Unlock()
			c.log.takeovers = append(c.log.takeovers, time.Since(began))
		}
	}, func() { p.start(""); c.f.awaitReady(i) })
}

func (c *chaos) killCoordinatorAtStep() {
	steps := coordinatorSteps()
	i, step := c.random.IntN(len(c.f.coordinators)), steps[c.random.IntN(len(steps))]
	p := c.f.coordinators[i]
	over := c.f.death("kill -9 of "+p.name+" at "+step, "", hubReasons()...)
	began := time.Now()
	p.kill()
	p.start(step)
	for limit := time.Now().Add(40 * time.Second); p.alive() && time.Now().Before(limit); {
		time.Sleep(50 * time.Millisecond)
	}
	what := "kill -9 of " + p.name + " at " + step
	if p.alive() { // it was not its turn to do that
		p.kill()
		what = "kill -9 of " + p.name + ", which did not get to " + step
	}
	p.start("")
	c.f.awaitReady(i)
	c.log.note("kill -9 of a coordinator at a step", what, began)
	time.Sleep(10 * time.Second)
	over()
}

func (c *chaos) stopLeader() {
	i := c.f.leader(-1)
	p := c.f.coordinators[i]
	c.during("SIGSTOP of the leader", "SIGSTOP of the leader, "+p.name, "", hubReasons(), c.between(3, 40),
		func() { p.signal(syscall.SIGSTOP) }, func() { p.signal(syscall.SIGCONT) })
}

func (c *chaos) killBoth() {
	c.during("kill -9 of both coordinators", "kill -9 of both coordinators", "", hubReasons(), c.between(0, 70), func() {
		for _, p := range c.f.coordinators {
			p.kill()
		}
	}, func() {
		for i, p := range c.f.coordinators {
			p.start("")
			c.f.awaitReady(i)
		}
	})
}

func (c *chaos) killNode() {
	p := c.f.servers[c.random.IntN(len(c.f.servers))]
	c.during("kill -9 of a node of the cluster", "kill -9 of "+p.name, "", hubReasons(), c.between(0, 25), p.kill, func() { p.start(""); time.Sleep(10 * time.Second) })
}

func (c *chaos) killNodes() {
	c.during("kill -9 of the whole cluster", "kill -9 of the whole cluster", "", hubReasons(), c.between(0, 10), func() {
		for _, p := range c.f.servers {
			p.kill()
		}
	}, func() {
		for _, p := range c.f.servers {
			p.start("")
		}
		time.Sleep(15 * time.Second)
	})
}

func (c *chaos) cutCoordinator() {
	p := c.f.coordinators[c.random.IntN(len(c.f.coordinators))]
	c.during("links of a coordinator cut", "links of "+p.name+" cut", "", hubReasons(), c.between(5, 40), func() {
		for _, l := range c.linksOf(p.name) {
			l.cut()
		}
	}, func() {
		for _, l := range c.linksOf(p.name) {
			l.heal()
		}
	})
}

func (c *chaos) repeat() {
	began := time.Now()
	n, err := c.f.repeatResults(50, c.random.Uint64())
	if err != nil { // after the fault before, the cluster may not be whole yet
		c.f.t.Logf("results not stored again: %v", err)
		return
	}
	c.log.note("results stored again", fmt.Sprintf("%d results stored again, in another order", n), began)
}

// leads reports whether a coordinator says that it leads.
func (f *fleet) leads(i int) bool {
	s, err := scrape(f.metrics[i])
	return err == nil && s.sum("lastmile_coordinator_leader") == 1
}

// memories are what the programs have resident.
func (f *fleet) memories() map[string]int64 {
	out := map[string]int64{}
	for _, p := range append(slices.Collect(maps.Values(f.probes)), f.coordinators...) {
		out[p.name] = p.memory()
	}
	return out
}

// summary is the soak's account of itself.
func summary(seed uint64, took time.Duration, sums *tally, log *faultLog, before, after map[string]int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A soak with random faults\n\n`make soak FOR=%s` on %s, seed %d. Three regions of two probes, one behind a leaf server; two coordinators; a cluster of three NATS servers.\n\n",
		*soakFor, time.Now().UTC().Format(time.DateOnly), seed)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| time | %s |\n| faults injected | %d |\n| slots planned | %d |\n", took.Round(time.Second), len(log.lines), sums.planned)
	for _, s := range runs.States() {
		fmt.Fprintf(&b, "| %s | %d |\n", s, sums.states[s])
	}
	for _, r := range slices.Sorted(maps.Keys(sums.reasons)) {
		fmt.Fprintf(&b, "| missing or skipped: %s | %d |\n", r, sums.reasons[r])
	}
	fmt.Fprintf(&b, "| unaccounted | %d |\n| ordered by a probe on its own | %d |\n| missing first, measured after all | %d |\n| results beyond the first of their run | %d |\n",
		sums.absent, sums.autonomous, sums.amended, sums.repeats)
	fmt.Fprintf(&b, "| runs that asked the target twice | %d |\n| not measured for lack of a processor | %d |\n", sums.doubles, sums.busy+sums.unfit)
	slices.Sort(log.takeovers)
	for i, d := range log.takeovers {
		fmt.Fprintf(&b, "| takeover %d | %.1f s |\n", i+1, d.Seconds())
	}
	if len(sums.problems) > 0 {
		fmt.Fprintf(&b, "\n**Promises broken: %d**\n\n", len(sums.problems))
		for _, p := range sums.problems {
			fmt.Fprintf(&b, "- %s\n", p)
		}
	}
	fmt.Fprintf(&b, "\nResident memory in MB, after the first half minute and in the end (of the last life of each process):\n\n| process | begin | end |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(after)) {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", name, before[name]>>20, after[name]>>20)
	}
	fmt.Fprintf(&b, "\nHow often each fault was injected:\n\n| fault | times |\n|---|---|\n")
	for _, kind := range slices.Sorted(maps.Keys(log.kinds)) {
		fmt.Fprintf(&b, "| %s | %d |\n", kind, log.kinds[kind])
	}
	slices.Sort(log.lines)
	fmt.Fprintf(&b, "\nWhen (UTC), for how long, what:\n\n| at | for | fault |\n|---|---|---|\n%s\n", strings.Join(log.lines, "\n"))
	return b.String()
}
