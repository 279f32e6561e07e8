package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"lastmile/internal/runs"
)

// startSmall runs a server that gives away so many bytes for streams.
func startSmall(t *testing.T, dir string, most int64) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, JetStreamMaxStore: most,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("server is not ready")
	}
	return s
}

// A disk on which others have stored something since leaves the server less to give away than it has given. What it has given stands.
func TestEnsureStreamsOnADiskThatHasBecomeSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, most := range []int64{4 << 30, 64 << 20} {
		s := startSmall(t, dir, most)
		b := connectTest(t, Options{URL: s.ClientURL()})
		err := b.EnsureStreams(soon(t), []string{"us"})
		if err != nil {
			t.Errorf("a server with %d MiB: got %v, want the streams as they are", most>>20, err)
		}
		if most < 1<<30 {
			err = b.EnsureStreams(soon(t), []string{"us", "eu"})
			if err == nil || !strings.Contains(err.Error(), "room") {
				t.Errorf("a further region: got %v, want an error that says what to do", err)
			}
			t.Log(err)
		}
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// A region may have more places than a few hundred, and all of them are given work.
func TestManyJobsAreUnderWayAtOnce(t *testing.T) {
	t.Parallel()
	b := newBus(t)
	const places = 300
	a := assignment(t, "shop", "us")
	for i := range places {
		mustDispatch(t, b, runs.NewAssignment(a.Scenario, "us", a.Network, a.Slot.Add(time.Duration(i)*time.Second)))
	}
	var taken []*Job
	for i := range places {
		job, err := b.Take(soon(t), "us", a.Scenario.Pool(), patience)
		if err != nil || job.Delivery != 1 {
			t.Fatalf("got %d jobs, then %+v and %v, want %d for the first time", i, job, err, places)
		}
		taken = append(taken, job)
		if i%20 > 0 {
			continue
		}
		for _, job := range taken { // however slow this machine is
			if err := job.InProgress(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
