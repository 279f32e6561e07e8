package statement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"lastmile/internal/runs"
)

// Explanation says in plain words why a slot was not measured.
type Explanation struct {
	Means string `json:"means"`
	Do    string `json:"do"`
}

// What an entry says where neither a reason nor a cause does.
const (
	whyOverdue   = "overdue"
	whyForgotten = "forgotten"
)

// Explain explains a reason, a class of invalid runs, or one of the other words in Entry.Why.
func Explain(why string) Explanation {
	if e, ok := reasonWords(runs.Reason(why)); ok {
		return e
	}
	if e, ok := classWords(runs.Class(why)); ok {
		return e
	}
	switch why {
	case whyOverdue:
		return Explanation{"No result came, and the minute has not been closed although it was due.",
			"Read the coordinator's log: it cannot write verdicts, or no coordinator leads."}
	case whyForgotten:
		return Explanation{"The run could not measure; its cause is no longer kept.", "The coordinator's log has it, under run_id."}
	case string(Unbooked):
		return Explanation{"Today's schedule has such slots in this time and the books do not: they were never planned, so they are in no count.",
			"Nothing, where the scenario's schedule, regions or networks were changed since; else a coordinator was away for more than a day."}
	}
	return Explanation{"This version does not know the word.", "Use a coordinator and a command of the same version."}
}

// reasonWords explains why a run was not ordered, or not heard of.
func reasonWords(reason runs.Reason) (Explanation, bool) {
	e, ok := map[runs.Reason]Explanation{
		runs.ReasonNoProbe: {"No probe of the region was there that could take the run.",
			"Start one, or look at /readyz and the log of those that should be there."},
		runs.ReasonExpired: {"Probes were there and none was free in time: the region is overloaded.",
			"Add a probe or raise --http-slots or --browser-slots; compare lastmile_region_demand_places with lastmile_region_places."},
		runs.ReasonLost: {"A probe took the run and never reported: it died, or its disk is gone, or its result is still on the way.",
			"Read that probe's log around the slot; when it is back it delivers what its spool holds."},
		runs.ReasonCutOff: {"The region did not reach the hub. Its probes may have measured on their own and deliver it later.",
			"Look at the network between region and hub; once it is back these slots turn into measured ones."},
		runs.ReasonCoordinatorDown: {"Nobody ordered the run: no coordinator was there.",
			"Run a second coordinator; probes with a plan bridge the gap after 30 s."},
		runs.ReasonMaintenance: {"Left out on purpose: maintenance was announced.", "Nothing."},
		runs.ReasonOverlap: {"The run before it was still going, so this one was left out.",
			"Give the schedule a longer interval, or the scenario a shorter timeout."},
	}[reason]
	return e, ok
}

// classWords explains why a run could not measure. Classes that are the service's leave a failed run, which is a measured one.
func classWords(class runs.Class) (Explanation, bool) {
	e, ok := map[runs.Class]Explanation{
		runs.ClassBrowserCrash: {"Chromium ended in mid-run.", "Look for a kernel that killed it for memory; give the machine more, or the probe fewer --browser-slots."},
		runs.ClassBrowserHang:  {"Chromium no longer answered.", "Look at the load of the probe's machine."},
		runs.ClassLinkOffProfile: {"The emulated network was not what its profile says, so its times would mislead.",
			"Look at the load of the probe's machine and at its own uplink."},
		runs.ClassOverloaded: {"The probe's machine was too busy for the run to start in time.", "Add a probe, or give it fewer --browser-slots."},
		runs.ClassProbe:      {"The probe met an error of its own.", "The detail says which; read the probe's log."},
	}[class]
	return e, ok
}

// UnknownError is a query for what the books do not have.
type UnknownError struct {
	What string   // scenario, region or network
	Got  string   //
	Near []string // the names most like it, or a few of all
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown %s: got %.100q, want %s", e.What, e.Got, e.Want())
}

// Want says what would do.
func (e *UnknownError) Want() string {
	if len(e.Near) == 0 {
		return "nothing: the books are empty"
	}
	return "such as " + strings.Join(e.Near, ", ")
}

// maxNear bounds the names that are suggested.
const maxNear = 3

// unknown makes an error that suggests what is most like the name.
func unknown(what, got string, names []string) *UnknownError {
	got = got[:min(len(got), 2*maxName)]
	slices.Sort(names)
	names = slices.Compact(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(unlike(got, a), unlike(got, b)) })
	return &UnknownError{What: what, Got: got, Near: names[:min(len(names), maxNear)]}
}

// maxName is the length of names that are compared.
const maxName = 63

// unlike is how many letters have to be changed, added or taken away to make one name of the other (Levenshtein's distance); less where
// one begins with the other.
func unlike(a, b string) int {
	if a != "" && b != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
		return 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
