package console

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/runs"
	"lastmile/internal/statement"
)

// tally makes a tally that adds up.
func tally(states runs.StateCounts) statement.Tally {
	n := states.Planned()
	return statement.Tally{Planned: n, Sum: n, Balanced: true, States: states}
}

// report is a statement in which much went wrong.
func report() *statement.Statement {
	at := time.Date(2026, 11, 21, 8, 0, 5, 0, time.UTC)
	first, last, midnight := at.Add(-19*24*time.Hour), at.Add(-2*time.Hour), at.Add(-9*time.Hour)
	none := int64(0)
	three := int64(3)
	s := &statement.Statement{
		Scenario: "checkout", At: at, Since: at.Add(-24 * time.Hour),
		Within: tally(runs.StateCounts{runs.StatePassed: 2805, runs.StateDegraded: 40, runs.StateFailed: 9, runs.StateInvalid: 1, runs.StateMissing: 21, runs.StateSkipped: 3, runs.StatePending: 1}),
		InAll:  tally(runs.StateCounts{runs.StatePassed: 54001, runs.StateMissing: 21}),
		Rows: []statement.Row{
			{Region: "eu-central", Network: "3g-lossy", Within: tally(runs.StateCounts{runs.StatePassed: 1405, runs.StateDegraded: 20, runs.StateFailed: 5, runs.StateMissing: 10}), InAll: tally(nil)},
			{Region: "us", Network: "none", Within: tally(runs.StateCounts{runs.StatePassed: 1400, runs.StateDegraded: 20, runs.StateFailed: 4, runs.StateInvalid: 1, runs.StateMissing: 11, runs.StateSkipped: 3, runs.StatePending: 1}), InAll: tally(nil)},
		},
		Unmeasured: []statement.Entry{
			{Region: "eu-central", Network: "3g-lossy", Slot: midnight, Last: &last, Count: 10, State: runs.StateMissing, Reason: runs.ReasonNoProbe, Why: "no_probe"},
			{Region: "us", Network: "none", Slot: at.Add(-3 * time.Hour), Count: 1, State: runs.StateInvalid, Class: runs.ClassBrowserCrash, Step: "pay", Detail: "chromium ended:\x1b[2J signal: killed, " + strings.Repeat("as the kernel has it ", 6), Why: "browser_crash"},
			{Region: "us", Network: "none", Slot: at.Add(-2 * time.Hour), Last: &last, Count: 3, State: runs.StateSkipped, Reason: runs.ReasonOverlap, Why: "overlap"},
		},
		Cut:   &statement.Cut{Entries: 12, Before: at.Add(-20 * time.Hour)},
		Words: map[string]statement.Explanation{},
	}
	s.Within.Amended, s.InAll.First, s.InAll.Duplicates, s.InAll.Unscheduled = 12, &first, &three, &none
	for _, e := range s.Unmeasured {
		s.Words[e.Why] = statement.Explain(e.Why)
	}
	return s
}

func print(t *testing.T, s *statement.Statement, opts Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := PrintStatement(&out, s, opts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStatementSaysWhatBecameOfEverySlot(t *testing.T) {
	got := print(t, report(), Options{})
	for _, want := range []string{
		"Ledger of checkout", "all times in UTC", "2880 planned = 2805 passed + 40 degraded + 9 failed", "it adds up", "Nov  2 08:00:05 2026",
		"12 slots were missing or skipped at first", "3 results came again", "The oldest 12 lines", "Not measured: 14 slots",
		"Nov 20 23:00:05 Nov 21 06:00:05", "no_probe: No probe of the region", "browser_crash", "step pay: chromium ended: [2J signal", "overlap",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("statement lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("got control characters, want none without colours:\n%q", got)
	}
	if strings.Contains(got, "without a slot") {
		t.Errorf("got a line about unscheduled results, want none where there were none:\n%s", got)
	}
}

func TestStatementFitsTheTerminal(t *testing.T) {
	for _, width := range []int{0, 80, 100, 132} {
		for _, color := range []bool{false, true} {
			got := print(t, report(), Options{Color: color, Size: func() Size { return Size{Width: width, Height: 24} }})
			for _, line := range strings.Split(got, "\n") {
				if n := text.StringWidthWithoutEscSequences(line); n > max(width, 80) || width == 0 && n > 80 {
					t.Errorf("width %d: got a line of %d: %q", width, n, line)
				}
			}
			if color != strings.Contains(got, "\x1b[3") {
				t.Errorf("width %d: got colours %t, want %t", width, !color, color)
			}
		}
	}
}

func TestStatementThatDoesNotAddUp(t *testing.T) {
	s := report()
	for _, tally := range []*statement.Tally{&s.Within, &s.Rows[1].Within} {
		tally.Planned++
		tally.Balanced = false
	}
	got := strings.Join(strings.Fields(print(t, s, Options{})), " ")
	for _, want := range []string{"does NOT add up: 2881 planned, and the states come to 2880", "us, network none: planned 1441 and the states add up to 1440"} {
		if !strings.Contains(got, want) {
			t.Errorf("statement lacks %q:\n%s", want, got)
		}
	}
}

func TestStatementOfOneCombinationWithoutTrouble(t *testing.T) {
	s := report()
	s.Rows, s.Unmeasured, s.Cut, s.Words = s.Rows[:1], nil, nil, nil
	s.Within = tally(runs.StateCounts{runs.StatePassed: 5})
	got := print(t, s, Options{})
	if strings.Contains(got, "all  ") || strings.Contains(got, "Why") || !strings.Contains(got, "Every slot that is due was measured.") {
		t.Errorf("got %s\nwant no totals, no legend, and it said that all was measured", got)
	}
}
