package report_test

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"lastmile/internal/report"
	"lastmile/internal/runs"
)

func failed() *runs.Result {
	cause := &runs.Cause{Class: runs.ClassAssertion, Step: "pay", Detail: `got "<1>", want 2`}
	return &runs.Result{
		RunID: "shop.eu.3g.1700000000", Scenario: "shop", Region: "eu", Network: "3g", State: runs.StateFailed, Cause: cause, DurationMS: 1500,
		StartedAt: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
		Steps: []runs.Step{
			{ID: "home", Type: "navigate", State: runs.StepPassed, DurationMS: 1000, Requests: 3, Warnings: []string{"slow"}},
			{ID: "pay", Type: "click", State: runs.StepFailed, Cause: cause, DurationMS: 500},
			{ID: "thanks", Type: "waitForElement", State: runs.StepSkipped, Skipped: runs.SkipFailure},
		},
		Artefacts:     []runs.Artefact{{Kind: runs.ArtefactScreenshot, Step: "pay", Location: "/cache/pay.screenshot.jpg"}, {Kind: runs.ArtefactHAR, Location: "/cache/run.har", Truncated: true}},
		ArtefactError: "the disk is full",
	}
}

func TestText(t *testing.T) {
	var out strings.Builder
	report.Text(&out, failed())
	for _, want := range []string{
		"shop.eu.3g.1700000000  shop in eu over 3g: FAILED in 1500 ms", "cause: assertion: got", "screenshot of pay: /cache/pay.screenshot.jpg\n",
		"har, shortened: /cache/run.har\n", "not kept: the disk is full\n", "            slow\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %s, want %q in it", out.String(), want)
		}
	}
}

// What a target says makes no line of its own, and moves no cursor.
func TestHostileTexts(t *testing.T) {
	const hostile = "x\x1b[2J\r\n  passed    pay\u009b1m"
	r := failed()
	r.Cause.Detail, r.ArtefactError, r.Steps[0].Warnings, r.Tainted = hostile, hostile, []string{hostile}, []string{hostile}
	r.Link.Blocked, r.Link.BlockedHosts = 1, []string{hostile}
	var text, junit strings.Builder
	report.Text(&text, r)
	if err := report.JUnit(&junit, r); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"text": text.String(), "junit": junit.String()} {
		if strings.ContainsAny(got, "\x1b\r\u009b") || name == "text" && strings.Contains(got, "\n  passed    pay") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if err := xml.Unmarshal([]byte(junit.String()), new(struct{})); err != nil {
		t.Errorf("got %s: %v", junit.String(), err)
	}
}

func TestJUnit(t *testing.T) {
	for _, test := range []struct {
		change                         func(*runs.Result)
		tests, failures, errs, skipped int
	}{
		{func(*runs.Result) {}, 3, 1, 0, 1},
		{func(r *runs.Result) {
			r.State, r.Cause = runs.StateInvalid, &runs.Cause{Class: runs.ClassProbe, Detail: "no Chromium"}
		}, 4, 0, 1, 1},
		{func(r *runs.Result) { r.Steps[1].State = runs.StepPassed }, 4, 1, 0, 1}, // failed as a whole: a blocked host
		{func(r *runs.Result) { r.State, r.Cause, r.Steps = runs.StatePassed, nil, r.Steps[:1] }, 1, 0, 0, 0},
	} {
		r := failed()
		test.change(r)
		var out strings.Builder
		if err := report.JUnit(&out, r); err != nil {
			t.Fatal(err)
		}
		var got struct {
			XMLName  xml.Name `xml:"testsuite"`
			Tests    int      `xml:"tests,attr"`
			Failures int      `xml:"failures,attr"`
			Errors   int      `xml:"errors,attr"`
			Skipped  int      `xml:"skipped,attr"`
			Time     float64  `xml:"time,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Type    string `xml:"type,attr"`
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		}
		if err := xml.Unmarshal([]byte(out.String()), &got); err != nil {
			t.Fatalf("got %s: %v", out.String(), err)
		}
		if got.Tests != test.tests || got.Failures != test.failures || got.Errors != test.errs || got.Skipped != test.skipped || got.Time != 1.5 || len(got.Cases) != test.tests {
			t.Errorf("got %s, want %d cases: %d failures, %d errors, %d skipped", out.String(), test.tests, test.failures, test.errs, test.skipped)
		}
		if r.State == runs.StateFailed && r.Steps[1].State == runs.StepFailed && (got.Cases[1].Failure == nil || got.Cases[1].Failure.Message != `got "<1>", want 2`) {
			t.Errorf("got %+v, want the cause", got.Cases[1].Failure)
		}
	}
}
