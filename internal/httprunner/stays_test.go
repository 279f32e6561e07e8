package httprunner_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// TestCredentialsStayWithTheirServer: another port of the same host is another server, which net/http takes for the same; and the address
// that a redirect came from has the step's query in it, which net/http tells the next server.
func TestCredentialsStayWithTheirServer(t *testing.T) {
	var next http.Header
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) { next = r.Header })
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/landed", http.StatusTemporaryRedirect)
		case "/here":
			http.Redirect(w, r, "/landed", http.StatusTemporaryRedirect)
		default:
			next = r.Header
		}
	})
	j := private(t, httprunner.HostNetwork{}, httprunner.Options{}, map[string]vars.Secret{"KEY": "hunter2-hunter2"})
	j.scope.Set("token", "extracted-token")
	step := scenario.Step{Headers: map[string]string{"Authorization": "Bearer ${token}", "Cookie": "session=${token}", "X-Public": "yes"}}
	step.URL = server.URL + "/away?key=${secrets.KEY}&token=${token}"
	wantCause(t, j.step(t, step), "", "")
	if text := fmt.Sprint(next); strings.Contains(text, "hunter2") || strings.Contains(text, "extracted-token") || next.Get("X-Public") != "yes" {
		t.Errorf("got %v at another server, want nothing there that is only for the first", next)
	}
	if got := next.Get("Referer"); got != server.URL+"/" {
		t.Errorf("got referer %q at another server, want the first's name alone", got)
	}
	step.URL = server.URL + "/here?key=${secrets.KEY}"
	wantCause(t, j.step(t, step), "", "")
	if next.Get("Authorization") != "Bearer extracted-token" || next.Get("Cookie") != "session=extracted-token" || !strings.Contains(next.Get("Referer"), "/here?key=") {
		t.Errorf("got %v at the same server, want all as it was", next)
	}
}

// TestHeadersOfManyAnswers: a server that floods each answer with headers, to a step that polls or a run of many steps, must not fill the
// memory with what is kept for a HAR.
func TestHeadersOfManyAnswers(t *testing.T) {
	const fields = 2000
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range fields {
			w.Header().Set(fmt.Sprintf("X%d", i), strings.Repeat("v", 100))
		}
	})
	j := plain(t)
	const steps = 120
	for range steps {
		wantCause(t, j.step(t, scenario.Step{URL: server.URL}), "", "")
	}
	kept, requests := 0, j.Close().Requests
	for _, q := range requests {
		for name, values := range q.Exchange.ResponseHeaders {
			kept += len(name) + len(strings.Join(values, ""))
		}
	}
	if len(requests) != steps || kept > 16<<20 || len(requests[0].Exchange.ResponseHeaders) < fields {
		t.Errorf("got %d bytes of headers of %d requests, want those of the first and 16 MiB at most", kept, len(requests))
	}
}

// TestCookieFloodToldAgainAndAgain: a run may hand its cookies over before each step.
func TestCookieFloodToldAgainAndAgain(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 2000 {
			http.SetCookie(w, &http.Cookie{Name: fmt.Sprintf("c%d", i), Value: "x"})
		}
	})
	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: server.URL}), "", "")
	began := time.Now()
	for range 10 {
		if cookies, _ := told(t, j); len(cookies) != 2000 {
			t.Fatalf("got %d cookies, want 2000", len(cookies))
		}
	}
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("took %s, want some tenths of a second", took)
	}
}

// TestEchoIsNoLeak: what a server says back of the step's own request tells nothing of a cache. A step that sends what must not come cannot
// measure.
func TestEchoIsNoLeak(t *testing.T) {
	asked := 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Error(w, "not found: "+r.URL.RawQuery+r.Header.Get("X-Who"), http.StatusNotFound)
	})
	for name, step := range map[string]scenario.Step{
		"query":  {URL: server.URL + "/?q=${vars.of}"},
		"path":   {URL: server.URL + "/of/${vars.of}"},
		"header": {URL: server.URL, Headers: map[string]string{"X-Who": "${vars.of}"}},
		"basic":  {URL: server.URL, Auth: &scenario.Auth{Basic: &scenario.Basic{User: "bob", Password: "${vars.of}"}}},
		"body":   {URL: server.URL, Method: "POST", JSON: map[string]any{"of": "${vars.of}"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := plain(t)
			j.Watch(canary)
			j.scope.Set("vars.of", canary)
			step.ID, step.Type = "1", scenario.StepHTTP
			got, err := j.Step(t.Context(), &step, j.scope)
			_, ours := errors.AsType[*runs.Fault](err)
			if !ours || strings.Contains(fmt.Sprint(err, got.Cause), canary) || asked > 0 {
				t.Errorf("got %+v, %v, %d requests; want a fault of ours before anything is sent", got.Cause, err, asked)
			}
		})
	}
}

// TestCookiesThatAreSetAgainAndAgain: a step that polls gets its session renewed with each answer, and goes on with the newest.
func TestCookiesThatAreSetAgainAndAgain(t *testing.T) {
	var sent string
	answers := 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Cookie")
		answers++
		w.Header().Add("Set-Cookie", fmt.Sprintf("session=%d", answers))
		w.Header().Add("Set-Cookie", fmt.Sprintf("flash%d=; Max-Age=0", answers))
	})
	j := plain(t)
	const steps = 2200
	for range steps {
		wantCause(t, j.step(t, scenario.Step{URL: server.URL}), "", "")
	}
	if want := fmt.Sprintf("session=%d", steps-1); sent != want {
		t.Errorf("got cookie %q with the last request, want %q", sent, want)
	}
}
