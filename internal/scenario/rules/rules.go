package rules

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Problem is one thing wrong with a scenario. Path leads to it from the top of the document by keys and list indices; it may
// lead to a key that is absent.
type Problem struct {
	Path  []string
	Got   string
	Want  string
	OneOf []string // what Want lists, where it is a list of names
}

// Error implements error.
func (p Problem) Error() string {
	return fmt.Sprintf("%s: got %s, want %s", strings.Join(p.Path, "."), p.Got, p.Want)
}

const (
	maxSteps       = 200
	maxSLOs        = 20
	maxAlertLabels = 10
	absent         = "nothing"
	wantLabel      = "a DNS label: 1 to 63 characters of a-z, 0-9 and -, not at either end"
	maxTimeout     = 10 * 60 // seconds
	wantTimeout    = "a timeout from 1s to 10m"
)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Check returns everything that is wrong with the scenario, in the order of the document.
func Check(s *scenario.Scenario, fleet scenario.Fleet) []Problem {
	v := &validator{scenario: s, fleet: fleet}
	v.head()
	v.schedule()
	v.places()
	v.variables()
	v.steps()
	v.routing()
	v.slos()
	v.alerts()
	return v.problems
}

// validator collects problems; used marks the secrets that something refers to.
type validator struct {
	scenario *scenario.Scenario
	fleet    scenario.Fleet
	problems []Problem
	used     map[string]bool
	private  map[string]bool // names of variables that may be secrets
}

func (v *validator) add(got, want string, path ...string) {
	v.problems = append(v.problems, Problem{Path: path, Got: got, Want: want})
}

// oneOf adds a problem unless got is among the allowed values.
func (v *validator) oneOf(got string, allowed []string, path ...string) {
	if slices.Contains(allowed, got) {
		return
	}
	shown := absent
	if got != "" {
		shown = strconv.Quote(got)
	}
	v.problems = append(v.problems, Problem{Path: path, Got: shown, Want: "one of " + strings.Join(allowed, ", "), OneOf: allowed})
}

func (v *validator) head() {
	s := v.scenario
	v.oneOf(s.APIVersion, []string{scenario.APIVersion}, "apiVersion")
	if !scenario.ValidName(s.Name) {
		v.add(strconv.Quote(s.Name), wantLabel, "scenario")
	}
	if s.Kind != "" {
		v.oneOf(string(s.Kind), names(scenario.Kinds()), "kind")
	}
	if s.Engine != "" {
		v.oneOf(string(s.Engine), []string{string(scenario.EngineShell), string(scenario.EngineFull)}, "engine")
	}
	if s.Device != "" {
		v.oneOf(s.Device, scenario.Devices(), "device")
	}
	v.surroundings()
	v.artefacts()
}

// localeTag is the form of a BCP 47 tag with a language, a script and a region.
var localeTag = regexp.MustCompile(`^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$`)

// surroundings checks where the browser is to think that it is.
func (v *validator) surroundings() {
	s := v.scenario
	if s.Locale != "" && !localeTag.MatchString(s.Locale) {
		v.add(strconv.Quote(s.Locale), "a language tag such as de, de-CH or zh-Hant-TW", "locale")
	}
	if s.Timezone != "" {
		if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
			v.add(strconv.Quote(s.Timezone), "the IANA name of a time zone, such as Europe/Zurich", "timezone")
		}
	}
	if g := s.Geolocation; g != nil && !(math.Abs(g.Latitude) <= 90 && math.Abs(g.Longitude) <= 180 && g.Accuracy >= 0) {
		v.add(fmt.Sprintf("latitude %v, longitude %v, accuracy %v", g.Latitude, g.Longitude, g.Accuracy),
			"a latitude from -90 to 90, a longitude from -180 to 180, an accuracy in metres", "geolocation")
	}
}

func (v *validator) artefacts() {
	a := v.scenario.Artefacts
	all := []string{string(scenario.WhenFailed), string(scenario.WhenAlways), string(scenario.WhenNever), string(scenario.WhenConfirming)}
	for _, kind := range []struct {
		key  string
		when scenario.When
	}{{"screenshot", a.Screenshot}, {"har", a.HAR}, {"filmstrip", a.Filmstrip}} {
		if kind.when != "" {
			v.oneOf(string(kind.when), all, "artefacts", kind.key)
		}
	}
	for i, selector := range a.Mask {
		v.ours(selector, "artefacts", "mask", strconv.Itoa(i))
	}
}

func (v *validator) schedule() {
	s := v.scenario
	if s.Schedule.IsZero() {
		v.add(absent, scenario.WantSchedule, "schedule")
	}
	seconds := s.Timeout.D().Seconds()
	if seconds < 1 || seconds > maxTimeout {
		got := absent
		if s.Timeout != 0 {
			got = s.Timeout.String()
		}
		v.add(got, wantTimeout, "timeout")
		return
	}
	if s.StepTimeout > s.Timeout {
		v.add(s.StepTimeout.String(), "at most the scenario's timeout, "+s.Timeout.String(), "stepTimeout")
	}
	if period := s.Schedule.Period(); period > 0 && s.Timeout.D() > period {
		v.add(s.Timeout.String(), "at most the schedule's period, "+scenario.Duration(period).String()+": a run must end before the next is due", "timeout")
	}
}

func (v *validator) places() {
	s := v.scenario
	if len(s.Regions) == 0 {
		v.add(absent, "at least one region, or all", "regions")
	}
	if slices.Contains(s.Regions, scenario.AllRegions) && len(s.Regions) > 1 {
		v.add("all beside other regions", "either all or a list", "regions")
	}
	for i, region := range s.Regions {
		if region != scenario.AllRegions {
			v.oneOf(region, v.fleet.Regions, "regions", strconv.Itoa(i))
		}
		if slices.Contains(s.Regions[:i], region) {
			v.add(strconv.Quote(region)+" twice", "each region once", "regions", strconv.Itoa(i))
		}
	}
	networks := v.fleet.Networks.Names()
	for i, network := range s.Networks {
		v.oneOf(network, networks, "networks", strconv.Itoa(i))
		if slices.Contains(s.Networks[:i], network) {
			v.add(strconv.Quote(network)+" twice", "each network once", "networks", strconv.Itoa(i))
		}
	}
	for i, host := range s.AllowHosts {
		if host == "" || strings.ContainsAny(host, "/: ") {
			v.add(strconv.Quote(host), "a host name without scheme or port, such as shop.example.com or *.example.com", "allowHosts", strconv.Itoa(i))
		}
	}
}

func (v *validator) variables() {
	s := v.scenario
	for _, name := range sortedKeys(s.Vars) {
		if !identifier.MatchString(name) {
			v.add(strconv.Quote(name), "a name of letters, digits and _", "vars", name)
		}
		if strings.Contains(string(s.Vars[name]), "${") {
			v.add(strconv.Quote(string(s.Vars[name])), "a plain value: variables do not refer to one another", "vars", name)
		}
	}
	for _, region := range sortedKeys(s.RegionVars) {
		v.oneOf(region, v.fleet.Regions, "regionVars", region)
		for _, name := range sortedKeys(s.RegionVars[region]) {
			if _, ok := s.Vars[name]; !ok {
				v.add(strconv.Quote(name), "a name that vars defines too, so that every region has a value", "regionVars", region, name)
			}
		}
	}
	for i, name := range s.Secrets {
		if !identifier.MatchString(name) {
			v.add(strconv.Quote(name), "the name of a secret: letters, digits and _", "secrets", strconv.Itoa(i))
		}
	}
}

func (v *validator) steps() {
	s := v.scenario
	if len(s.Steps) == 0 || len(s.Steps) > maxSteps {
		v.add(fmt.Sprintf("%d steps", len(s.Steps)), fmt.Sprintf("1 to %d", maxSteps), "steps")
	}
	known := map[string]bool{}
	for _, name := range scenario.BuiltIn() {
		known[name] = true
	}
	for name := range s.Vars {
		known["vars."+name] = true
	}
	for _, name := range s.Secrets {
		known["secrets."+name] = true
	}
	v.used, v.private = map[string]bool{}, map[string]bool{}
	v.identities(known)
	ids := map[string]bool{}
	v.replication(known, ids)
	for i := range s.Steps {
		check := &stepValidator{validator: v, step: &s.Steps[i], path: []string{"steps", strconv.Itoa(i)}, known: known, ids: ids}
		check.run()
	}
	v.canaries(known)
	for i, name := range s.Secrets {
		if !v.used[name] {
			v.add(strconv.Quote(name), "a secret that some step uses", "secrets", strconv.Itoa(i))
		}
	}
}

func (v *validator) routing() {
	r := v.scenario.Routing
	if r == nil {
		return
	}
	if n := count(r.Header != "", r.JSON != "", r.Regex != "", r.Addresses != nil); n != 1 {
		v.add(fmt.Sprintf("%d ways to tell", n), "exactly one of header, json, regex and addresses, which tell the region that served an answer", "routing")
	}
	v.jsonPath(r.JSON, "routing", "json")
	v.urlGlob(r.Match, "routing", "match")
	v.regex(r.Regex, "routing", "regex")
	for _, region := range sortedKeys(r.Addresses) {
		for i, text := range r.Addresses[region] {
			if _, err := netip.ParsePrefix(text); err != nil {
				v.add(strconv.Quote(text), "a network such as 203.0.113.0/24", "routing", "addresses", region, strconv.Itoa(i))
			}
		}
	}
	for _, region := range sortedKeys(r.Expect) {
		v.oneOf(region, v.fleet.Regions, "routing", "expect", region)
	}
}

func (v *validator) slos() {
	s := v.scenario
	if len(s.SLOs) > maxSLOs {
		v.add(fmt.Sprintf("%d objectives", len(s.SLOs)), fmt.Sprintf("at most %d", maxSLOs), "slos")
	}
	seen := map[string]bool{}
	for i, o := range s.SLOs {
		path := []string{"slos", strconv.Itoa(i)}
		at := func(key string) []string { return append(slices.Clone(path), key) }
		if !scenario.ValidName(o.Name) {
			v.add(strconv.Quote(o.Name), wantLabel, at("name")...)
		}
		if seen[o.Name] {
			v.add(strconv.Quote(o.Name)+" twice", "each objective's name once", at("name")...)
		}
		seen[o.Name] = true
		if o.SLI != "" {
			v.oneOf(string(o.SLI), names(scenario.SLIs()), at("sli")...)
		}
		v.sloNumbers(o, at)
		v.sloSubject(o, at)
	}
}

func (v *validator) sloNumbers(o scenario.SLO, at func(string) []string) {
	switch {
	case o.Calendar != "" && o.Window != 0:
		v.add("window and calendar", "one of them: a window that rolls, or a period of the calendar", at("calendar")...)
	case o.Calendar != "":
		v.oneOf(string(o.Calendar), names(scenario.Calendars()), at("calendar")...)
	case o.Window == 0:
		v.add(absent, "a window such as 30d, or calendar: week or month", at("window")...)
	}
	if o.Objective == 0 {
		v.add(absent, "an objective such as 99.9%", at("objective")...)
		return
	}
	pages := slices.ContainsFunc(slo.WorkbookRules(), func(r slo.BurnRule) bool {
		return r.Severity == slo.SeverityPage && r.CanFire(o.Objective)
	})
	if !pages {
		v.add(o.Objective.String(), "more than 83.3%: below that even a total outage burns too slowly for any page to fire", at("objective")...)
	}
}

func (v *validator) sloSubject(o scenario.SLO, at func(string) []string) {
	s := v.scenario
	latency, cache := o.SLI == scenario.SLILatency, o.SLI == scenario.SLICacheHit
	if latency && o.Threshold == 0 {
		v.add(absent, "the duration over which a run or step is too slow", at("threshold")...)
	}
	if !latency && o.Threshold != 0 {
		v.add(o.Threshold.String(), "no threshold: only sli latency has one", at("threshold")...)
	}
	if !latency && o.Step != "" {
		v.add(strconv.Quote(o.Step), "no step: only sli latency has one", at("step")...)
	} else if o.Step != "" && !slices.Contains(v.told(), o.Step) {
		v.add(strconv.Quote(o.Step), "the id of a step of this scenario"+v.behind(), at("step")...)
	}
	if o.Match != "" && !cache {
		v.add(strconv.Quote(o.Match), "no match: only sli cache-hit has one", at("match")...)
	}
	v.urlGlob(o.Match, at("match")...)
	if cache && o.Name == otherClass {
		v.add(strconv.Quote(o.Name), "another name: it is the class of what no objective matches", at("name")...)
	}
	if o.SLI == scenario.SLIRouting && s.Routing == nil {
		v.add("no routing section", "a routing section, so that the serving region is known", at("sli")...)
	}
	if o.SLI == scenario.SLIFreshness && s.Kind != scenario.KindReplication {
		v.add("kind "+string(cmp.Or(s.Kind, scenario.KindJourney)), "kind replication, whose runs are fresh or not", at("sli")...)
	}
}

// maxAlertLabel is how long the value of an alert's label may be, in bytes.
const maxAlertLabel = 200

// The bounds of how long all must be well before an alert ends.
const (
	minRecovery = 10 * time.Second
	maxRecovery = 24 * time.Hour
)

// alerts checks how alerts end, and what is added to them against what they have already, and what Prometheus takes.
func (v *validator) alerts() {
	if d := v.scenario.Alerts.Recovery; d != nil && (d.D() < minRecovery || d.D() > maxRecovery) {
		v.add(d.String(), "a recovery from 10s to 24h", "alerts", "recovery")
	}
	labels := v.scenario.Alerts.Labels
	if len(labels) > maxAlertLabels {
		v.add(fmt.Sprintf("%d labels", len(labels)), fmt.Sprintf("at most %d", maxAlertLabels), "alerts", "labels")
	}
	ours := []string{"alertname", "severity", "scope", "scenario", "region", "network", "slo", "team", "service"}
	for _, name := range sortedKeys(labels) {
		switch value := labels[name]; {
		case !identifier.MatchString(name) || strings.HasPrefix(name, "__"):
			v.add(strconv.Quote(name), "the name of a Prometheus label: 1 to 64 letters, digits and _, no digit first, and not two _ first", "alerts", "labels", name)
		case slices.Contains(ours, name):
			v.add(strconv.Quote(name), "a name that alerts do not have anyway, as they have "+strings.Join(ours, ", "), "alerts", "labels", name)
		case value == "" || len(value) > maxAlertLabel || !utf8.ValidString(value):
			v.add(fmt.Sprintf("%.40q of %d bytes", value, len(value)), fmt.Sprintf("a text of 1 to %d bytes", maxAlertLabel), "alerts", "labels", name)
		}
	}
}

// otherClass is the class of objects that no objective with sli cache-hit matches.
const otherClass = "other"

// urlGlob catches a glob that no URL of a result can match: results have them without their queries, which may hold what must not be kept.
func (v *validator) urlGlob(glob string, path ...string) {
	if strings.ContainsAny(glob, "?#") {
		v.add(strconv.Quote(glob), "a glob over URLs without their queries, such as */assets/*", path...)
	}
}

func (v *validator) regex(text string, path ...string) {
	if _, err := regexp.Compile(text); err != nil {
		v.add(strconv.Quote(text), "a regular expression in RE2 syntax", path...)
	}
}

// jsonPath catches what people write instead of RFC 9535; the rest shows when it is run.
func (v *validator) jsonPath(text string, path ...string) {
	if text != "" && !strings.HasPrefix(text, "$") {
		v.add(strconv.Quote(text), "a JSONPath, which begins with $, such as $.items[0].id", path...)
	}
}

// names are the texts of a list of names.
func names[N ~string](list []N) []string {
	out := make([]string, len(list))
	for i, name := range list {
		out[i] = string(name)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
