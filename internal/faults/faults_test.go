package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/faultpoint"
	"lastmile/internal/runs"
)

// long asks for the long form.
var long = flag.Bool("faults", false, "run the long form of the fault suite: make faults")

// TestFaults is the long form: each fault has a fleet of its own.
func TestFaults(t *testing.T) {
	if !*long {
		t.Skip("the long form takes a quarter of an hour: make faults")
	}
	binaries(t)
	for _, one := range []struct {
		name string
		test func(*testing.T)
	}{
		{"probe dies at each step, alone", diesAlone},
		{"probe dies at each step, with a sibling", diesBesideSibling},
		{"coordinator dies at each step", coordinatorDies},
		{"coordinator is gone for 3 s, then for 45 s", coordinatorGone},
		{"coordinator with its embedded server dies", embeddedDies},
		{"probe is stopped for 20 s, coordinator too", stopped},
		{"server dies", serverDies},
		{"node of a cluster dies, each in turn", nodeDies},
		{"leader dies, leader is stopped", leaderDies},
		{"leaf link is cut for 60 s", leafCut},
		{"links are cut in one direction, slowed and reset", linksWorn},
		{"hub's disk is full", hubDiskFull},
		{"probe's disk is full", probeDiskFull},
		{"programs start before their hub", startsFirst},
		{"results come again, in another order", resultsAgain},
		{"probe's clock jumps", clockJumps},
		{"probe dies in a page", diesInPage},
		{"probe dies where it is on its own", diesAutonomous},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.test(t)
		})
	}
}

// probeSteps are the fault points that every run of a probe passes.
func probeSteps() []string {
	return []string{
		faultpoint.JobTaken, faultpoint.RunClaimed, faultpoint.RunEnded, faultpoint.ResultStored, faultpoint.JobDone, faultpoint.ResultSent,
		faultpoint.ResultGone, faultpoint.FileWritten, faultpoint.FileSynced, faultpoint.FileRenamed, faultpoint.FolderSynced,
	}
}

// coordinatorSteps are those of a coordinator that leads.
func coordinatorSteps() []string {
	return []string{
		faultpoint.SlotEntered, faultpoint.SlotOrdered, faultpoint.CursorMoved, faultpoint.VerdictDone, faultpoint.SnapshotTemp, faultpoint.SnapshotDone,
	}
}

// TestEveryPlaceHasItsFault holds the suite to the list of places.
func TestEveryPlaceHasItsFault(t *testing.T) {
	killed := append(append(probeSteps(), coordinatorSteps()...), faultpoint.SelfOrdered, faultpoint.PlanStored)
	for _, name := range faultpoint.Names() {
		if !slices.Contains(killed, name) {
			t.Errorf("got nothing that dies at %s, want the long form to kill a process there", name)
		}
	}
}

// stepRegion is the region in which the fault of a step is.
func stepRegion(step string) string { return strings.ReplaceAll(step, ".", "") }

// diesAlone has one region for each step: its only probe dies there, and is started again.
func diesAlone(t *testing.T) {
	l := layout{scenarios: []string{"steady", "slow"}, probes: map[string]int{}, servers: 1}
	points := map[string]string{}
	for _, step := range probeSteps() {
		l.probes[stepRegion(step)] = 1
		points[stepRegion(step)+"-1"] = step + ":2"
	}
	f := newFleet(t, l)
	f.start(points)
	f.dieAtSteps()
	f.awaitMeasured(f.regions()...)
	f.check()
}

// dieAtSteps waits until the probe of each region has died where it was told to, and starts it again.
func (f *fleet) dieAtSteps() {
	f.t.Helper()
	for _, step := range probeSteps() {
		region := stepRegion(step)
		defer f.death("kill -9 of "+region+"-1 at "+step, region, runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)()
	}
	for _, step := range probeSteps() {
		p := f.probes[stepRegion(step)+"-1"]
		if !p.awaitEnd() {
			f.t.Errorf("%s: got an end of its own, want it killed at %s; log:\n%s", p.name, step, p.tail())
		}
	}
	for _, step := range probeSteps() {
		f.probes[stepRegion(step)+"-1"].start("")
	}
}

// diesBesideSibling has two probes in each region, and scenarios whose window is longer than the bus waits for a probe that took a run:
// what the one was doing when it died the other does. The other is started when the first has died, since which of two probes gets a run is not
// told.
func diesBesideSibling(t *testing.T) {
	l := layout{scenarios: []string{"patient", "patient-too"}, probes: map[string]int{}, servers: 1}
	points := map[string]string{}
	var siblings []string
	for _, step := range probeSteps() {
		l.probes[stepRegion(step)] = 2
		points[stepRegion(step)+"-1"] = step
		siblings = append(siblings, stepRegion(step)+"-2")
	}
	f := newFleet(t, l)
	f.start(points, siblings...)
	var ends []func()
	for _, step := range probeSteps() {
		region := stepRegion(step)
		ends = append(ends, f.death("kill -9 of "+region+"-1 at "+step, region, runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe))
	}
	eventually(t, "the death of every first probe", func() bool {
		all := true
		for _, step := range probeSteps() {
			first, sibling := f.probes[stepRegion(step)+"-1"], f.probes[stepRegion(step)+"-2"]
			switch {
			case first.alive():
				all = false
			case !sibling.alive():
				sibling.start("")
			}
		}
		return all
	})
	time.Sleep(15 * time.Second)
	for i, step := range probeSteps() {
		f.probes[stepRegion(step)+"-1"].start("")
		ends[i]()
	}
	f.awaitMeasured(f.regions()...)
	f.check()
	for _, step := range []string{faultpoint.JobTaken, faultpoint.RunClaimed, faultpoint.RunEnded} { // after these, the job was still to be had
		for id, of := range f.recordsOf(stepRegion(step)) {
			if state, reason, _ := of.fold(); !state.Measured() && len(f.target.times(id)) > 0 {
				t.Errorf("%s: got it %s %s, want it done by the sibling of the probe that died at %s; %+v", id, state, reason, step, of.results)
			}
		}
	}
}

// recordsOf copies what the streams say of a region, from the time when the fleet was ready on.
func (f *fleet) recordsOf(region string) map[runs.ID]record {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	out := map[runs.ID]record{}
	for id, of := range f.reader.records {
		if c, _, err := id.Parse(); err == nil && (region == "" || c.Region == region) {
			out[id] = *of
		}
	}
	return out
}

// coordinatorDies kills the coordinator at each of its steps, one after the other, and starts it again at once.
func coordinatorDies(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"steady", "slow", "wide"}, probes: map[string]int{"us": 1, "eu": 1}, servers: 1})
	steps := coordinatorSteps()
	f.start(map[string]string{"coordinator-1": steps[0] + ":3"})
	for i, step := range steps {
		if !f.coordinators[0].awaitEnd() {
			t.Fatalf("got an end of its own, want it killed at %s; log:\n%s", step, f.coordinators[0].tail())
		}
		down := f.fault("kill -9 of the coordinator at "+step, "", runs.ReasonCoordinatorDown)
		next := ""
		if i+1 < len(steps) {
			next = steps[i+1] + ":3"
		}
		if i+1 >= slices.Index(steps, faultpoint.VerdictDone) { // once a minute
			next = strings.TrimSuffix(next, ":3")
		}
		f.coordinators[0].start(next)
		eventually(t, "a coordinator that leads, or has died again", func() bool { return f.leading() == 1 || !f.coordinators[0].alive() })
		down()
	}
	f.awaitMeasured(f.regions()...)
	f.check()
}

// coordinatorGone kills it for less than a window, then for longer than probes wait for it before they go on by themselves.
func coordinatorGone(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	for _, absence := range []time.Duration{3 * time.Second, 45 * time.Second} {
		f.awaitMeasured(f.regions()...)
		down := f.absence(fmt.Sprintf("coordinator gone for %s", absence), "", runs.ReasonCoordinatorDown)
		f.coordinators[0].kill()
		time.Sleep(absence)
		f.coordinators[0].start("")
		f.awaitReady(0)
		down()
	}
	f.awaitMeasured(f.regions()...)
	sums := f.check()
	if sums.autonomous == 0 {
		t.Errorf("got no slot that a probe ordered itself in 45 s without a coordinator, want some: %s", sums)
	}
}

// handover is how long after the return of a coordinator a probe may still order its own runs: until its next heartbeat is answered.
const handover = 6 * time.Second

// absence notes that probes may come to be without a coordinator: where it returns, a run may be ordered by it and by a probe of its own accord.
func (f *fleet) absence(what, region string, reasons ...runs.Reason) (end func()) {
	began := time.Now()
	over, twice := f.fault(what, region, reasons...), f.fault(what+", handover", region)
	f.mu.Lock()
	f.outages[len(f.outages)-1].twice = true
	f.mu.Unlock()
	return func() {
		over()
		if time.Since(began) > 20*time.Second {
			time.Sleep(handover)
		}
		twice()
	}
}

// embeddedDies kills the coordinator and its embedded server as one, twice.
func embeddedDies(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}})
	f.start(nil)
	for _, absence := range []time.Duration{0, 10 * time.Second} {
		f.awaitMeasured(f.regions()...)
		down := f.absence(fmt.Sprintf("coordinator and server gone for %s", absence), "", runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonCutOff)
		f.coordinators[0].kill()
		time.Sleep(absence)
		f.coordinators[0].start("")
		f.awaitReady(0)
		f.awaitMeasured(f.regions()...)
		down()
	}
	f.check()
}

// stopped has processes stand still: their clocks run on, their connections stay.
func stopped(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	for _, name := range []string{"us-1", "eu-1"} {
		region, _, _ := strings.Cut(name, "-")
		defer f.death("probe "+name+" stopped", region, runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)()
		f.probes[name].signal(syscall.SIGSTOP)
	}
	time.Sleep(20 * time.Second)
	for _, name := range []string{"us-1", "eu-1"} {
		f.probes[name].signal(syscall.SIGCONT)
	}
	f.awaitMeasured(f.regions()...)
	down := f.fault("coordinator stopped", "", runs.ReasonCoordinatorDown)
	f.coordinators[0].signal(syscall.SIGSTOP)
	time.Sleep(20 * time.Second)
	f.coordinators[0].signal(syscall.SIGCONT)
	f.awaitMeasured(f.regions()...)
	down()
	f.check()
}

// serverDies kills the only server of the hub, for a moment and for a while.
func serverDies(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	for _, absence := range []time.Duration{0, 20 * time.Second} {
		f.awaitMeasured(f.regions()...)
		down := f.absence(fmt.Sprintf("server gone for %s", absence), "", runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonCutOff)
		f.servers[0].kill()
		time.Sleep(absence)
		f.servers[0].start("")
		f.awaitMeasured(f.regions()...)
		down()
	}
	f.check()
}

// nodeDies kills each node of a cluster of three: the leaders of the streams are among them.
func nodeDies(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 3, coordinator: []string{"--replicas", "3"}})
	f.start(nil)
	for i, node := range f.servers {
		f.awaitMeasured(f.regions()...)
		down := f.fault(fmt.Sprintf("node %d gone", i+1), "", runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonCutOff)
		node.kill()
		f.awaitMeasured(f.regions()...) // by the other two
		node.start("")
		time.Sleep(10 * time.Second) // it catches up before the next one goes: two of three must be there
		down()
	}
	f.awaitMeasured(f.regions()...)
	f.check()
}

// takeover is how soon another coordinator must lead.
const takeover = 10 * time.Second

// leaderDies has two coordinators: the one that leads is killed, then the other is stopped and wakes up when it no longer leads.
func leaderDies(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1, coordinators: 2})
	f.start(nil)
	f.awaitReady(1)
	f.awaitMeasured(f.regions()...)
	first := f.leader(-1)
	down := f.fault("kill -9 of the leader", "", runs.ReasonCoordinatorDown)
	f.coordinators[first].kill()
	began := time.Now()
	second := f.leader(first)
	t.Logf("takeover after kill -9: %s", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > takeover+5*time.Second { // 5 s are this machine's
		t.Errorf("got another leader after %s, want it within %s", took, takeover)
	}
	f.awaitMeasured(f.regions()...)
	down()
	f.coordinators[first].start("")
	f.awaitReady(first)

	down = f.fault("leader stopped", "", runs.ReasonCoordinatorDown)
	f.coordinators[second].signal(syscall.SIGSTOP)
	began = time.Now()
	f.leader(second)
	t.Logf("takeover after SIGSTOP: %s", time.Since(began).Round(time.Millisecond))
	time.Sleep(20 * time.Second)
	f.coordinators[second].signal(syscall.SIGCONT)
	f.awaitMeasured(f.regions()...)
	down()
	eventually(t, "one leader only", func() bool { return f.leading() == 1 })
	f.check()

	third := f.leader(second) // the one that was asleep has kept its books all the same
	down = f.fault("kill -9 of the leader", "", runs.ReasonCoordinatorDown)
	f.coordinators[third].kill()
	f.leader(third)
	f.awaitMeasured(f.regions()...)
	down()
	f.check()
}

// leading counts the coordinators that say that they lead.
func (f *fleet) leading() (n int) {
	for i, c := range f.coordinators {
		if s, err := scrape(f.metrics[i]); c.alive() && err == nil && s.sum("lastmile_coordinator_leader") == 1 {
			n++
		}
	}
	return n
}

// leader waits for a coordinator that leads, other than one.
func (f *fleet) leader(other int) (i int) {
	f.t.Helper()
	eventually(f.t, "a leader", func() bool {
		for i = range f.coordinators {
			if i == other || !f.coordinators[i].alive() {
				continue
			}
			if s, err := scrape(f.metrics[i]); err == nil && s.sum("lastmile_coordinator_leader") == 1 {
				return true
			}
		}
		return false
	})
	return i
}

// leafCut cuts a region with a leaf server of its own off the hub: its probes see each other, and go on.
func leafCut(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"far": 2, "us": 1}, servers: 1, leaf: "far"})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	cut := f.absence("leaf link cut", "far", runs.ReasonCutOff, runs.ReasonExpired, runs.ReasonNoProbe, runs.ReasonLost)
	f.cutLeaf()
	time.Sleep(60 * time.Second)
	f.healLeaf()
	f.awaitMeasured(f.regions()...)
	cut()
	sums := f.check()
	if sums.autonomous == 0 {
		t.Errorf("got no slot that a probe ordered itself in 60 s without the hub, want some: %s", sums)
	}
}

// linksWorn cuts links in one direction only, slows them, and has them forget their connections.
func linksWorn(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	for _, name := range []string{"us-1", "eu-1", "coordinator-1"} {
		region, _, _ := strings.Cut(name, "-")
		reasons := []runs.Reason{runs.ReasonCutOff, runs.ReasonExpired, runs.ReasonNoProbe, runs.ReasonLost}
		if name == "coordinator-1" {
			region, reasons = "", []runs.Reason{runs.ReasonCoordinatorDown, runs.ReasonExpired}
		}
		for _, direction := range []int{up, down} {
			worn := f.death(fmt.Sprintf("link of %s cut in direction %d", name, direction), region, reasons...)
			f.links[name].cut(direction)
			time.Sleep(12 * time.Second)
			f.links[name].heal()
			f.awaitMeasured(f.regions()...)
			worn()
		}
		worn := f.fault("link of "+name+" slow, then reset", region, reasons...)
		f.links[name].slow(150 * time.Millisecond)
		time.Sleep(8 * time.Second)
		f.links[name].reset()
		f.links[name].heal()
		f.awaitMeasured(f.regions()...)
		worn()
	}
	f.check()
}

// smallDisk mounts a disk of some megabytes, and returns its folder.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Fatalf("mount a small disk: %v: root is required, or a user namespace: make faults makes one", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all that is left of a disk; the function that it returns gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	for size := 1 << 16; size > 0; {
		if _, err := out.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// hubDiskFull fills the disk of the only server. The server gives up JetStream then, until a person makes room and starts it again.
func hubDiskFull(t *testing.T) {
	disk := smallDisk(t, 48)
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1, serverData: disk})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	full := f.fault("hub's disk full", "", runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonCutOff, runs.ReasonLost)
	empty := fill(t, disk)
	time.Sleep(20 * time.Second)
	empty()
	f.servers[0].kill()
	f.servers[0].start("")
	f.awaitMeasured(f.regions()...)
	full()
	f.check()
}

// probeDiskFull fills the disk of a probe.
func probeDiskFull(t *testing.T) {
	disk := smallDisk(t, 64)
	f := newFleet(t, layout{
		scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 1, "eu": 1}, servers: 1,
		probeData: map[string]string{"us-1": disk},
	})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	full := f.fault("probe's disk full", "us", runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)
	f.outages[len(f.outages)-1].invalid = true
	empty := fill(t, disk)
	time.Sleep(20 * time.Second)
	empty()
	f.awaitMeasured(f.regions()...)
	full()
	f.check()
}

// clockJumps sets a probe's clock ahead, and another's back, by more than a window, and leaves one so for good.
func clockJumps(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"patient", "steady", "slow"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	f.awaitMeasured(f.regions()...)
	f.setClock("us-1", 90*time.Second)
	f.setClock("eu-1", -90*time.Second)
	time.Sleep(20 * time.Second)
	f.setClock("us-1", 0)
	time.Sleep(60 * time.Second) // eu-1 comes to believe its clock
	f.awaitMeasured(f.regions()...)
	f.check()
}

// diesAutonomous kills a probe without a coordinator where it has decided to run a slot, and where it has stored its plan.
func diesAutonomous(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"steady", "slow"}, probes: map[string]int{"us": 1, "eu": 2}, servers: 1})
	f.start(map[string]string{"us-1": faultpoint.SelfOrdered, "eu-1": faultpoint.SelfOrdered + ":2", "eu-2": faultpoint.PlanStored})
	died := f.death("kill -9 of eu-2 at "+faultpoint.PlanStored, "eu", runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)
	f.probes["eu-2"].awaitEnd()
	f.probes["eu-2"].start("")
	f.awaitMeasured(f.regions()...)
	died()
	down := f.death("coordinator gone", "", runs.ReasonCoordinatorDown, runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)
	f.coordinators[0].kill()
	for _, name := range []string{"us-1", "eu-1"} {
		if p := f.probes[name]; !p.awaitEnd() {
			t.Errorf("%s: got an end of its own, want it killed at %s; log:\n%s", name, faultpoint.SelfOrdered, p.tail())
		}
		f.probes[name].start("")
	}
	time.Sleep(15 * time.Second) // what it was when it died it is again
	f.coordinators[0].start("")
	f.awaitReady(0)
	time.Sleep(handover)
	down()
	f.awaitMeasured(f.regions()...)
	if sums := f.check(); sums.autonomous == 0 {
		t.Errorf("got no slot that a probe ordered itself, want some: %s", sums)
	}
}

// diesInPage kills a probe while Chromium asks for a page: no process of it remains.
func diesInPage(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"page", "steady"}, probes: map[string]int{"us": 1}, servers: 1})
	asked := make(chan runs.ID, 1)
	f.target.tell(func(id runs.ID) {
		if strings.HasPrefix(string(id), "page.") {
			select {
			case asked <- id:
			default:
			}
		}
	})
	f.start(nil)
	var id runs.ID
	select {
	case id = <-asked:
	case <-time.After(patience):
		t.Fatalf("got no page asked for within %s; log:\n%s", patience, f.probes["us-1"].tail())
	}
	died := f.death("kill -9 of us-1 in the middle of a page", "us", runs.ReasonExpired, runs.ReasonLost, runs.ReasonNoProbe)
	f.probes["us-1"].kill()
	f.probes["us-1"].start("")
	f.awaitMeasured("us")
	died()
	f.check()
	if state, _, by := f.recordOf(id).fold(); state != runs.StateInvalid || by.class != runs.ClassProbe {
		t.Errorf("%s: got it %s %+v, want it invalid since its probe died", id, state, by)
	}
}

func (f *fleet) recordOf(id runs.ID) *record {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	of := *f.reader.record(id)
	return &of
}
