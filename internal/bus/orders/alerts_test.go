package orders

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

func alertState() AlertState {
	began := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	return AlertState{Schema: runs.Schema, Term: 7, State: []byte(`{"journeys":{}}`), Pending: []runs.Alert{{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "shop", Region: "us"}, Severity: "page", StartsAt: began,
		Labels: map[string]string{"tier": "1"}, Why: runs.Why{Rule: runs.RuleHard, Bad: 6, Of: 6, Regions: []string{"us"}},
	}}}
}

func TestAlertsComeBackAsTheyWere(t *testing.T) {
	want := alertState()
	packed, err := EncodeAlerts(&want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeAlerts(packed); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestUnusableAlerts(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*AlertState)
		want  string
	}{
		"schema":       {func(s *AlertState) { s.Schema = 2 }, "got schema 2"},
		"no name":      {func(s *AlertState) { s.Pending[0].Name = "" }, "want a name"},
		"no beginning": {func(s *AlertState) { s.Pending[0].StartsAt = time.Time{} }, "a beginning"},
		"too many":     {func(s *AlertState) { s.Pending = make([]runs.Alert, maxPending+1) }, "got 10001 changes"},
	} {
		s := alertState()
		tc.spoil(&s)
		if _, err := EncodeAlerts(&s); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	for _, junk := range []string{"", "{}", "\x1f\x8b"} {
		if _, err := DecodeAlerts([]byte(junk)); err == nil {
			t.Errorf("%q: got no error", junk)
		}
	}
}

// The changes of a thousand alerts at once, each with all that it can say of itself, and a large state fit into one message of a server as it comes.
func TestAThousandChangesFitIntoAMessage(t *testing.T) {
	s := alertState()
	s.State = []byte(`"` + strings.Repeat("x", 500_000) + `"`)
	one := s.Pending[0]
	for n := range 1000 {
		a := one
		a.Scenario = fmt.Sprintf("customer-journey-%d", n)
		a.Why.Log10P = -rand.Float64() * 100
		a.Why.First = &runs.Failure{RunID: runs.ID(fmt.Sprintf("%s.us.3g.%d", a.Scenario, 1_800_000_000+rand.IntN(1e6))), At: a.StartsAt, Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: "got status 503, want 200"}}
		a.Why.Latest = a.Why.First
		s.Pending = append(s.Pending, a)
	}
	packed, err := EncodeAlerts(&s)
	if err != nil {
		t.Fatal(err)
	}
	if most := 1<<20 - headroom; len(packed) > most {
		t.Errorf("got %d bytes, want at most %d", len(packed), most)
	}
	t.Logf("1001 changes: %d bytes", len(packed))
}

func FuzzDecodeAlerts(f *testing.F) {
	seed := alertState()
	packed, err := EncodeAlerts(&seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Fuzz(func(t *testing.T, packed []byte) {
		got, err := DecodeAlerts(packed)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil {
			t.Fatalf("accepted %q: %v", packed, err)
		}
	})
}
