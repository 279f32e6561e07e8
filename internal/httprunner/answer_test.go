package httprunner_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// TestAnswer: what assertions and extractors know of a real exchange.
func TestAnswer(t *testing.T) {
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "session-id-1", Path: "/"})
			http.Redirect(w, r, "/shop", http.StatusSeeOther)
			return
		}
		w.Header().Set("X-Cache", "HIT")
		w.Header().Set("Age", "7")
		if asked < 5 {
			_, _ = w.Write([]byte(`{"state": "open", "total": 12.5}`))
			return
		}
		_, _ = w.Write([]byte(`{"state": "paid", "echo": "` + strings.TrimPrefix(r.Header.Get("Cookie"), "sid=") + `"}`))
	}))
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	j := begin(t, scenario.Scenario{}, httprunner.Options{RootCAs: pool})

	first := j.step(t, scenario.Step{URL: server.URL + "/login", Assert: []scenario.Assertion{
		{Cookie: "sid"},
		{Expr: `status == 200 && json.total == 12.5 && size == len(body) && cookies.sid == "session-id-1" && headers["x-cache"] == "HIT" && header("age") == "7"`},
		{Expr: `cache.state == "hit" && cache.age == 7 && duration >= phases.wait && cert.daysLeft > 30 && "example.com" in cert.names && cert.issuer contains "Acme"`},
		{Schema: map[string]any{"required": []any{"total"}, "properties": map[string]any{"total": map[string]any{"type": "number"}}}},
		{Measure: scenario.MeasureWait, AtLeast: new(0.0)},
		{CertDays: new(30)},
	}, Extract: map[string]scenario.Extractor{"sid": {Cookie: "sid"}, "double": {Expr: "json.total * 2"}}})
	if first.State != runs.StepPassed {
		t.Fatalf("got %+v, want all of it to hold", first.Cause)
	}
	if got, err := j.scope.Expand("${sid} ${double}"); err != nil || got != "session-id-1 25" {
		t.Errorf("got %q and %v, want the cookie and the value of the expression", got, err)
	}

	again := j.step(t, scenario.Step{URL: server.URL + "/shop", Assert: []scenario.Assertion{{Measure: scenario.MeasureConnect, AtMost: new(1e6)}}})
	if want := "measure connect: got nothing, as it did not happen on this request, want a time"; again.Cause == nil || again.Cause.Detail != want {
		t.Errorf("got %+v, want %s, as the connection was kept", again.Cause, want)
	}

	every := scenario.Duration(30 * time.Millisecond)
	polled := j.step(t, scenario.Step{URL: server.URL + "/shop", Poll: &scenario.Poll{Every: every, For: scenario.Duration(20 * time.Second)}, Assert: []scenario.Assertion{
		{Expr: `json.state == "paid"`}, {Measure: scenario.MeasureDuration, AtLeast: new(30.0)},
	}})
	if polled.State != runs.StepPassed || polled.Attempts != 2 {
		t.Errorf("got %+v after %d attempts, want success at the second and a duration from the first", polled.Cause, polled.Attempts)
	}

	shown := j.step(t, scenario.Step{URL: server.URL + "/shop", Assert: []scenario.Assertion{{Schema: map[string]any{"properties": map[string]any{"echo": map[string]any{"const": "x"}}}}}})
	if shown.Cause == nil || shown.Cause.Class != runs.ClassAssertion || strings.Contains(shown.Cause.Detail, "session") || !strings.HasPrefix(shown.Cause.Detail, "schema: at '/echo': ") {
		t.Errorf("got %+v, want where and what, without the cookie", shown.Cause)
	}

	before := asked
	for _, step := range []scenario.Step{
		{Assert: []scenario.Assertion{{Expr: "staus == 200"}}},
		{Assert: []scenario.Assertion{{Schema: map[string]any{"$ref": "https://example.com/x.json"}}}},
		{Extract: map[string]scenario.Extractor{"x": {Expr: "json."}}},
	} {
		step.URL = server.URL + "/shop"
		if got := j.step(t, step); got.Cause == nil || got.Cause.Class != runs.ClassScript {
			t.Errorf("got %+v, want a script error", got.Cause)
		}
	}
	if asked != before {
		t.Errorf("got %d requests, want none for steps that cannot be judged", asked-before)
	}
}
