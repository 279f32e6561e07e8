package runs

import (
	"strings"
	"testing"
)

func TestReviewMarksWarmRequests(t *testing.T) {
	full := func(url string) *Exchange { return &Exchange{URL: url} }
	r := Result{Requests: []Request{
		{URL: "a", Method: "GET", Status: 200, StartedMS: 5, Exchange: full("a?1#x")}, // after the ones below
		{URL: "a", Method: "GET", Status: 200, StartedMS: 1, Exchange: full("a?1")},
		{URL: "a", Method: "GET", Status: 200, StartedMS: 2, Exchange: full("a?2")},
		{URL: "a", Method: "HEAD", Status: 200, StartedMS: 3, Exchange: full("a?1")},
		{URL: "b", Method: "GET", Status: 0, StartedMS: 1, Error: "refused"},
		{URL: "b", Method: "GET", Status: 200, StartedMS: 2},
		{URL: "b", Method: "GET", Status: 304, StartedMS: 3},
		{URL: "c", Method: "GET", Status: 200, BrowserCache: "disk", StartedMS: 1},
		{URL: "c", Method: "GET", Status: 200, StartedMS: 2},
		{URL: "b", Method: "GET", Status: 200, BrowserCache: "memory", StartedMS: 9},
	}}
	r.Review()
	for i, want := range []bool{true, false, false, false, false, false, true, false, false, false} {
		if r.Requests[i].Warm != want {
			t.Errorf("request %d, %s %s: got warm %t, want %t", i, r.Requests[i].Method, r.Requests[i].URL, r.Requests[i].Warm, want)
		}
	}
}

func TestReviewWarnsOfExposedAnswers(t *testing.T) {
	r := Result{State: StatePassed, Steps: []Step{{ID: "me", State: StepPassed, Warnings: []string{"first"}}, {ID: "page", State: StepPassed}}}
	r.Requests = []Request{{Step: "me", URL: "https://shop/api/me", Exposed: "why"}, {Step: "gone", Exposed: "why"}}
	for range 20 {
		r.Requests = append(r.Requests, Request{Step: "page", URL: "https://shop/x", Exposed: "why"})
	}
	r.Review()
	if got := strings.Join(r.Steps[0].Warnings, "|"); got != "first|exposed: https://shop/api/me: why" {
		t.Errorf("got %q, want the warning after the first", got)
	}
	if got := len(r.Steps[1].Warnings); got != maxExposed {
		t.Errorf("got %d warnings, want %d", got, maxExposed)
	}
	if r.State != StatePassed || r.Steps[0].State != StepPassed || r.Cause != nil {
		t.Errorf("got %s, want a run that passes", r.State)
	}
}
