package bus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

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

// A hub that was just large enough for an earlier version takes the next one: what is told of alerts, and the audit trail, are kept as far as there is room,
// and where there is none the coordinator does without. When there is room again they are made whole.
func TestEnsureStreamsWhereThereIsNoRoomForMore(t *testing.T) {
	t.Parallel()
	const results, others = 64 << 20, 256<<20 + 1<<10 // jobs, and for buckets without a bound next to nothing
	for _, tc := range []struct {
		left         int64 // MiB beside what the earlier version took
		notify, room int64 // MiB
	}{{0, 0, 0}, {30, 16, 8}, {100, 64, 32}} {
		dir := t.TempDir()
		for _, left := range []int64{tc.left, 100} {
			s := startSmall(t, dir, results+others+left<<20)
			b := connectTest(t, Options{URL: s.ClientURL(), ResultsBytes: results})
			if err := b.EnsureStreams(soon(t), []string{"us"}); err != nil {
				t.Fatalf("%d MiB left: got %v, want what there is room for", left, err)
			}
			notify, audit := tc.notify, tc.room
			if left == 100 {
				notify, audit = 64, 32
			}
			for name, want := range map[string]int64{"NOTIFY": notify, "AUDIT": audit} {
				stream, err := b.js.Stream(soon(t), name)
				switch {
				case want == 0 && !errors.Is(err, jetstream.ErrStreamNotFound):
					t.Errorf("%d MiB left: got %s, %v, want no stream", left, name, err)
				case want > 0 && err != nil:
					t.Errorf("%d MiB left: %s: %v", left, name, err)
				case want > 0 && stream.CachedInfo().Config.MaxBytes != want<<20:
					t.Errorf("%d MiB left: got %s of %d bytes, want %d MiB", left, name, stream.CachedInfo().Config.MaxBytes, want)
				}
			}
			s.Shutdown()
			s.WaitForShutdown()
		}
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
