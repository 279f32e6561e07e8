package statement

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

var now = time.Date(2026, 11, 21, 8, 0, 30, 0, time.UTC)

// fakeBooks are books with fixed slots.
type fakeBooks map[scenario.Combination][]runs.SlotRecord

func (b fakeBooks) Accounts(time.Time) []runs.Account {
	var out []runs.Account
	for c, records := range b {
		a := runs.Account{Combination: c, Counts: runs.StateCounts{}, Entered: runs.StateCounts{}, Reasons: map[runs.Reason]int64{}, Duplicates: 2, Unscheduled: 1}
		for _, r := range records {
			a.Counts[r.State]++
			a.Entered[runs.StatePending]++
			if r.Reason != "" {
				a.Reasons[r.Reason]++
			}
			if r.Amended {
				a.Amended++
			}
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b runs.Account) int {
		return strings.Compare(a.Scenario+a.Region+a.Network, b.Scenario+b.Region+b.Network)
	})
	return out
}

func (b fakeBooks) Slots(c scenario.Combination, since time.Time) []runs.SlotRecord {
	return slices.DeleteFunc(slices.Clone(b[c]), func(r runs.SlotRecord) bool { return r.Slot.Before(since) })
}

func (b fakeBooks) First(c scenario.Combination) (time.Time, bool) {
	if len(b[c]) == 0 {
		return time.Time{}, false
	}
	return b[c][0].Slot, true
}

var eu, us = scenario.Combination{Scenario: "checkout", Region: "eu", Network: "none"}, scenario.Combination{Scenario: "checkout", Region: "us", Network: "none"}

// checkout runs every minute in two regions; its slots are at different seconds of the minute.
func checkout(t testing.TB) scenario.Scenario {
	t.Helper()
	every, err := scenario.ParseSchedule("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	return scenario.Scenario{Name: "checkout", Schedule: every, Timeout: scenario.Duration(30 * time.Second), Regions: scenario.Strings{"eu", "us"}}
}

// minutes are the slots of the last n minutes, passed, but for those that change says.
func minutes(t testing.TB, c scenario.Combination, n int, change map[int]runs.SlotRecord) []runs.SlotRecord {
	t.Helper()
	s := checkout(t)
	slots := s.Timetable().Slots(c, now.Add(-time.Duration(n)*time.Minute), now, n)
	out := make([]runs.SlotRecord, len(slots))
	for i, slot := range slots {
		out[i] = change[i]
		if out[i].State == "" {
			out[i].State = runs.StatePassed
		}
		out[i].Slot, out[i].RunID = slot, runs.NewID(c, slot)
	}
	return out
}

func missing(reason runs.Reason) runs.SlotRecord {
	return runs.SlotRecord{State: runs.StateMissing, Reason: reason}
}

// fixed are books of an hour in which something of everything happened in eu, and nothing in us.
func fixed(t testing.TB) Source {
	t.Helper()
	crash := runs.SlotRecord{State: runs.StateInvalid, Cause: &runs.Cause{Class: runs.ClassBrowserCrash, Step: "pay", Detail: "chromium: signal: killed"}}
	records := minutes(t, eu, 60, map[int]runs.SlotRecord{
		5: missing(runs.ReasonNoProbe), 6: missing(runs.ReasonNoProbe), 7: missing(runs.ReasonNoProbe), 8: missing(runs.ReasonLost), 9: missing(runs.ReasonNoProbe),
		11: missing(runs.ReasonNoProbe), 20: crash, 25: {State: runs.StateSkipped, Reason: runs.ReasonOverlap}, 30: {State: runs.StateFailed, Cause: &runs.Cause{Class: runs.ClassTimeout}},
		31: {State: runs.StatePassed, Amended: true}, 32: {State: runs.StateDegraded}, 33: {State: runs.StateInvalid}, 40: {State: runs.StatePending}, 59: {State: runs.StatePending},
	})
	return Source{Books: fakeBooks{eu: records, us: minutes(t, us, 60, nil)}, Scenarios: []scenario.Scenario{checkout(t)}, Grace: 30 * time.Second, Now: now}
}

func query() Query {
	return Query{Scenario: "checkout", Since: slo.Window(time.Hour), Fold: true, Limit: DefaultLimit}
}

// whys are the entries in short.
func whys(s *Statement) (out []string) {
	for _, e := range s.Unmeasured {
		for range e.Count - 1 {
			out = append(out, "+")
		}
		out = append(out, e.Region+" "+string(e.State)+" "+e.Why)
	}
	return out
}

func TestDrawAccountsForEverySlot(t *testing.T) {
	s, err := Draw(fixed(t), query())
	if err != nil {
		t.Fatal(err)
	}
	if s.Within.Planned != 120 || s.Within.Sum != 120 || !s.Within.Balanced || s.InAll.Planned != 120 || !s.InAll.Balanced || len(s.Rows) != 2 {
		t.Errorf("got %+v in %d rows, want 120 = 120 in two", s.Within, len(s.Rows))
	}
	in := s.Rows[0].Within
	want := runs.StateCounts{runs.StatePassed: 47, runs.StateDegraded: 1, runs.StateFailed: 1, runs.StateInvalid: 2, runs.StateMissing: 6, runs.StateSkipped: 1, runs.StatePending: 2}
	if !reflect.DeepEqual(in.States, want) || in.Amended != 1 || in.Reasons[runs.ReasonNoProbe] != 5 || in.Unbooked != 0 {
		t.Errorf("got %+v, want %v, 1 amended, 5 no_probe", in, want)
	}
	if *s.InAll.Duplicates != 4 || *s.InAll.Unscheduled != 2 {
		t.Errorf("got %d duplicates and %d unscheduled, want 4 and 2", *s.InAll.Duplicates, *s.InAll.Unscheduled)
	}
	if s.Within.First == nil || s.Within.Last == nil || !s.Within.Last.After(now.Add(-time.Minute)) {
		t.Errorf("got slots from %v to %v, want to the last minute", s.Within.First, s.Within.Last)
	}
	wanted := []string{"+", "+", "eu missing no_probe", "eu missing lost", "eu missing no_probe", "eu missing no_probe", "eu invalid browser_crash",
		"eu skipped overlap", "eu invalid forgotten", "eu pending overdue"}
	if got := whys(&s); !slices.Equal(got, wanted) {
		t.Errorf("got entries %q,\nwant %q: three in a row are one, and what is pending but not overdue is none", got, wanted)
	}
	if e := s.Unmeasured[4]; e.Step != "pay" || e.Detail == "" {
		t.Errorf("got %+v, want the step and the detail of a crash", e)
	}
	for _, e := range s.Unmeasured {
		if s.Words[e.Why].Means == "" || s.Words[e.Why].Do == "" {
			t.Errorf("%s: got no explanation", e.Why)
		}
	}
}

func TestAllShowsEachSlot(t *testing.T) {
	q := query()
	q.Fold = false
	s, err := Draw(fixed(t), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Unmeasured) != 10 {
		t.Errorf("got %q, want the ten slots each by itself", whys(&s))
	}
	for _, e := range s.Unmeasured {
		if e.Count != 1 || e.Last != nil {
			t.Errorf("got %+v, want one slot", e)
		}
	}
}

// TestBooksThatDoNotAddUp are found out, in the window and in all.
func TestBooksThatDoNotAddUp(t *testing.T) {
	source := fixed(t)
	source.Books.(fakeBooks)[us][3].State = "lost-from-sight"
	s, err := Draw(source, query())
	if err != nil {
		t.Fatal(err)
	}
	if s.Within.Balanced || s.InAll.Balanced || s.Rows[1].Within.Balanced || !s.Rows[0].Within.Balanced {
		t.Errorf("got balances %t, %t, want it said that us does not add up", s.Within.Balanced, s.InAll.Balanced)
	}
	if s.Within.Planned != 120 || s.Within.Sum != 119 {
		t.Errorf("got %d planned and a sum of %d, want 120 and 119", s.Within.Planned, s.Within.Sum)
	}
}

// TestSlotsThatWereNeverEntered are in the schedule and not in the books.
func TestSlotsThatWereNeverEntered(t *testing.T) {
	source := fixed(t)
	books := source.Books.(fakeBooks)
	books[us] = slices.Delete(books[us], 10, 14)
	s, err := Draw(source, query())
	if err != nil {
		t.Fatal(err)
	}
	if s.Within.Unbooked != 4 || s.Rows[1].Within.Planned != 56 || !s.Within.Balanced {
		t.Errorf("got %+v, want 4 that are not in the books, beside the sum", s.Rows[1].Within)
	}
	i := slices.IndexFunc(s.Unmeasured, func(e Entry) bool { return e.State == Unbooked })
	if i < 0 || s.Unmeasured[i].Count != 4 || s.Unmeasured[i].Region != "us" {
		t.Errorf("got %q, want one entry for the four", whys(&s))
	}
	often, err := scenario.ParseSchedule("@every 10s")
	if err != nil {
		t.Fatal(err)
	}
	source.Scenarios[0].Schedule = often // it was changed: what lies between the slots of an hour is one entry each, and drowns nothing
	q := query()
	q.Fold = false
	if s, err = Draw(source, q); err != nil || s.Within.Unbooked < 500 || len(s.Unmeasured) != 12 {
		t.Errorf("got %d slots out of the books in %d entries, %v, want some 600 in one for each region", s.Within.Unbooked, len(s.Unmeasured), err)
	}
	source.Scenarios = nil // it is no longer defined: there is no schedule to hold the books against
	if s, err = Draw(source, query()); err != nil || s.Within.Unbooked != 0 {
		t.Errorf("got %d, %v, want none without a schedule", s.Within.Unbooked, err)
	}
}

// Single slots leave the books after a while, also while a statement of that while is drawn.
func TestSlotsThatHaveJustLeftTheBooks(t *testing.T) {
	source := fixed(t)
	books := source.Books.(fakeBooks)
	books[us] = minutes(t, us, 72*60, nil)
	records := books[us]
	source.Books = leaving{books, records[0].Slot.Add(time.Second)}
	source.Now = records[0].Slot.Add(time.Duration(Longest) + time.Second/2)
	q := query()
	q.Since, q.Region = Longest, "us"
	if s, err := Draw(source, q); err != nil || s.Within.Unbooked != 0 || s.Within.Planned != 72*60-1 {
		t.Errorf("got %+v, %v, want all slots but the one that has left, and none that was never there", s.Within, err)
	}
}

// leaving are books out of which the slots before a time have gone.
type leaving struct {
	fakeBooks
	before time.Time
}

func (b leaving) Slots(c scenario.Combination, since time.Time) []runs.SlotRecord {
	if since.Before(b.before) {
		since = b.before
	}
	return b.fakeBooks.Slots(c, since)
}

func (b leaving) First(c scenario.Combination) (time.Time, bool) {
	return b.before.Add(-time.Hour), true
}

func TestLimitKeepsTheNewest(t *testing.T) {
	all := map[int]runs.SlotRecord{}
	for i := range 600 {
		all[i] = missing(runs.ReasonNoProbe)
	}
	source := Source{Books: fakeBooks{eu: minutes(t, eu, 600, all), us: minutes(t, us, 600, all)}, Scenarios: []scenario.Scenario{checkout(t)}, Now: now}
	q := Query{Scenario: "checkout", Since: slo.Window(24 * time.Hour), Limit: 7}
	s, err := Draw(source, q)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Unmeasured) != 7 || s.Cut == nil || s.Cut.Entries != 1193 || s.Within.States[runs.StateMissing] != 1200 {
		t.Fatalf("got %d entries, cut %+v, want 7 of 1200 and all of them counted", len(s.Unmeasured), s.Cut)
	}
	if !s.Unmeasured[0].Slot.After(s.Cut.Before.Add(-time.Nanosecond)) || s.Unmeasured[6].Slot.Before(now.Add(-time.Minute)) {
		t.Errorf("got slots from %s to %s, cut up to %s, want the newest", s.Unmeasured[0].Slot, s.Unmeasured[6].Slot, s.Cut.Before)
	}
	q.Fold = true
	if s, err = Draw(source, q); err != nil || len(s.Unmeasured) != 2 || s.Unmeasured[0].Count != 600 || s.Cut != nil {
		t.Errorf("got %q, %v, want one entry for each region", whys(&s)[:10], err)
	}
}

func TestUnknownNamesSuggestKnownOnes(t *testing.T) {
	source := fixed(t)
	source.Books.(fakeBooks)[scenario.Combination{Scenario: "search", Region: "apac", Network: "4g"}] = nil
	for _, c := range []struct {
		change func(*Query)
		want   string
	}{
		{func(q *Query) { q.Scenario = "chekout" }, `unknown scenario: got "chekout", want such as checkout, search`},
		{func(q *Query) { q.Region = "eu-central" }, `unknown region: got "eu-central", want such as eu, us`},
		{func(q *Query) { q.Network = "3g" }, `unknown network: got "3g", want such as none`},
	} {
		q := query()
		c.change(&q)
		_, err := Draw(source, q)
		var unknown *UnknownError
		if !errors.As(err, &unknown) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if _, err := Draw(Source{Books: fakeBooks{}}, query()); err == nil || !strings.Contains(err.Error(), "the books are empty") {
		t.Errorf("got %v, want it said that the books are empty", err)
	}
}

// TestEveryWordIsExplained holds the words against what there is to explain.
func TestEveryWordIsExplained(t *testing.T) {
	nothing := Explain("no such word")
	for _, reason := range runs.Reasons() {
		if Explain(string(reason)) == nothing {
			t.Errorf("reason %s: got no explanation", reason)
		}
	}
	for _, class := range []runs.Class{runs.ClassBrowserCrash, runs.ClassBrowserHang, runs.ClassLinkOffProfile, runs.ClassOverloaded, runs.ClassProbe} {
		if Explain(string(class)) == nothing {
			t.Errorf("class %s: got no explanation", class)
		}
	}
}

func TestUnlike(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"checkout", "checkout", 1}, {"check", "checkout", 1}, {"chekcout", "checkout", 2}} {
		if got := unlike(c.a, c.b); got != c.want {
			t.Errorf("unlike(%q, %q): got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// serve answers on a loopback address until the test ends.
func serve(t *testing.T, open func(context.Context) (Source, error)) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, Handler(open))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestAskOverHTTP(t *testing.T) {
	source := fixed(t)
	server := serve(t, func(context.Context) (Source, error) { return source, nil })
	q := query()
	q.Region, q.Network, q.Since = "eu", "none", slo.Window(72*time.Hour)
	got, err := Ask(t.Context(), server.Client(), strings.TrimPrefix(server.URL, "http://")+"/", q)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Draw(source, q)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 1 || got.Within.Planned != 60 || !reflect.DeepEqual(got.Rows, want.Rows) {
		t.Errorf("got %+v,\nwant %+v", got.Rows, want.Rows)
	}
}

func TestRefusals(t *testing.T) {
	source := fixed(t)
	var refuse error
	server := serve(t, func(context.Context) (Source, error) { return source, refuse })
	for _, c := range []struct {
		query, err string
		status     int
		refuse     error
		want       problem
	}{
		{query: "", status: 400, want: problem{Error: `scenario: got "", want a name`, Want: "a name"}},
		{query: "scenario=a/b", status: 400, want: problem{Error: `scenario: got "a/b", want a name`, Got: "a/b", Want: "a name"}},
		{query: "scenario=a&scenario=b", status: 400, want: problem{Error: `scenario: got "a, b", want one value`, Got: "a, b", Want: "one value"}},
		{query: "scenario=a&after=1h", status: 400, want: problem{Error: `parameter: got "after", want one of scenario, region, network, since, fold, limit`, Got: "after", Want: "one of scenario, region, network, since, fold, limit"}},
		{query: "scenario=a&since=4d", status: 400, want: problem{Error: `since: got "4d", want 1m to 3d, such as 30m, 24h, 3d: single slots are kept that long`, Got: "4d", Want: "1m to 3d, such as 30m, 24h, 3d: single slots are kept that long"}},
		{query: "scenario=a&limit=0", status: 400, want: problem{Error: `limit: got "0", want 1 to 20000`, Got: "0", Want: "1 to 20000"}},
		{query: "scenario=a&fold=yes", status: 400, want: problem{Error: `fold: got "yes", want true or false`, Got: "yes", Want: "true or false"}},
		{query: "scenario=chekout", status: 404, want: problem{Error: `unknown scenario: got "chekout", want such as checkout`, Got: "chekout", Want: "such as checkout"}},
		{query: "scenario=checkout", status: 503, refuse: &StandbyError{Leader: "b at 10.0.0.2:9464"}, want: problem{Error: "this coordinator stands by: ask b at 10.0.0.2:9464", Leader: "b at 10.0.0.2:9464"}},
		{query: "scenario=checkout", status: 503, refuse: &StandbyError{}, want: problem{Error: "this coordinator stands by, and does not know of one that leads"}},
		{query: "scenario=checkout", status: 503, refuse: errors.New("not yet"), want: problem{Error: "not yet"}},
	} {
		refuse = c.refuse
		resp, err := server.Client().Get(server.URL + Path + "?" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		var got problem
		err = json.NewDecoder(resp.Body).Decode(&got)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || got != c.want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %+v, %v,\nwant %d %+v", c.query, resp.StatusCode, got, err, c.status, c.want)
		}
	}
}

func TestAskSaysWhatCameInstead(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{200, "lastmile_up 1", "want a statement"},
		{200, `{"scenario":"other"}`, `got scenario "other", want "checkout"`},
		{404, "404 page not found", "got status 404 from"},
		{503, `{"error":"this coordinator stands by: ask b"}`, "this coordinator stands by: ask b"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		_, err := Ask(t.Context(), server.Client(), server.URL, query())
		server.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("status %d, %s: got %v, want %q in it", c.status, c.body, err, c.want)
		}
	}
	for _, address := range []string{"", "127.0.0.1:port", "ftp://a", "http://", "http://a b"} {
		if _, err := Ask(t.Context(), http.DefaultClient, address, query()); err == nil || !strings.Contains(err.Error(), "want one such as") {
			t.Errorf("address %q: got %v, want it said what is wanted", address, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(gone, http.DefaultClient, "http://127.0.0.1:1", query()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

// FuzzParse reads what anybody may send: what is taken is within bounds, and reads back as itself.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"scenario=checkout", "scenario=a&since=3d&limit=20000&fold=true&region=eu&network=4g", "since=%zz", "limit=-1&scenario=x", "scenario=%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := parse(values)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("got an error of %d bytes, want fewer", len(err.Error()))
			}
			return
		}
		if !scenario.ValidName(q.Scenario) || q.Since <= 0 || q.Since > Longest || q.Limit < 1 || q.Limit > MaxLimit {
			t.Errorf("got %+v, want it within bounds", q)
		}
		again, err := parse(q.values())
		if err != nil || again != q {
			t.Errorf("got %+v, %v, want %+v", again, err, q)
		}
	})
}
