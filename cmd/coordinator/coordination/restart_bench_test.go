package coordination

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus"
	"lastmile/internal/ledger"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
	"lastmile/internal/snapshot"
)

// What BenchmarkRestart restarts on.
const (
	restartResults = "LASTMILE_BENCH_RESULTS" // results that are stored; default 100,000
	restartFolder  = "LASTMILE_BENCH_FILL"    // for the process that stores them: where
	restartBytes   = 2 << 30                  // of each region: the server reserves them
)

// BenchmarkRestart is what a coordinator does before it is ready, part by part: the start of its server on streams with many results, after
// a kill and after a clean stop; the load of the last snapshot; and reading the last thousandth of the streams, which is what has come since. A
// process of its own stores the results, and is killed. replay/s is the pace at which a coordinator without a snapshot reads them.
func BenchmarkRestart(b *testing.B) {
	stored := setting(b, restartResults, 100_000)
	set := fleetSet(b, 278)
	dir := b.TempDir()
	began := time.Now()
	fillAndDie(b, dir, stored)
	filling, disk := time.Since(began), size(b, dir)
	books := fold(set, stored)
	for b.Loop() {
		server, hub := restart(b, dir, "start-killed-s")
		positions := ends(b, server)
		some := min(stored, 200_000)
		began := time.Now()
		replay(b, hub, nil, ledger.New(), some)
		b.ReportMetric(float64(some)/time.Since(began).Seconds(), "replay/s")
		path := filepath.Join(b.TempDir(), "snapshot")
		timed(b, "save-s", func() {
			if err := snapshot.Write(path, snapshot.Header{Program: "benchmark", TakenAt: time.Now(), Positions: positions}, books.Save); err != nil {
				b.Fatal(err)
			}
		})
		b.ReportMetric(float64(size(b, path))/1e6, "snapshot-MB")
		halt(b, server, hub)
		began = time.Now()
		server, hub = restart(b, dir, "start-clean-s")
		restored, from := ledger.New(), map[string]runs.Position{}
		timed(b, "load-s", func() {
			err := snapshot.Read(path, func(h snapshot.Header, r io.Reader) error {
				for _, p := range h.Positions {
					p.Sequence -= p.Sequence / 1000
					from[p.Stream] = p
				}
				return restored.Load(r)
			})
			if err != nil {
				b.Fatal(err)
			}
			restored.Define(set.Scenarios)
		})
		timed(b, "tail-s", func() { replay(b, hub, from, restored, 0) })
		b.ReportMetric(time.Since(began).Seconds(), "ready-s")
		halt(b, server, hub)
	}
	b.ReportMetric(filling.Seconds(), "fill-s")
	b.ReportMetric(float64(disk)/float64(stored), "disk-B/result")
	b.ReportMetric(float64(stored), "results")
}

// fold is what the books of so many results are.
func fold(set scenariofile.Set, results int) *ledger.Ledger {
	books := ledger.New()
	books.Define(set.Scenarios)
	for slot := firstSlot(); ; slot = slot.Add(time.Minute) {
		for i := range set.Scenarios {
			for _, c := range set.Scenarios[i].Combinations() {
				if results--; results < 0 {
					return books
				}
				books.Result(&runs.Result{
					RunID: runs.NewID(c, slot), Scenario: c.Scenario, Region: c.Region, Network: c.Network, Slot: slot, Trigger: runs.TriggerSchedule,
					State: runs.StatePassed, DurationMS: float64(rand.IntN(1000)),
				}, true)
			}
		}
	}
}

// firstSlot is that of the oldest result: with 10 million of them there are a thousand of each combination.
func firstSlot() time.Time { return time.Now().Add(-20 * time.Hour).Truncate(time.Minute) }

// ends are the positions at the end of the streams.
func ends(b *testing.B, server *bus.Server) (positions []runs.Position) {
	b.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for _, stream := range bus.Streams(fleetRegions()) {
		s, err := js.Stream(b.Context(), stream)
		if err != nil {
			b.Fatal(err)
		}
		info := s.CachedInfo()
		positions = append(positions, runs.Position{Stream: stream, Created: info.Created, Sequence: info.State.LastSeq})
	}
	return positions
}

// timed reports how long something takes.
func timed(b *testing.B, unit string, what func()) {
	b.Helper()
	began := time.Now()
	what()
	b.ReportMetric(time.Since(began).Seconds(), unit)
}

// restart starts the server on what is in the folder, and connects.
func restart(b *testing.B, dir, unit string) (server *bus.Server, hub *bus.Bus) {
	b.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	timed(b, unit, func() {
		var err error
		if server, err = bus.StartServer(log, bus.ServerOptions{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		if hub, err = bus.Connect(b.Context(), log, bus.Options{Server: server, ResultsBytes: restartBytes}); err != nil {
			b.Fatal(err)
		}
		if err := hub.EnsureStreams(b.Context(), fleetRegions()); err != nil {
			b.Fatal(err)
		}
	})
	return server, hub
}

func halt(b *testing.B, server *bus.Server, hub *bus.Bus) {
	b.Helper()
	if err := hub.Close(); err != nil {
		b.Error(err)
	}
	if err := server.Stop(context.WithoutCancel(b.Context())); err != nil {
		b.Error(err)
	}
}

// replay follows the streams into the books until they are up to date, or, where it is not 0, until so many results have come.
func replay(b *testing.B, hub *bus.Bus, from map[string]runs.Position, books *ledger.Ledger, enough int) {
	b.Helper()
	n := 0
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	err := hub.Follow(ctx, fleetRegions(), from, bus.Handler{
		Result: func(r runs.Result, _ bus.Meta) {
			books.Result(&r, true)
			if n++; n == enough {
				cancel()
			}
		},
		Verdict:  func(v runs.Verdict, _ bus.Meta) { books.Verdict(&v) },
		CaughtUp: cancel,
	})
	if err != nil {
		b.Fatal(err)
	}
	if n < enough {
		b.Fatalf("got %d results, want %d", n, enough)
	}
}

// size is how much is in a folder.
func size(t testing.TB, dir string) (sum int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// fillAndDie has another process fill a folder, and kills it.
func fillAndDie(t testing.TB, dir string, results int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFillStreams$", "-test.timeout", "0")
	command.Env = append(os.Environ(), restartFolder+"="+dir, restartResults+"="+strconv.Itoa(results))
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len(filled))
	_, err = io.ReadFull(out, said)
	if killErr := command.Process.Kill(); killErr != nil {
		t.Error(killErr)
	}
	rest, _ := io.ReadAll(out)
	_ = command.Wait() // it was killed
	if err != nil || string(said) != filled {
		t.Fatalf("fill: got %q%q and %v, want %q", said, rest, err, filled)
	}
}

const filled = "filled\n"

// TestFillStreams is no test: it is the other process of BenchmarkRestart. Without that there is nothing to do.
func TestFillStreams(t *testing.T) {
	dir := os.Getenv(restartFolder)
	if dir == "" {
		return
	}
	left := setting(t, restartResults, 0)
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartServer(log, bus.ServerOptions{Dir: dir, SyncInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, ResultsBytes: restartBytes})
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.EnsureStreams(t.Context(), fleetRegions()); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	moulds := resultMoulds(t)
	for slot := firstSlot(); left > 0; slot = slot.Add(time.Minute) {
		for i := range moulds {
			if left--; left < 0 {
				break
			}
			if _, err := js.PublishMsgAsync(moulds[i].cast(slot)); err != nil {
				t.Fatal(err)
			}
			if left%2000 == 0 { // so that the client never has more under way than it allows
				<-js.PublishAsyncComplete()
			}
		}
	}
	<-js.PublishAsyncComplete()
	for _, region := range fleetRegions() { // as if they were older: the server looks for repeats among those of the last 10 minutes when it starts
		stream, err := js.Stream(t.Context(), "RESULTS_"+region)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.Duplicates = time.Second
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Print(filled)
	select {} // until killed
}

// mould makes the messages of one combination without encoding each.
type mould struct {
	combination scenario.Combination
	body        []byte
}

// mouldSlot is the slot in a mould's body.
var mouldSlot = time.Unix(1_700_000_040, 0).UTC()

func resultMoulds(t testing.TB) (out []mould) {
	t.Helper()
	for _, s := range fleetSet(t, 278).Scenarios {
		for _, c := range s.Combinations() {
			a := runs.NewAssignment(s, c.Region, netprofile.Profile{Name: c.Network, Version: "v1"}, mouldSlot)
			r := reportOf(&a)
			r.StartedAt = mouldSlot
			r.TraceID = fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
			body, err := json.Marshal(&r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, mould{c, body})
		}
	}
	return out
}

// cast makes the message of a slot.
func (m *mould) cast(slot time.Time) *nats.Msg {
	id := runs.NewID(m.combination, slot)
	body := bytes.ReplaceAll(m.body, []byte(mouldSlot.Format(time.RFC3339)), []byte(slot.UTC().Format(time.RFC3339)))
	body = bytes.Replace(body, []byte(runs.NewID(m.combination, mouldSlot)), []byte(id), 1)
	for at := 0; ; { // no two runs take the same time
		next := bytes.Index(body[at:], []byte("12.345"))
		if next < 0 {
			break
		}
		at += next
		copy(body[at:], strconv.Itoa(10+rand.IntN(90)))
		copy(body[at+3:], strconv.Itoa(100+rand.IntN(900)))
	}
	return &nats.Msg{
		Subject: "res." + m.combination.Region + "." + m.combination.Scenario, Header: nats.Header{"Lastmile-Run": {string(id)}}, Data: body,
	}
}
