package peers

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"lastmile/internal/bus/embedded"
	"lastmile/internal/runs"
)

func beat(region, probe string) runs.PeerBeat {
	return runs.PeerBeat{
		Schema: runs.Schema, Region: region, Probe: probe, SentAt: time.Unix(1e9, 0).UTC(), Autonomous: true, Plan: "r1", Pools: []string{"http"},
		Recent: []runs.ID{runs.ID("shop." + region + ".none.1700000000")},
	}
}

// Beats reach those of the region, and nobody else; who speaks for another is not heard.
func TestBeatsStayInTheirRegion(t *testing.T) {
	server, err := embedded.Start(slog.New(slog.DiscardHandler), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop(context.Background()) }()
	nc, err := nats.Connect(server.URL(), nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(t.Context())
	heard, rejected := make(chan runs.PeerBeat, 10), make(chan string, 10)
	var listening sync.WaitGroup
	listening.Go(func() {
		err := Listen(ctx, nc, "us", func(b runs.PeerBeat) { heard <- b }, func(subject string, err error) { rejected <- subject + ": " + err.Error() })
		if err != nil {
			t.Error(err)
		}
	})
	defer listening.Wait()
	defer cancel()
	for deadline := time.Now().Add(20 * time.Second); nc.NumSubscriptions() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody listens")
		}
		time.Sleep(time.Millisecond)
	}
	other, ours := beat("eu", "a"), beat("us", "b")
	body, err := json.Marshal(&ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(nc, &other); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("peer.us.forged", body); err != nil {
		t.Fatal(err)
	}
	if err := Send(nc, &ours); err != nil {
		t.Fatal(err)
	}
	if got := soon(t, heard); got.Region != "us" || got.Probe != "b" || !got.Autonomous || got.Plan != "r1" || len(got.Recent) != 1 || !got.SentAt.Equal(ours.SentAt) {
		t.Errorf("got %+v, want the beat of b", got)
	}
	if got := soon(t, rejected); !strings.Contains(got, "peer.us.forged: got subject") {
		t.Errorf("got %q, want what speaks for another refused", got)
	}
	if len(heard)+len(rejected) > 0 {
		t.Error("got more than was sent to the region")
	}
}

// soon is what comes out of a channel.
func soon[T any](t *testing.T, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came within 20 s")
	}
	return got
}

func TestUnusableBeats(t *testing.T) {
	for want, change := range map[string]func(*runs.PeerBeat){
		"schema 9":     func(b *runs.PeerBeat) { b.Schema = 9 },
		"region":       func(b *runs.PeerBeat) { b.Region = "a.b" },
		"probe":        func(b *runs.PeerBeat) { b.Probe = "*" },
		"pool":         func(b *runs.PeerBeat) { b.Pools = []string{"go.ld"} },
		"17 pools":     func(b *runs.PeerBeat) { b.Pools = make([]string, maxPools+1) },
		"4097 runs":    func(b *runs.PeerBeat) { b.Recent = make([]runs.ID, MaxRecent+1) },
		"parse run id": func(b *runs.PeerBeat) { b.Recent = []runs.ID{"x"} },
		"region us":    func(b *runs.PeerBeat) { b.Recent = []runs.ID{"shop.eu.none.1700000000"} },
	} {
		b := beat("us", "a")
		change(&b)
		body, err := json.Marshal(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(subject(&b), body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it refused for %q", err, want)
		}
		if err := check(&b); err == nil {
			t.Errorf("%s: got it sent, want it refused there too", want)
		}
	}
	b := beat("us", "a") // of a probe of the next version
	b.Pools = append(b.Pools, "gold")
	if err := check(&b); err != nil {
		t.Errorf("got %v, want a pool that is not known taken", err)
	}
	if _, err := Decode("peer.us.a", make([]byte, maxSize+1)); err == nil {
		t.Error("got a beat of more than a megabyte taken")
	}
}

func FuzzDecode(f *testing.F) {
	b := beat("us", "a")
	body, err := json.Marshal(&b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("peer.us.a", body)
	f.Add("peer.us.a", []byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, from string, body []byte) {
		b, err := Decode(from, body)
		if err == nil && (check(&b) != nil || subject(&b) != from) {
			t.Errorf("got %+v on %q, want it refused", b, from)
		}
	})
}
