package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/statement"
)

// fixedBooks are books of one combination: two passed runs, one that was lost and, where lose is set, one in no state that there is.
type fixedBooks struct {
	now  time.Time
	lose bool
}

var fixedCombination = scenario.Combination{Scenario: "checkout", Region: "eu", Network: "none"}

func (b fixedBooks) Slots(c scenario.Combination, _ time.Time) []runs.SlotRecord {
	states := []runs.State{runs.StatePassed, runs.StateMissing, runs.StatePassed}
	if b.lose {
		states = append(states, "nowhere")
	}
	var out []runs.SlotRecord
	for i, state := range states {
		slot := b.now.Add(time.Duration(i-10) * time.Minute).Truncate(time.Minute)
		r := runs.SlotRecord{RunID: runs.NewID(c, slot), Slot: slot, State: state}
		if state == runs.StateMissing {
			r.Reason = runs.ReasonLost
		}
		out = append(out, r)
	}
	return out
}

func (b fixedBooks) First(scenario.Combination) (time.Time, bool) { return b.now.Add(-time.Hour), true }

func (b fixedBooks) Accounts(time.Time) []runs.Account {
	a := runs.Account{Combination: fixedCombination, Counts: runs.StateCounts{}, Entered: runs.StateCounts{}}
	for _, r := range b.Slots(fixedCombination, time.Time{}) {
		a.Counts[r.State]++
		a.Entered[runs.StatePending]++
	}
	return []runs.Account{a}
}

// coordinatorWith answers as a coordinator with these books does, or as open says.
func coordinatorWith(t *testing.T, open func(context.Context) (statement.Source, error)) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET "+statement.Path, statement.Handler(open))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestLedgerCommand(t *testing.T) {
	books := fixedBooks{now: time.Now()}
	open := func(context.Context) (statement.Source, error) {
		return statement.Source{Books: books, Now: books.now}, nil
	}
	leader := coordinatorWith(t, open)
	standby := coordinatorWith(t, func(context.Context) (statement.Source, error) {
		return statement.Source{}, &statement.StandbyError{Leader: "10.1.2.3:9464"}
	})

	code, out, errs := clitest.Run(t, Main, "ledger", "checkout", "--since", "30m", "--coordinator", standby+","+leader)
	if code != 0 || errs != "" {
		t.Fatalf("got status %d and %s, want 0 of the one that leads", code, errs)
	}
	for _, want := range []string{"it adds up: 3 planned = 2 passed + 1 missing", "Not measured: 1 slot", "missing lost", "lost: A probe took the run"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("got colours although this is no terminal:\n%q", out)
	}

	code, out, _ = clitest.Run(t, Main, "ledger", "checkout", "--output", "json", "--region", "eu", "--coordinator", leader)
	var s statement.Statement
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s.Within.Planned != 3 || len(s.Unmeasured) != 1 || s.Unmeasured[0].Reason != runs.ReasonLost {
		t.Errorf("got status %d, %v, %s; want the statement as JSON", code, err, out)
	}

	books.lose = true
	if code, out, errs = clitest.Run(t, Main, "ledger", "checkout", "--coordinator", leader); code != cli.ExitFailed || errs != "" || !strings.Contains(out, "does NOT add up") {
		t.Errorf("books that do not add up: got status %d, %s, %s; want %d and it said", code, out, errs, cli.ExitFailed)
	}
}

func TestLedgerCommandSaysWhatIsWrong(t *testing.T) {
	books := fixedBooks{now: time.Now()}
	leader := coordinatorWith(t, func(context.Context) (statement.Source, error) {
		return statement.Source{Books: books, Now: books.now}, nil
	})
	standby := coordinatorWith(t, func(context.Context) (statement.Source, error) {
		return statement.Source{}, &statement.StandbyError{Leader: "10.1.2.3:9464"}
	})
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"chekcout", "--coordinator", leader}, cli.ExitUsage, `unknown scenario: got "chekcout", want such as checkout`},
		{[]string{"checkout", "--region", "us", "--coordinator", leader}, cli.ExitUsage, `unknown region: got "us", want such as eu`},
		{[]string{"checkout", "--since", "4d", "--coordinator", leader}, cli.ExitUsage, "--since: got 4d, want at most 3d"},
		{[]string{"checkout", "--since", "24", "--coordinator", leader}, cli.ExitUsage, "want a whole number and m, h or d"},
		{[]string{"checkout", "--limit", "0", "--coordinator", leader}, cli.ExitUsage, "--limit: got 0, want 1 to 20000"},
		{[]string{"checkout", "--coordinator", standby}, cli.ExitInvalid, "this coordinator stands by: ask 10.1.2.3:9464"},
		{[]string{"checkout", "--coordinator", "http://127.0.0.1:1"}, cli.ExitInvalid, "ask coordinator"},
	} {
		code, out, errs := clitest.Run(t, Main, append([]string{"ledger"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("%v: got status %d, %q, %q; want %d and %q", c.args, code, out, errs, c.code, c.want)
		}
	}
}
