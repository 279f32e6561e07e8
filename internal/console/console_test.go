package console

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

func account(n int) runs.Account {
	return runs.Account{
		Combination: scenario.Combination{Scenario: "checkout", Region: "us", Network: "none"},
		Counts:      runs.StateCounts{runs.StatePassed: 3, runs.StateFailed: 1, runs.StateMissing: 2},
		Cache:       map[cachestate.State]int64{cachestate.Hit: 3, cachestate.Miss: 1, cachestate.Bypass: 9},
		Latency: map[time.Duration]runs.Latency{
			time.Hour: {P95: slo.Estimate{Value: 812 * time.Millisecond, N: n, HasUpper: n >= 72}},
		},
		Budget: &runs.Budget{Remaining: 0.9996},
		Last:   &runs.Cause{Class: runs.ClassHTTP5xx, Step: "pay", Detail: "got 503,\nwant 200"},
	}
}

func draw(t *testing.T, n int, opts Options) string {
	t.Helper()
	var out bytes.Buffer
	c := New(&out, func() []runs.Account { return []runs.Account{account(n)} }, opts)
	c.Refresh()
	return out.String()
}

func TestTableShowsWhatCounts(t *testing.T) {
	got := draw(t, 100, Options{})
	for _, want := range []string{"checkout", "us", "812 ms", "100", "75.0%", "99.9%", "http_5xx at pay: got 503, want 200"} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "100.0%") {
		t.Errorf("a budget of 99.96 %% must not read 100 %%:\n%s", got)
	}
	if strings.Contains(got, "~") || strings.Contains(got, "\x1b") {
		t.Errorf("got a mark or colours, want neither:\n%s", got)
	}
}

func TestSmallSamplesAreMarked(t *testing.T) {
	got := draw(t, 6, Options{})
	if !strings.Contains(got, "~812 ms") || !strings.Contains(got, "too few for an upper bound") {
		t.Errorf("got no mark on a P95 over six runs:\n%s", got)
	}
}

func TestRunLines(t *testing.T) {
	var out bytes.Buffer
	c := New(&out, func() []runs.Account { return nil }, Options{})
	c.Run(&runs.Result{Scenario: "checkout", Region: "us", Network: "none", State: runs.StatePassed, DurationMS: 812.4, Cache: runs.Cache{Hits: 3, Misses: 1}})
	c.Run(&runs.Result{
		Scenario: "checkout", Region: "eu", Network: "none", State: runs.StateInvalid, DurationMS: 5,
		Cause: &runs.Cause{Class: runs.ClassBrowserCrash, Detail: "gone"},
	})
	c.Run(&runs.Result{Scenario: "checkout", State: runs.StatePassed, DurationMS: 9000, Tainted: []string{"machine busy: got 50 %"}})
	c.Run(&runs.Result{Scenario: "checkout", State: runs.StatePassed, Requests: []runs.Request{{}, {Exposed: "why"}}})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "ok") || !strings.Contains(lines[0], "812 ms") || !strings.Contains(lines[0], "cache 3/4") {
		t.Errorf("got %q, want the passed run with duration and cache", lines)
	}
	if strings.Contains(lines[1], "5 ms") || !strings.Contains(lines[1], "browser_crash: gone") {
		t.Errorf("got %q, want an invalid run without a duration", lines[1])
	}
	if !strings.Contains(lines[2], "ok") || !strings.Contains(lines[2], "times not to be trusted: machine busy: got 50 %") {
		t.Errorf("got %q, want it said that the duration is not to be trusted", lines[2])
	}
	if !strings.Contains(lines[3], "ok") || !strings.Contains(lines[3], "1 answers that a shared cache ought not to have given") {
		t.Errorf("got %q, want it said that an answer is exposed, of a run that is ok", lines[3])
	}
}

func TestLiveTableIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	c := New(&out, func() []runs.Account { return []runs.Account{account(6)} }, Options{Size: func() Size { return Size{Width: 120, Height: 40} }})
	if !c.Live() {
		t.Fatal("got no live table on a high terminal")
	}
	c.Refresh()
	lines := strings.Count(out.String(), "\n")
	out.Reset()
	c.Run(&runs.Result{Scenario: "checkout", State: runs.StatePassed})
	if want := "\x1b[" + string(rune('0'+lines)) + "A\x1b[J"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want it to begin by going up %d lines", out.String(), lines)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len([]rune(line)) > 120+20 {
			t.Errorf("line of %d characters on a terminal of 120: %q", len([]rune(line)), line)
		}
	}
	for _, width := range []int{80, 100, 120} {
		out.Reset()
		c := New(&out, func() []runs.Account { return []runs.Account{account(6)} }, Options{Size: func() Size { return Size{Width: width, Height: 9} }})
		c.Refresh()
		for _, line := range strings.Split(out.String(), "\n") {
			if n := len([]rune(line)); n > width {
				t.Errorf("terminal of %d: got a line of %d characters: %q", width, n, line)
			}
		}
	}
	low := New(&out, func() []runs.Account { return []runs.Account{account(6)} }, Options{Size: func() Size { return Size{Width: 120, Height: 8} }})
	if low.Live() {
		t.Error("got a live table on a terminal too low for it")
	}
}
