package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
	"lastmile/internal/vars"
)

var update = flag.Bool("update", false, "write the golden files anew")

var began = time.Date(2026, 11, 21, 12, 0, 7, 0, time.UTC)

func words() wording.Words {
	return wording.Words{External: "https://lastmile.example", Grafana: "https://grafana.example"}
}

// page is an alert with all that can be known.
func page() runs.Alert {
	left, exhausted, coverage := slo.Ratio(0.8321), 31*time.Hour, slo.Ratio(0.98)
	return runs.Alert{
		AlertKey: runs.AlertKey{Name: runs.AlertDown, Scope: runs.ScopeRegion, Scenario: "checkout", Region: "eu", Network: "4g", SLO: "availability"},
		Severity: slo.SeverityPage, Team: "payments", Labels: map[string]string{"service": "shop"}, Runbook: "https://runbooks.example/checkout?a=1&b=2", StartsAt: began,
		Why: runs.Why{
			Rule: runs.RuleHard, Bad: 6, Of: 6, Expected: 0.001, Log10P: -18, Slices: 3, Burn: []runs.WindowBurn{{Window: slo.Window(5 * time.Minute), Burn: 1000}},
			Remaining: &left, Exhaustion: &exhausted, Coverage: &coverage, Regions: []string{"eu"}, Healthy: []string{"ap", "us"}, Networks: []string{"4g"},
			First: &runs.Failure{
				RunID: "checkout.eu.4g.1795262280", At: began.Add(-5 * time.Minute),
				Cause: &runs.Cause{Class: runs.ClassHTTP5xx, Step: "log in", Detail: `got <status> 503, want 200`},
			},
			Confirmations: []runs.Confirmation{{RunID: "checkout.us.4g.1795262310", Region: "us", State: runs.StatePassed}},
		},
	}
}

func over(a runs.Alert) runs.Alert {
	a.EndsAt = began.Add(20 * time.Minute)
	return a
}

// golden compares a payload, indented, with a file of testdata.
func golden(t *testing.T, name string, payload any) {
	t.Helper()
	body, err := encodeJSON(payload)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got\n%s\nwant what is in %s; where it is right, run the test with -update", b.Bytes(), path)
	}
}

func parse(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPayloads(t *testing.T) {
	begin, end := page(), over(page())
	one, two := NewNotice(&begin, 0, began), NewNotice(&end, 7, began)
	manager := NewAlertmanager(parse(t, "http://127.0.0.1:9093/base"), words(), 4*time.Minute)
	golden(t, "alertmanager.golden", []postable{manager.postable(&begin, began.Add(time.Minute)), manager.postable(&end, began.Add(time.Hour))})
	duty := NewPagerDuty(parse(t, "https://events.pagerduty.com"), "the-integration-key", words())
	golden(t, "pagerduty.golden", []event{duty.event(&one), duty.event(&two)})
	hook := NewWebhook(parse(t, "https://hooks.example/x"), "", words())
	golden(t, "webhook.golden", []message{hook.message(&one), hook.message(&two)})
}

// Whatever the clocks say, an end before its beginning would be refused.
func TestAlertmanagerGetsBothTimes(t *testing.T) {
	a := over(page())
	a.EndsAt = a.StartsAt.Add(-time.Minute)
	manager := NewAlertmanager(parse(t, "http://h"), words(), time.Minute)
	if got := manager.postable(&a, began); !got.StartsAt.Equal(a.StartsAt) || got.EndsAt.Before(got.StartsAt) {
		t.Errorf("got %s to %s", got.StartsAt, got.EndsAt)
	}
}

// request is what a sink got.
type request struct {
	path   string
	header http.Header
	body   string
	user   string
	secret string // password
}

// sink answers what it is told to, and keeps what it gets.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	status int
	answer string
	header map[string]string
}

func newSink(t testing.TB) *sink {
	s := &sink{status: http.StatusOK}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		user, secret, _ := r.BasicAuth()
		s.got = append(s.got, request{r.URL.RequestURI(), r.Header, string(body), user, secret})
		for name, value := range s.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) last(t testing.TB) request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) == 0 {
		t.Fatal("got no request, want one")
	}
	return s.got[len(s.got)-1]
}

// A receiver can tell that a message is from us and whole, and knows the same message when it comes again.
func TestWebhookIsSignedAndKeyed(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	hook := NewWebhook(parse(t, s.URL+"/services/T0/secret-path?token=x1"), "hook-secret", words())
	a := page()
	n := NewNotice(&a, 0, began)
	for range 2 {
		if err := hook.Send(t.Context(), []Notice{n}); err != nil {
			t.Fatal(err)
		}
	}
	got := s.last(t)
	if got.path != "/services/T0/secret-path?token=x1" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got path %s and type %s", got.path, got.header.Get("Content-Type"))
	}
	if want := "sha256=" + signature("hook-secret", []byte(got.body)); got.header.Get(SignatureHeader) != want {
		t.Errorf("got signature %q, want %q", got.header.Get(SignatureHeader), want)
	}
	// RFC 4231, test case 2.
	if got := signature("Jefe", []byte("what do ya want for nothing?")); got != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Errorf("got HMAC %s", got)
	}
	if key := got.header.Get(KeyHeader); key != n.Key || s.got[0].header.Get(KeyHeader) != key {
		t.Errorf("got keys %q and %q, want %q twice", s.got[0].header.Get(KeyHeader), key, n.Key)
	}
	unsigned := NewWebhook(parse(t, s.URL), "", words())
	if err := unsigned.Send(t.Context(), []Notice{n}); err != nil {
		t.Fatal(err)
	}
	if sig, ok := s.last(t).header[SignatureHeader]; ok {
		t.Errorf("without a secret: got signature %q, want none", sig)
	}
}

// The key is that of one message: another end, another severity, or the same beginning after an end has another.
func TestKeys(t *testing.T) {
	a := page()
	ticket, end := a, over(a)
	ticket.Severity = slo.SeverityTicket
	later := a
	later.Why.Bad, later.Flapping = 7, true
	one := NewNotice(&a, 3, began)
	if again := NewNotice(&later, 3, began.Add(time.Hour)); again.Key != one.Key {
		t.Errorf("got key %s for the same, want %s", again.Key, one.Key)
	}
	seen := map[string]bool{one.Key: true}
	for _, other := range []Notice{NewNotice(&ticket, 3, began), NewNotice(&end, 3, began), NewNotice(&a, 4, began)} {
		if seen[other.Key] || !keyForm(other.Key) {
			t.Errorf("got key %s", other.Key)
		}
		seen[other.Key] = true
	}
}

func TestPagerDutyAndAlertmanagerAreAskedWhereTheyListen(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	a, b := page(), over(page())
	notices := []Notice{NewNotice(&a, 0, began), NewNotice(&b, 1, began)}
	if err := NewPagerDuty(parse(t, s.URL), "the-key", words()).Send(t.Context(), notices); err != nil {
		t.Fatal(err)
	}
	if got := s.last(t); got.path != "/v2/enqueue" || len(s.got) != 2 || !strings.Contains(got.body, `"event_action":"resolve"`) {
		t.Errorf("got %d requests, the last to %s: %s", len(s.got), got.path, got.body)
	}
	with := parse(t, s.URL+"/prefix/")
	with.User = url.UserPassword("us", "pass word")
	if err := NewAlertmanager(with, words(), time.Minute).Send(t.Context(), notices); err != nil {
		t.Fatal(err)
	}
	if got := s.last(t); got.path != "/prefix/api/v2/alerts" || got.user != "us" || got.secret != "pass word" || len(s.got) != 3 {
		t.Errorf("got %d requests, the last %+v", len(s.got), got)
	}
}

// What an answer means: whether to try the same again, and when.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	a := page()
	n := []Notice{NewNotice(&a, 0, began)}
	const refused, taken, leftAlone, again = "refused", "taken", "left alone", "again"
	for status, want := range map[int]string{
		200: taken, 202: taken, 204: taken, 302: again, 400: refused, 401: again, 403: again, 404: again, 408: again, 413: refused, 422: refused, 429: leftAlone,
		500: again, 502: again, 503: leftAlone,
	} {
		s.mu.Lock()
		s.status, s.header = status, map[string]string{"Retry-After": "17", "Location": s.URL + "/elsewhere"}
		before := len(s.got)
		s.mu.Unlock()
		err := NewPagerDuty(parse(t, s.URL), "the-key", words()).Send(t.Context(), n)
		got := again
		var refusal *Refusal
		var busy *Busy
		switch {
		case err == nil:
			got = taken
		case errors.As(err, &refusal):
			got = refused
		case errors.As(err, &busy):
			if got = leftAlone; busy.After != 17*time.Second {
				t.Errorf("status %d: got %s, want 17s", status, busy.After)
			}
		}
		if got != want || len(s.got) != before+1 {
			t.Errorf("status %d: got %s, %d requests and %v, want %s and one", status, got, len(s.got)-before, err, want)
		}
	}
}

// A sink that is not there, or says nothing, takes nothing now.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	gone := httptest.NewServer(nil)
	gone.Close()
	a := page()
	for name, address := range map[string]string{"silent": silent.URL, "gone": gone.URL} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := NewWebhook(parse(t, address+"/services/secret-path"), "", words()).Send(ctx, []Notice{NewNotice(&a, 0, began)})
		cancel()
		if busy := new(Busy); !errors.As(err, &busy) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want a sink that takes nothing now, and no path", name, err)
		}
	}
}

// No secret is in an error, though the sink's answer has it.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	const key, sign, path, token, password = "pd-key-9f", "hmac-secret-8e", "T01/B02/xyz", "tok/en=7d", "pass-6c"
	s.status, s.answer = http.StatusBadRequest, strings.Join([]string{key, sign, "/services/" + path, token, url.QueryEscape(token), password, "plain \x1b[31m reason"}, " ")
	manager := parse(t, s.URL)
	manager.User = url.UserPassword("us", password)
	a := page()
	n := []Notice{NewNotice(&a, 0, began)}
	for name, err := range map[string]error{
		"pagerduty":    NewPagerDuty(parse(t, s.URL), key, words()).Send(t.Context(), n),
		"webhook":      NewWebhook(parse(t, s.URL+"/services/"+path+"?"+token), vars.Secret(sign), words()).Send(t.Context(), n),
		"alertmanager": NewAlertmanager(manager, words(), time.Minute).Send(t.Context(), n),
	} {
		own := map[string][]string{"pagerduty": {key}, "webhook": {sign, path, token}, "alertmanager": {password}}[name]
		for _, secret := range own {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err.Error()), secret) {
				t.Errorf("%s: got %v, which has %s in it", name, err, secret)
			}
		}
		if !strings.Contains(err.Error(), "got status 400") || !strings.Contains(err.Error(), `plain \x1b[31m reason`) {
			t.Errorf("%s: got %v, want the status and the reason, quoted", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "-1": 0, "x": 0, "99999999999999999999": 0, "Sat, 21 Nov 2026 12:01:07 GMT": time.Minute, "Sat, 21 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, began); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// An alert with whatever in it can be kept and told, and comes back from the outbox as it went in.
func TestNoAlertIsLostForWhatIsInIt(t *testing.T) {
	bad := slo.Ratio(math.NaN())
	a := page()
	a.Why.Expected, a.Why.Log10P, a.Why.Remaining, a.Why.Over = slo.Ratio(math.Inf(1)), math.Inf(-1), &bad, 7
	a.Why.Burn = append(a.Why.Burn, runs.WindowBurn{Window: 0, Burn: 1}, runs.WindowBurn{Window: slo.Window(time.Hour), Burn: slo.Burn(math.NaN())})
	a.Why.First.Cause.Detail = strings.Repeat("ä", 100_000) + "\xff"
	for n := range 1000 {
		a.Why.Regions = append(a.Why.Regions, fmt.Sprint("r", n))
		a.Why.Confirmations = append(a.Why.Confirmations, runs.Confirmation{Region: "eu", State: runs.StateFailed})
		a.Labels[fmt.Sprint("l", n)] = "\xff"
	}
	n := NewNotice(&a, 0, began)
	body, err := n.Encode()
	if err != nil || len(body) > 64<<10 {
		t.Fatalf("got %d bytes, %v, want at most 64 KiB", len(body), err)
	}
	n.Sequence = 5
	back, err := Decode(n.Identity, 5, body)
	if err != nil || !reflect.DeepEqual(back, n) {
		t.Errorf("got\n%+v, %v\nwant\n%+v", back, err, n)
	}
	hook := NewWebhook(parse(t, "http://h"), "", words())
	for name, payload := range map[string]any{
		"alertmanager": NewAlertmanager(parse(t, "http://h"), words(), time.Minute).postable(&n.Alert, began), "webhook": hook.message(&n),
		"pagerduty": NewPagerDuty(parse(t, "http://h"), "k", words()).event(&n),
	} {
		if body, err := encodeJSON(payload); err != nil || len(body) > 256<<10 {
			t.Errorf("%s: got %d bytes, %v, want at most 256 KiB", name, len(body), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	a := page()
	n := NewNotice(&a, 0, began)
	seed, err := n.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"key":"x","alert":{}}`))
	f.Add([]byte(`{"key":"00000000000000000000000000000000","alert":{"alertname":"a","scenario":"s","severity":"page","starts_at":"2026-11-21T12:00:07Z","why":{"burn":[{"window":"1m"}]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := Decode("id", 1, body)
		if err != nil {
			return
		}
		again, err := n.Encode()
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if back, err := Decode("id", 1, again); err != nil || !reflect.DeepEqual(back.Alert, n.Alert) {
			t.Fatalf("%q: got\n%+v, %v\nwant\n%+v", body, back.Alert, err, n.Alert)
		}
		if _, err := encodeJSON(NewPagerDuty(&url.URL{}, "k", words()).event(&n)); err != nil {
			t.Fatal(err)
		}
	})
}
