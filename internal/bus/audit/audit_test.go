package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/embedded"
	"lastmile/internal/runs"
)

func newTrail(t *testing.T) (*Trail, jetstream.JetStream) {
	t.Helper()
	server, err := embedded.Start(slog.New(slog.DiscardHandler), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	nc, err := nats.Connect("", nats.InProcessServer(server), nats.Token(server.Token))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return New(js, func(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }), js
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func entry(n int) Entry {
	return Entry{
		Schema: runs.Schema, At: time.Date(2026, 11, 22, 12, 0, n, 0, time.UTC), By: "ana@ops", Object: "maintenance", Action: "add", ID: fmt.Sprintf("m-%d", n),
		Detail: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

func TestTrailIsReadInOrder(t *testing.T) {
	trail, js := newTrail(t)
	ctx := soon(t)
	if err := Ensure(ctx, js, 1); err != nil {
		t.Fatal(err)
	}
	if got, unusable, err := trail.Read(ctx, time.Unix(1, 0), 10); err != nil || len(got) != 0 || unusable != 0 {
		t.Fatalf("nothing there: got %+v, %d, %v", got, unusable, err)
	}
	began := time.Now()
	for n := range 7 {
		if err := trail.Append(ctx, entry(n)); err != nil {
			t.Fatal(err)
		}
	}
	for subject, body := range map[string]string{"audit.maintenance": "{", "audit.other": string(must(json.Marshal(entry(1))))} {
		if _, err := js.Publish(ctx, subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{2, 7, 100} {
		got, unusable, err := trail.Read(ctx, began.Add(-time.Hour), limit)
		if err != nil || len(got) != min(limit, 7) || unusable != 2 {
			t.Fatalf("the last %d: got %d entries, %d unusable, %v", limit, len(got), unusable, err)
		}
		for i, r := range got {
			n := 7 - len(got) + i
			if want := entry(n); r.ID != want.ID || string(r.Detail) != string(want.Detail) || !r.At.Equal(want.At) || r.Sequence != uint64(n+1) {
				t.Errorf("the last %d: got %+v at %d, want %+v", limit, r, i, want)
			}
			if r.StoredAt.Before(began.Add(-time.Minute)) {
				t.Errorf("got stored at %s, want the hub's time", r.StoredAt)
			}
		}
	}
	if got, _, err := trail.Read(ctx, time.Now().Add(time.Hour), 10); err != nil || len(got) != 0 {
		t.Errorf("since a time to come: got %+v, %v, want none", got, err)
	}
}

func must(body []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return body
}

// Nothing that is in the trail can be taken out of it: no message, not all of them, and not by allowing it first.
func TestTrailIsAppendOnly(t *testing.T) {
	trail, js := newTrail(t)
	ctx := soon(t)
	if err := Ensure(ctx, js, 1); err != nil {
		t.Fatal(err)
	}
	if err := trail.Append(ctx, entry(1)); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"delete": stream.DeleteMsg(ctx, 1), "secure delete": stream.SecureDeleteMsg(ctx, 1), "purge": stream.Purge(ctx),
	} {
		if err == nil {
			t.Errorf("%s: got it done, want it refused", what)
		}
	}
	c := stream.CachedInfo().Config
	if c.Storage != jetstream.FileStorage || c.MaxAge != Age || c.Discard != jetstream.DiscardNew {
		t.Errorf("got %+v, want a file, kept for %s, that takes no more when it is full", c, Age)
	}
	c.DenyDelete, c.DenyPurge = false, false
	if _, err := js.UpdateStream(ctx, c); err == nil {
		t.Error("got deletion allowed afterwards, want it refused")
	}
	if err := Ensure(ctx, js, 1); err != nil {
		t.Errorf("ensure again: %v", err)
	}
	if got, _, err := trail.Read(ctx, time.Unix(1, 0), 10); err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v, want the entry", got, err)
	}
}

func TestUnusableEntries(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*Entry)
		want  string
	}{
		"schema":    {func(e *Entry) { e.Schema = 7 }, "got schema 7"},
		"object":    {func(e *Entry) { e.Object = "a.b" }, "want labels"},
		"action":    {func(e *Entry) { e.Action = "" }, "want labels"},
		"id":        {func(e *Entry) { e.ID = ">" }, "want labels"},
		"no time":   {func(e *Entry) { e.At = time.Time{} }, "got time"},
		"nobody":    {func(e *Entry) { e.By = "" }, "got by"},
		"terminal":  {func(e *Entry) { e.By = "\x1b[1m" }, "got by"},
		"long":      {func(e *Entry) { e.By = strings.Repeat("x", maxText+1) }, "got by"},
		"two lines": {func(e *Entry) { e.Failed = "a\nb" }, "got failed"},
		"no JSON":   {func(e *Entry) { e.Detail = json.RawMessage("{") }, "got detail"},
	} {
		e := entry(1)
		tc.spoil(&e)
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	for text, want := range map[string]string{"a\nb": "a b", "\x1b[2Jx": " [2Jx", "a\xffb": "a b", "Übersee": "Übersee", strings.Repeat("é", maxText): strings.Repeat("é", maxText/2)} {
		if got := Line(text); got != want || !printable(got) {
			t.Errorf("line of %.20q: got %.20q, want %.20q", text, got, want)
		}
	}
}

func TestAppendSaysWhyNot(t *testing.T) {
	trail, js := newTrail(t)
	ctx := soon(t)
	if err := trail.Append(ctx, entry(1)); err == nil || !strings.Contains(err.Error(), "no stream AUDIT") || !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("no stream: got %v, want that said", err)
	}
	if _, _, err := trail.Read(ctx, time.Unix(1, 0), 10); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: got %v, want that said", err)
	}
	if err := Ensure(ctx, js, 1); err != nil {
		t.Fatal(err)
	}
	large := entry(1)
	large.Detail = must(json.Marshal(strings.Repeat("x", maxEntry)))
	if err := trail.Append(ctx, large); err == nil || !strings.Contains(err.Error(), "want at most 15360") {
		t.Errorf("a large one: got %v, want an error with its size", err)
	}
	bad := entry(1)
	bad.ID = ""
	if err := trail.Append(ctx, bad); err == nil {
		t.Error("an unusable one: got it stored")
	}
	if _, err := js.Publish(ctx, "audit.maintenance", []byte(strings.Repeat("x", 2*maxEntry))); err == nil {
		t.Error("a large message: got it stored")
	}
	if got, unusable, err := trail.Read(ctx, time.Unix(1, 0), 10); err != nil || len(got)+unusable != 0 {
		t.Errorf("got %+v, %d, %v, want nothing", got, unusable, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("audit.maintenance", must(json.Marshal(entry(1))))
	f.Add("audit.maintenance", []byte("{}"))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		got, err := Decode(subject, body)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil || subject != prefix+got.Object {
			t.Fatalf("accepted %q on %q: %v", body, subject, err)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Fatalf("accepted %q, and cannot print it: %v", body, err)
		}
	})
}
