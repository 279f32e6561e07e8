package faults

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// resultsAgain stores every result once more, in a random order and without the mark by which the hub would know it; then the coordinator
// dies and reads all of that back. The books do not change.
func resultsAgain(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"steady", "slow", "wide"}, probes: map[string]int{"us": 2, "eu": 1}, servers: 1})
	f.start(nil)
	time.Sleep(20 * time.Second)
	f.awaitMeasured(f.regions()...)
	before := f.auditUntil(f.past())
	repeated, err := f.repeatResults(1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.awaitMeasured(f.regions()...)
	down := f.fault("kill -9 of the coordinator", "")
	f.coordinators[0].kill()
	f.coordinators[0].start("")
	f.awaitReady(0)
	down()
	after := f.check()
	repeats := 0
	for _, region := range f.regions() {
		for _, of := range f.recordsOf(region) {
			repeats += max(0, len(of.results)-1)
		}
	}
	if repeats < repeated || repeated == 0 {
		t.Errorf("got %d repeated results in the streams, want at least the %d that were stored again", repeats, repeated)
	}
	if after.planned < before.planned {
		t.Errorf("got %d slots planned, want at least the %d from before", after.planned, before.planned)
	}
}

// repeatResults stores the last results of each region once more, at most limit of them, in an order that follows from the seed, and returns how
// many. An error is the hub's.
func (f *fleet) repeatResults(limit int, seed uint64) (int, error) {
	conn, err := nats.Connect(f.hubURLs())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	var all []*nats.Msg
	for _, region := range f.regions() {
		stream, err := js.Stream(f.t.Context(), "RESULTS_"+region)
		if err != nil {
			return 0, err
		}
		state := stream.CachedInfo().State
		for sequence := max(state.FirstSeq, state.LastSeq-min(state.LastSeq, uint64(limit))+1); sequence <= state.LastSeq; sequence++ {
			stored, err := stream.GetMsg(f.t.Context(), sequence)
			if err != nil {
				return 0, err
			}
			msg := nats.NewMsg(stored.Subject)
			msg.Data = stored.Data
			for key, values := range stored.Header {
				if !strings.HasPrefix(key, "Nats-") {
					msg.Header[key] = values
				}
			}
			all = append(all, msg)
		}
	}
	random := rand.New(rand.NewPCG(seed, 1))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, msg := range all {
		if _, err := js.PublishMsg(f.t.Context(), msg); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// startsFirst starts coordinator and probes before there is a hub that can keep streams: first none at all, then two thirds of a cluster come late,
// and the leaf server's link later still. They wait for it.
func startsFirst(t *testing.T) {
	f := newFleet(t, layout{scenarios: []string{"steady"}, probes: map[string]int{"far": 1, "us": 1}, servers: 3, leaf: "far", coordinator: []string{"--replicas", "3"}})
	f.cutLeaf()
	f.leaf.start("")
	all := []*process{f.coordinators[0], f.probes["far-1"], f.probes["us-1"]}
	for _, p := range all {
		p.start("")
	}
	time.Sleep(3 * time.Second)
	f.servers[0].start("")
	time.Sleep(12 * time.Second)
	f.servers[1].start("")
	f.servers[2].start("")
	time.Sleep(8 * time.Second)
	f.healLeaf()
	for _, p := range all {
		if !p.alive() {
			t.Fatalf("%s: got it ended, want it waiting for its hub; log:\n%s", p.name, p.tail())
		}
	}
	f.awaitReady(0)
	f.reader = readStreams(t, f.hubURLs(), f.regions())
	f.awaitMeasured(f.regions()...)
}
