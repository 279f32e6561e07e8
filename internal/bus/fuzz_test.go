package bus

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"

	"lastmile/internal/bus/resultjson"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// seed adds a body whole, cut short and with a byte changed.
func seed(f *testing.F, subject string, v any) {
	f.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(subject, body)
	f.Add(subject, body[:len(body)/2])
	f.Add("x."+subject, body)
	f.Add(subject, []byte(`null`))
	f.Add(subject, []byte(`{"schema":1,"slot":"9999-12-31T23:59:59Z","run_id":"a.b.c.99999999999999999"}`))
}

func FuzzDecodeAssignment(f *testing.F) {
	a := assignment(f, "shop", "us")
	seed(f, jobSubject(&a), a)
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		got, err := decodeAssignment(subject, body)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil || jobSubject(&got) != subject || !scenario.ValidName(got.Region) {
			t.Fatalf("accepted %q on %q: %v", body, subject, err)
		}
		again, err := json.Marshal(&got)
		if err != nil {
			t.Fatalf("accepted what cannot be sent on: %v", err)
		}
		if _, err := decodeAssignment(subject, again); err != nil {
			t.Fatalf("accepted what is refused after one round trip: %v", err)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	r := resultOf(assignment(f, "shop", "us"), "p1")
	seed(f, resultSubject(&r), r)
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		var claimed runs.Result
		_ = json.Unmarshal(body, &claimed) // whatever it is, the header agrees with it
		header := nats.Header{runHeader: {string(claimed.RunID)}}
		got, err := decodeResult(subject, header, body)
		if err != nil {
			return
		}
		if err := checkResult(&got); err != nil || resultSubject(&got) != subject || !scenario.ValidName(got.Probe) {
			t.Fatalf("accepted %q on %q: %v", body, subject, err)
		}
		if _, err := decodeResult(subject, nil, body); err == nil {
			t.Fatal("accepted a result without its header")
		}
		small, _, err := resultjson.Encode(got, 4096)
		if err == nil && len(small) > 4096 {
			t.Fatalf("got %d bytes, want at most 4096", len(small))
		}
	})
}

func FuzzDecodeVerdict(f *testing.F) {
	v := verdictAt("us", 100, "shop.us.none.60")
	seed(f, verdictSubject(&v), v)
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		got, err := decodeVerdict(subject, body)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil || verdictSubject(&got) != subject || !scenario.ValidName(got.Region) {
			t.Fatalf("accepted %q on %q: %v", body, subject, err)
		}
	})
}

func FuzzDecodeHeartbeat(f *testing.F) {
	h := runs.Heartbeat{Schema: runs.Schema, Region: "us", Probe: "p1", Running: []runs.ID{"shop.us.none.60"}}
	seed(f, heartbeatSubject(&h), h)
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		got, err := decodeHeartbeat(subject, body)
		if err != nil {
			return
		}
		if heartbeatSubject(&got) != subject || !scenario.ValidName(got.Region) || !scenario.ValidName(got.Probe) {
			t.Fatalf("accepted %q on %q", body, subject)
		}
	})
}
