package plans

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/embedded"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// connect starts a hub with the bucket.
func connect(t testing.TB) jetstream.JetStream {
	t.Helper()
	server, err := embedded.Start(slog.New(slog.DiscardHandler), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	nc, err := nats.Connect(server.URL(), nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Ensure(t.Context(), js, 1), Ensure(t.Context(), js, 1)); err != nil {
		t.Fatal(err)
	}
	return js
}

func plan(t testing.TB, region, revision string, term uint64) runs.Plan {
	t.Helper()
	schedule, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := netprofile.Lookup(netprofile.None)
	return runs.Plan{
		Schema: runs.Schema, Region: region, Revision: revision, Term: term, MadeAt: time.Unix(1e9, 0).UTC(), Networks: []netprofile.Profile{none},
		Scenarios: []scenario.Scenario{{
			APIVersion: scenario.APIVersion, Name: "shop", Schedule: schedule, Timeout: scenario.Duration(10 * time.Second), Regions: scenario.Strings{"us", "eu"},
			Steps: []scenario.Step{{Type: scenario.StepHTTP, URL: "http://shop/"}},
		}},
	}
}

func TestAPlanComesBackAsItWas(t *testing.T) {
	js := connect(t)
	if _, err := Get(t.Context(), js, "us"); !errors.Is(err, ErrNone) {
		t.Errorf("got %v before there is a plan, want %v", err, ErrNone)
	}
	us, eu := plan(t, "us", "r1", 3), plan(t, "eu", "r9", 3)
	for _, p := range []runs.Plan{us, eu} {
		if err := Put(t.Context(), js, &p); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Get(t.Context(), js, "us")
	if err != nil || !reflect.DeepEqual(got, us) {
		t.Errorf("got %+v (%v), want %+v", got, err, us)
	}
	c := scenario.Combination{Scenario: "shop", Region: "us", Network: netprofile.None}
	at := time.Unix(1.7e9, 0)
	if a, b := got.Scenarios[0].Timetable().Next(c, at), us.Scenarios[0].Timetable().Next(c, at); !a.Equal(b) || got.Scenarios[0].Revision() != us.Scenarios[0].Revision() {
		t.Errorf("got a slot at %s, want %s: the plan says when", a, b)
	}
}

func TestWhoseStands(t *testing.T) {
	js := connect(t)
	stands := func(what, revision string, term uint64, writes uint64) {
		t.Helper()
		kv, err := js.KeyValue(t.Context(), Bucket)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := kv.Get(t.Context(), "us")
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(entry.Value())
		if err != nil || got.Revision != revision || got.Term != term || entry.Revision() != writes {
			t.Errorf("%s: got %s of term %d after %d writes (%v), want %s of term %d after %d", what, got.Revision, got.Term, entry.Revision(), err, revision, term, writes)
		}
	}
	put := func(revision string, term uint64) error {
		p := plan(t, "us", revision, term)
		return Put(t.Context(), js, &p)
	}
	if err := put("r1", 3); err != nil {
		t.Fatal(err)
	}
	if err := put("r1", 4); err != nil {
		t.Fatal(err)
	}
	stands("the same revision", "r1", 3, 1)
	if err := put("r2", 4); err != nil {
		t.Fatal(err)
	}
	stands("another one", "r2", 4, 2)
	if err := put("r1", 3); !errors.Is(err, ErrSuperseded) {
		t.Errorf("got %v for a plan of an earlier term, want %v", err, ErrSuperseded)
	}
	stands("an earlier term", "r2", 4, 2)
	kv, _ := js.KeyValue(t.Context(), Bucket)
	if _, err := kv.Put(t.Context(), "us", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := Get(t.Context(), js, "us"); err == nil {
		t.Error("got a plan out of garbage")
	} else if _, ok := errors.AsType[*DecodeError](err); !ok {
		t.Errorf("got %v, want a DecodeError", err)
	}
	if err := put("r3", 1); err != nil {
		t.Fatal(err)
	}
	stands("after garbage", "r3", 1, 4)
}

// Two coordinators that write at the same time both get through, and one of them stands.
func TestTwoAtOnce(t *testing.T) {
	js := connect(t)
	var writing sync.WaitGroup
	for _, revision := range []string{"a", "b", "c"} {
		p := plan(t, "us", revision, 2)
		writing.Go(func() {
			if err := Put(t.Context(), js, &p); err != nil {
				t.Errorf("%s: %v", revision, err)
			}
		})
	}
	writing.Wait()
	if got, err := Get(t.Context(), js, "us"); err != nil || !slices.Contains([]string{"a", "b", "c"}, got.Revision) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatIsTooLarge(t *testing.T) {
	js := connect(t)
	p := plan(t, "us", "r1", 1)
	p.Scenarios[0].Description = strings.Repeat("x", MaxSize)
	if err := Put(t.Context(), js, &p); err == nil || !strings.Contains(err.Error(), "want at most 33554432") {
		t.Errorf("got %v, want it refused for its size", err)
	}
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write(bytes.Repeat([]byte(" "), MaxSize+1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(bomb.Bytes()); err == nil || !strings.Contains(err.Error(), "more than 33554432 bytes") {
		t.Errorf("got %v for what is larger than it looks, want it refused", err)
	}
}

func FuzzDecode(f *testing.F) {
	p := plan(f, "us", "r1", 1)
	body, err := Encode(&p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := Decode(body)
		if err != nil {
			return
		}
		again, err := Encode(&p)
		if err != nil {
			t.Fatalf("got a plan that cannot be written: %v", err)
		}
		if q, err := Decode(again); err != nil || q.Revision != p.Revision || len(q.Scenarios) != len(p.Scenarios) {
			t.Errorf("got %+v (%v), want %+v", q, err, p)
		}
	})
}
