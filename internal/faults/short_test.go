package faults

import (
	"syscall"
	"testing"
	"time"

	"lastmile/internal/faultpoint"
)

// TestFaultsShort is the short form: one fleet, in which probes die at two steps of a run, with and without a sibling, one is cut off and one
// stopped; then the coordinator is killed, then the server. What is due in the end is decided, and what is decided is right.
func TestFaultsShort(t *testing.T) {
	t.Parallel()
	f := newFleet(t, layout{scenarios: []string{"steady", "slow"}, probes: map[string]int{"alone": 1, "pair": 2, "away": 1}, servers: 1})
	f.start(map[string]string{"alone-1": faultpoint.ResultStored, "pair-1": faultpoint.RunClaimed}, "pair-2")
	f.awaitMeasured("away")

	died := f.death("kill -9 of probe alone-1 at "+faultpoint.ResultStored, "alone", probeReasons()...)
	diedToo := f.death("kill -9 of probe pair-1 at "+faultpoint.RunClaimed, "pair", probeReasons()...)
	cut := f.fault("link of away-1 cut", "away", probeReasons()...)
	f.links["away-1"].cut()
	time.Sleep(2 * time.Second)
	f.links["away-1"].heal()
	cut()
	for _, name := range []string{"alone-1", "pair-1"} {
		if !f.probes[name].awaitEnd() {
			t.Errorf("%s: got an end of its own, want it killed at its fault point; log:\n%s", name, f.probes[name].tail())
		}
		f.probes[name].start("")
	}
	f.probes["pair-2"].start("")
	died()
	diedToo()

	down := f.fault("kill -9 of the coordinator", "", hubReasons()...)
	f.coordinators[0].kill()
	f.probes["pair-2"].signal(syscall.SIGSTOP)
	f.coordinators[0].start("")
	f.awaitReady(0)
	down()
	stopped := f.fault("probe pair-2 stopped", "pair", probeReasons()...)
	f.probes["pair-2"].signal(syscall.SIGCONT)
	stopped()

	down = f.fault("kill -9 of the server", "", hubReasons()...)
	f.servers[0].kill()
	f.servers[0].start("")
	f.awaitMeasured(f.regions()...)
	down()
	f.auditUntil(f.past())
	f.compare(0)
}
