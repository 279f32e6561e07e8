package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/embedded"
)

// patience bounds whatever a test waits for; nothing takes that long.
const patience = 30 * time.Second

// hub runs a server on a folder; stop ends it early.
func hub(t testing.TB, dir string) (js jetstream.JetStream, stop func()) {
	t.Helper()
	server, err := embedded.Start(slog.New(slog.DiscardHandler), embedded.Options{Dir: dir, SyncInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(server.URL(), nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		nc.Close()
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(soon(t), js, 1); err != nil {
		t.Fatal(err)
	}
	return js, stop
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func fault(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }

// loaded is what the outbox has, one line for each message, without the sequences.
func loaded(t testing.TB, o *Outbox) []string {
	t.Helper()
	var out []string
	var last uint64
	err := o.Load(soon(t), func(sink, alert string, sequence uint64, done bool, body []byte) {
		if sequence <= last {
			t.Errorf("got sequence %d after %d, want more", sequence, last)
		}
		last = sequence
		out = append(out, fmt.Sprintf("%s %s %s %v", sink, alert, body, done))
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustPut(t testing.TB, o *Outbox, sink, alert, id string) uint64 {
	t.Helper()
	sequence, err := o.Put(soon(t), sink, alert, id, []byte(id))
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

func expect(t testing.TB, o *Outbox, want ...string) {
	t.Helper()
	if got := loaded(t, o); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What was put is there after a restart of the server, in its order, with what is done of it; each sink and each alert for itself.
func TestMessagesOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	js, stop := hub(t, dir)
	o := New(js, fault)
	expect(t, o)
	first := mustPut(t, o, "pagerduty-1", "a", "a1")
	mustPut(t, o, "webhook-1", "a", "w1")
	mustPut(t, o, "pagerduty-1", "b", "b1")
	mustPut(t, o, "pagerduty-1", "a", "a2")
	if err := o.Done(soon(t), "pagerduty-1", "a", first); err != nil {
		t.Fatal(err)
	}
	want := []string{"pagerduty-1 a a1 true", "webhook-1 a w1 false", "pagerduty-1 b b1 false", "pagerduty-1 a a2 false"}
	expect(t, o, want...)
	stop()
	js, _ = hub(t, dir)
	expect(t, New(js, fault), want...)
}

// A message whose acknowledgement was lost is put again and is there once. A note that comes late, of less, takes nothing back.
func TestPuttingAndNotingAgain(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	o := New(js, fault)
	first := mustPut(t, o, "s", "a", "a1")
	if again := mustPut(t, o, "s", "a", "a1"); again != first {
		t.Errorf("put again: got sequence %d, want %d", again, first)
	}
	second := mustPut(t, o, "s", "a", "a2")
	for _, sequence := range []uint64{second, first} {
		if err := o.Done(soon(t), "s", "a", sequence); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, o, "s a a1 true", "s a a2 true")
}

// An alert that comes and goes while its sink is away takes no room from others: the latest eight messages are kept.
func TestOneAlertCannotFillTheOutbox(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	o := New(js, fault)
	mustPut(t, o, "s", "quiet", "q")
	for n := range 3 * perAlert {
		mustPut(t, o, "s", "loud", fmt.Sprint(n))
	}
	got := loaded(t, o)
	if len(got) != 1+perAlert || got[0] != "s quiet q false" || got[perAlert] != fmt.Sprintf("s loud %d false", 3*perAlert-1) {
		t.Errorf("got\n%s\nwant the quiet one and the last %d of the loud one", strings.Join(got, "\n"), perAlert)
	}
}

// More than one batch of the server's is read whole.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	o := New(js, fault)
	const many = 2*loadBatch + 10
	for n := range many {
		mustPut(t, o, "s", fmt.Sprint(n), fmt.Sprint(n))
	}
	if got := loaded(t, o); len(got) != many || got[many-1] != fmt.Sprintf("s %d %d false", many-1, many-1) {
		t.Errorf("got %d messages, want %d", len(got), many)
	}
	if got := loaded(t, o); len(got) != many {
		t.Errorf("read again: got %d messages, want %d", len(got), many)
	}
}

func TestWhatCannotBePut(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	o := New(js, fault)
	for name, tc := range map[string]struct {
		sink, alert string
		size        int
		want        string
	}{
		"no sink":         {"", "a", 1, `got sink ""`},
		"a dot":           {"a.b", "a", 1, `got sink "a.b"`},
		"a wildcard":      {"a", ">", 1, `alert ">"`},
		"a long name":     {"a", strings.Repeat("a", 65), 1, "at most 64"},
		"a large message": {"a", "a", MaxSize + 1, "got 131073 bytes, want at most 131072"},
	} {
		if _, err := o.Put(soon(t), tc.sink, tc.alert, "id", make([]byte, tc.size)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	if err := o.Done(soon(t), "a b", "a", 1); err == nil {
		t.Error("note with a bad sink: got no error")
	}
	if _, err := o.Put(soon(t), "a", "a", "id", make([]byte, MaxSize)); err != nil {
		t.Errorf("the largest message: %v", err)
	}
}

// What others publish there neither stops the reading nor marks anything as done that is not.
func TestForeignMessagesArePassedOver(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	o := New(js, fault)
	mustPut(t, o, "s", "a", "a1")
	for _, m := range [][2]string{
		{"notified.s.a", "{"}, {"notified.s.a", `{"up_to":99999999}`}, {"notified.s.a", `{"up_to":-1}`}, {"notified.S.a", `{"up_to":1}`}, {"notify.s.A_", "x"},
	} {
		if _, err := js.Publish(soon(t), m[0], []byte(m[1])); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, o, "s a a1 false")
}

// A hub without the stream is an error that says what could not be done, and one that does not answer is one in time.
func TestNoStream(t *testing.T) {
	t.Parallel()
	js, _ := hub(t, t.TempDir())
	if err := js.DeleteStream(soon(t), Stream); err != nil {
		t.Fatal(err)
	}
	o := New(js, fault)
	if _, err := o.Put(soon(t), "s", "a", "id", nil); err == nil || !strings.Contains(err.Error(), "put message for s") {
		t.Errorf("put: got %v", err)
	}
	if err := o.Load(soon(t), nil); err == nil || !strings.Contains(err.Error(), "read outbox") {
		t.Errorf("load: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("notify.s.a")
	f.Add("notified.pagerduty-1.0123")
	f.Add("notify..")
	f.Fuzz(func(t *testing.T, text string) {
		kind, sink, alert, ok := parse(text)
		if ok && (subject(kind, sink, alert) != text || check(sink, alert) != nil) {
			t.Errorf("%q: got %q, %q, %q", text, kind, sink, alert)
		}
	})
}
