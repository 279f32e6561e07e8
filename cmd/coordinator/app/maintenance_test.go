package app

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/audit"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
)

// plannedHub is a hub on which api and shop are planned in us, and shop in eu.
func plannedHub(t *testing.T) (address string, hub *bus.Bus) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server := startHub(t)
	hub, err := bus.Connect(t.Context(), log, bus.Options{Server: server, Name: "coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	if err := hub.EnsureStreams(t.Context(), []string{"us", "eu"}); err != nil {
		t.Fatal(err)
	}
	for region, first := range map[string]map[string]int64{"us": {"api.none": 1, "shop.3g": 1}, "eu": {"shop.3g": 1}} {
		if _, err := hub.SaveBegun(t.Context(), notes.Begun{Schema: runs.Schema, Region: region, First: first}, 0); err != nil {
			t.Fatal(err)
		}
	}
	return server.URL(), hub
}

// maintenance runs the command, and reads what it prints as JSON into v.
func maintenance(t *testing.T, address string, v any, args ...string) {
	t.Helper()
	args = append(args, "--nats", address, "--output", "json")
	code, out, errs := clitest.Run(t, Main, args...)
	if code != 0 || errs != "" {
		t.Fatalf("%v: got status %d, %s%s", args, code, out, errs)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("%v: got %q: %v", args, out, err)
	}
}

// A window is announced, listed, and ended; and the trail says who did what.
func TestMaintenance(t *testing.T) {
	address, hub := plannedHub(t)
	began := time.Now().Truncate(time.Second)
	if code, out, errs := clitest.Run(t, Main, "maintenance", "list", "--nats", address); code != 0 || out != "no maintenance\n" {
		t.Errorf("nothing there: got status %d, %q, %q", code, out, errs)
	}
	var added, later listed
	maintenance(t, address, &added, "maintenance", "add", "--scenario", "api", "--region", "us", "--for", "2h", "--why", "database moves", "--by", "ana")
	if added.State != "open" || added.From.Before(began) || added.To.Sub(added.From) != 2*time.Hour || added.By != "ana" {
		t.Fatalf("got %+v, want a window of two hours from now", added)
	}
	open := added.ID
	from := began.Add(24 * time.Hour).UTC()
	maintenance(t, address, &later, "maintenance", "add", "--from", from.Format(time.RFC3339), "--to", from.Add(time.Hour).Format("2006-01-02T15:04:05Z07:00"), "--why", "everything", "--by", "ben")
	planned := later.ID
	if later.State != "planned" || !later.From.Equal(from) || later.Scenario+later.Region != "" {
		t.Fatalf("got %+v, want one of an hour tomorrow, of everything", later)
	}
	code, out, errs := clitest.Run(t, Main, "maintenance", "list", "--nats", address)
	if lines := strings.Split(out, "\n"); code != 0 || len(lines) != 4 || !strings.Contains(lines[1], open) || !strings.Contains(lines[1], "database moves") ||
		!strings.Contains(lines[2], planned+"  planned  "+from.Format(time.RFC3339)) || !strings.Contains(lines[2], "  all       all     ben  everything") {
		t.Errorf("got status %d, %s, %s, want both windows", code, out, errs)
	}

	var ended runs.Maintenance
	maintenance(t, address, &ended, "maintenance", "end", open, "--by", "cleo")
	if left := time.Until(ended.To); ended.ID != open || left > notice || ended.To.Before(began) || !ended.To.After(ended.From) {
		t.Errorf("got %+v, want it ended within %s", ended, notice)
	}
	if code, out, errs := clitest.Run(t, Main, "maintenance", "end", planned, "--nats", address); code != 0 || out != planned+" is dropped: it had not begun\n" {
		t.Errorf("got status %d, %q, %q, want it dropped", code, out, errs)
	}
	list, _, err := hub.Maintenance(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != open || !list[0].To.Equal(ended.To) || list[0].Why != "database moves" {
		t.Errorf("got %+v, %v at the hub, want the one that was ended", list, err)
	}

	var trail []audit.Record
	maintenance(t, address, &trail, "audit")
	var got []string
	for _, r := range trail {
		got = append(got, strings.TrimSpace(r.By+" "+r.Action+" "+strings.NewReplacer(open, "open", planned, "planned").Replace(r.ID)+" "+r.Failed))
	}
	if want := "ana add open, ben add planned, cleo end open, " + whoami() + " end planned"; strings.Join(got, ", ") != want {
		t.Errorf("got %q in the trail, want %q", strings.Join(got, ", "), want)
	}
	var detail runs.Maintenance
	if err := json.Unmarshal(trail[2].Detail, &detail); err != nil || !detail.To.Equal(ended.To) {
		t.Errorf("got detail %s, want the window as it was to be", trail[2].Detail)
	}
	code, out, errs = clitest.Run(t, Main, "audit", "--nats", address, "--limit", "2", "--since", began.Add(-time.Hour).UTC().Format("2006-01-02T15:04Z"))
	if lines := strings.Split(out, "\n"); code != 0 || len(lines) != 4 || !strings.HasPrefix(lines[0], "STORED") || !strings.Contains(lines[1], "cleo") || !strings.Contains(lines[1], "maintenance end") {
		t.Errorf("got status %d, %s, %s, want the last two entries", code, out, errs)
	}
}

// What cannot be is said, and neither changes anything nor goes into the trail.
func TestMaintenanceErrors(t *testing.T) {
	address, hub := plannedHub(t)
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	var done listed
	maintenance(t, address, &done, "maintenance", "add", "--for", "30m", "--why", "x", "--unplanned", "--region", "new")
	maintenance(t, address, new(runs.Maintenance), "maintenance", "end", done.ID)
	for name, tc := range map[string]struct {
		args string
		code int
		want string
	}{
		"no end":          {"add --why x", 2, "want --to or --for"},
		"two ends":        {"add --why x --for 1h --to " + tomorrow, 2, "--to"},
		"no why":          {"add --for 1h", 2, "--why"},
		"no words":        {"add --for 1h --why=", 2, "got why"},
		"no time":         {"add --why x --from tomorrow --for 1h", 2, `got "tomorrow", want a time such as`},
		"in the past":     {"add --why x --from 2026-01-01T00:00Z --for 1h", 2, "which is past"},
		"backwards":       {"add --why x --from " + tomorrow + " --to 2026-01-01", 2, "when it begins"},
		"for ever":        {"add --why x --to 2099-01-01", 2, "want at most 2160h0m0s"},
		"no such region":  {"add --why x --for 1h --region us-east", 2, "--region: got \"us-east\", want one of which something is planned: eu, us"},
		"not there":       {"add --why x --for 1h --region eu --scenario api", 2, "--scenario: got \"api\", want one of which something is planned: shop"},
		"no such journey": {"add --why x --for 1h --scenario chekout", 2, "planned: api, shop"},
		"no label":        {"add --why x --for 1h --scenario a.b --unplanned", 2, "got scenario"},
		"no such window":  {"end m-nothing", 2, "want the id of a window"},
		"ended before":    {"end " + done.ID, 2, "ended at"},
	} {
		code, out, errs := clitest.Run(t, Main, append([]string{"maintenance"}, append(strings.Fields(tc.args), "--nats", address)...)...)
		if code != tc.code || out != "" || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: got status %d, %q, %q; want %d and %q", name, code, out, errs, tc.code, tc.want)
		}
	}
	if code, _, errs := clitest.Run(t, Main, "audit", "--nats", address, "--limit", "0"); code != 2 || !strings.Contains(errs, "--limit: got 0") {
		t.Errorf("no entries: got status %d, %q", code, errs)
	}
	list, _, err := hub.Maintenance(t.Context())
	trail, _, readErr := hub.Audit().Read(t.Context(), time.Unix(1, 0), 100)
	if err != nil || readErr != nil || len(list) != 1 || len(trail) != 2 {
		t.Errorf("got %d windows and %d entries in the trail (%v, %v), want the one, added and ended", len(list), len(trail), err, readErr)
	}
}

// Several people at once: every window is there, and every change is in the trail.
func TestMaintenanceByManyAtOnce(t *testing.T) {
	address, hub := plannedHub(t)
	const people = 6
	var all sync.WaitGroup
	for range people {
		all.Go(func() {
			code, _, errs := clitest.Run(t, Main, "maintenance", "add", "--for", "1h", "--why", "x", "--nats", address)
			if code != 0 {
				t.Errorf("got status %d, %s", code, errs)
			}
		})
	}
	all.Wait()
	list, _, err := hub.Maintenance(t.Context())
	trail, _, readErr := hub.Audit().Read(t.Context(), time.Unix(1, 0), 100)
	if err != nil || readErr != nil || len(list) != people || len(trail) != people {
		t.Errorf("got %d windows and %d entries (%v, %v), want %d of each", len(list), len(trail), err, readErr, people)
	}
}

// A hub without streams is one whose coordinator has never run, or is older: nothing is changed without the trail.
func TestMaintenanceOfAnEmptyHub(t *testing.T) {
	server := startHub(t)
	for _, args := range [][]string{{"maintenance", "list"}, {"maintenance", "add", "--why", "x", "--for", "1h", "--unplanned"}, {"maintenance", "end", "m-1"}, {"audit"}} {
		code, out, errs := clitest.Run(t, Main, append(args, "--nats", server.URL())...)
		if code != 1 || out != "" || !strings.Contains(errs, "not found") {
			t.Errorf("%v: got status %d, %q, %q, want what is not there", args, code, out, errs)
		}
	}
}
