package httprunner_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"
	"time"

	"lastmile/internal/scenario"
)

// TestExchanges: what a HAR has of a request beyond what results have, each hop of a redirect by itself.
func TestExchanges(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "1"})
			http.Redirect(w, r, "/new?b=2", http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "hello, hello, hello, hello")
		_ = z.Close()
	})
	j, began := plain(t), time.Now()
	j.step(t, scenario.Step{URL: server.URL + "/old?a=1", Method: "POST", Body: "four", Headers: map[string]string{"X-Key": "${secrets.KEY}"}})
	j.step(t, scenario.Step{URL: "http://127.0.0.1:1/"})
	requests := j.Close().Requests
	if len(requests) != 3 {
		t.Fatalf("got %d requests, want 3", len(requests))
	}
	first, second, third := requests[0].Exchange, requests[1].Exchange, requests[2].Exchange
	if first.URL != server.URL+"/old?a=1" || first.StatusText != "Temporary Redirect" || first.RequestBytes != 4 || first.BodyBytes != -1 ||
		first.RequestHeaders.Get("X-Key") != "s3cr3t-value" || first.ResponseHeaders.Get("Location") != "/new?b=2" {
		t.Errorf("got %+v, want the redirect as it was", first)
	}
	if second.URL != server.URL+"/new?b=2" || second.MIME != "text/plain; charset=utf-8" || second.BodyBytes != 26 || second.RequestHeaders.Get("Cookie") != "sid=1" {
		t.Errorf("got %+v, want the answer, decoded, and the cookie that was sent", second)
	}
	if third == nil || third.URL != "http://127.0.0.1:1/" || third.ResponseHeaders != nil || third.BodyBytes != -1 {
		t.Errorf("got %+v, want a request without an answer", third)
	}
	last := began
	for i, q := range requests {
		if q.StartedAt.Before(last) || time.Since(q.StartedAt) > time.Minute {
			t.Errorf("request %d: got start %s, want it after %s", i, q.StartedAt, last)
		}
		last = q.StartedAt
	}
}
