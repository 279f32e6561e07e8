package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"lastmile/internal/device"
	"lastmile/internal/netprofile"
	"lastmile/internal/slo"
)

// APIVersion is the version of the scenario format that this package reads.
const APIVersion = "lastmile/v1"

// AllRegions in a scenario's region list stands for every region of the fleet.
const AllRegions = "all"

// Kind tells what a scenario is. The zero value means KindJourney.
type Kind string

// The kinds of scenarios.
const (
	KindJourney     Kind = "journey"     // an ordinary list of steps run in order
	KindReplication Kind = "replication" // how long until a write in one region can be read in the others
	KindCacheLeak   Kind = "cache-leak"  // whether one user is shown what is another's
)

// Kinds lists the kinds in documentation order.
func Kinds() []Kind { return []Kind{KindJourney, KindReplication, KindCacheLeak} }

// Engine is the Chromium build that runs browser steps. The zero value means EngineShell.
type Engine string

// The engines. EngineShell is chromium-headless-shell (half the CPU); EngineFull is the full browser.
const (
	EngineShell Engine = "shell"
	EngineFull  Engine = "full"
)

// Scenario is one scripted user journey. A decoded scenario is not yet a sound one: Validate says what is wrong with it.
type Scenario struct {
	APIVersion  string                     `json:"apiVersion"`
	Name        string                     `json:"scenario"`
	Kind        Kind                       `json:"kind,omitempty"`
	Description string                     `json:"description,omitempty"`
	Owner       string                     `json:"owner,omitempty"`
	Runbook     string                     `json:"runbook,omitempty"`
	Schedule    Schedule                   `json:"schedule"`
	Timeout     Duration                   `json:"timeout"`
	StepTimeout Duration                   `json:"stepTimeout,omitempty"` // of steps that name none; zero = the default of their type
	Regions     Strings                    `json:"regions"`
	Networks    []string                   `json:"networks,omitempty"`
	Engine      Engine                     `json:"engine,omitempty"`
	Settle      *Duration                  `json:"settle,omitempty"` // what pages get to become quiet after a navigation, and at the end; absent = 2 s
	Device      string                     `json:"device,omitempty"`
	Locale      string                     `json:"locale,omitempty"`   // of browser steps, a BCP 47 tag such as de-CH; empty = en-US
	Timezone    string                     `json:"timezone,omitempty"` // of browser steps, an IANA name; empty = the machine's
	Geolocation *Geolocation               `json:"geolocation,omitempty"`
	Vars        map[string]Text            `json:"vars,omitempty"`
	RegionVars  map[string]map[string]Text `json:"regionVars,omitempty"`
	Secrets     []string                   `json:"secrets,omitempty"`
	AllowHosts  []string                   `json:"allowHosts,omitempty"`
	Steps       []Step                     `json:"steps"`
	Replication *Replication               `json:"replication,omitempty"` // KindReplication
	Identities  []Identity                 `json:"identities,omitempty"`  // KindCacheLeak
	Routing     *Routing                   `json:"routing,omitempty"`
	SLOs        []SLO                      `json:"slos,omitempty"`
	Alerts      Alerts                     `json:"alerts,omitzero"`
	Artefacts   Artefacts                  `json:"artefacts,omitzero"`
	Recorder    map[string]any             `json:"recorder,omitempty"` // what a recording had that is nothing here: kept for export
}

// Geolocation is where the browser says that it is, in degrees and metres; it grants pages the permission to ask.
type Geolocation struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Accuracy  float64 `json:"accuracy,omitempty"` // default 100
}

// When says at which runs an artefact is kept.
type When string

// The choices. The zero value means WhenFailed for screenshots and HARs, WhenConfirming for filmstrips.
const (
	WhenFailed     When = "failed"     // of runs that are not passed
	WhenAlways     When = "always"     // of every run
	WhenNever      When = "never"      //
	WhenConfirming When = "confirming" // of runs that are to confirm a failure
)

// Artefacts says what is kept of a run beside its numbers.
type Artefacts struct {
	Screenshot When    `json:"screenshot,omitempty"` // at the end of the failed step; always: of every browser step
	HAR        When    `json:"har,omitempty"`
	Filmstrip  When    `json:"filmstrip,omitempty"`
	Mask       Strings `json:"mask,omitempty"` // selectors of what no picture may show; fields with secrets and passwords never show
}

// Routing says which region ought to have served each probe region, and how to tell which one did: by what an answer says in a header or in
// its body (of http steps), or by the address that the host's name led to. Exactly one of Header, JSON, Regex and Addresses is set.
type Routing struct {
	Header    string              `json:"header,omitempty"`    // of a response
	JSON      string              `json:"json,omitempty"`      // JSONPath into the body
	Regex     string              `json:"regex,omitempty"`     // over the body: its first group
	Addresses map[string][]string `json:"addresses,omitempty"` // serving region -> its networks (CIDR)
	Match     string              `json:"match,omitempty"`     // URL glob of the requests that count; empty = all that tell
	Expect    map[string]string   `json:"expect,omitempty"`    // probe region -> serving region; absent = its own
}

// SLI names what an objective counts. The zero value means SLIAvailability.
type SLI string

// The service level indicators of a scenario.
const (
	SLIAvailability SLI = "availability"
	SLILatency      SLI = "latency"
	SLICacheHit     SLI = "cache-hit"
	SLIRouting      SLI = "routing"
	SLIFreshness    SLI = "freshness" // KindReplication: the write was visible within its threshold
)

// SLIs lists the service level indicators in documentation order.
func SLIs() []SLI {
	return []SLI{SLIAvailability, SLILatency, SLICacheHit, SLIRouting, SLIFreshness}
}

// SLO is one service level objective of a scenario.
type SLO struct {
	Name      string        `json:"name"`
	SLI       SLI           `json:"sli,omitempty"`
	Objective slo.Objective `json:"objective"`
	Window    slo.Window    `json:"window,omitempty"`    // rolling; or
	Calendar  Calendar      `json:"calendar,omitempty"`  // a week or a month of the calendar, in UTC, whose budget begins anew with it
	Step      string        `json:"step,omitempty"`      // latency: the step that counts; empty = the whole run
	Threshold Duration      `json:"threshold,omitempty"` // latency: slower than this is bad
	Match     string        `json:"match,omitempty"`     // cache-hit: URL glob of the responses that count; empty = all
}

// Period is what the objective's budget is for: of a month of the calendar, 30 days.
func (o *SLO) Period() slo.Window {
	const day = slo.Window(24 * time.Hour)
	switch o.Calendar {
	case CalendarWeek:
		return 7 * day
	case CalendarMonth:
		return 30 * day
	}
	return o.Window
}

// Calendar names a period of the calendar.
type Calendar string

// The periods. A week begins on Monday.
const (
	CalendarWeek  Calendar = "week"
	CalendarMonth Calendar = "month"
)

// Calendars lists the periods in documentation order.
func Calendars() []Calendar { return []Calendar{CalendarWeek, CalendarMonth} }

// Period returns when the period that a time lies in began, and when the next one does. Any other word than those of Calendars means a month.
func (c Calendar) Period(at time.Time) (from, to time.Time) {
	year, month, day := at.UTC().Date()
	if c == CalendarWeek {
		sinceMonday := (int(at.UTC().Weekday()) + 6) % 7
		from = time.Date(year, month, day-sinceMonday, 0, 0, 0, 0, time.UTC)
		return from, from.AddDate(0, 0, 7)
	}
	from = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	return from, from.AddDate(0, 1, 0)
}

// Alerts holds the paging policy of a scenario.
type Alerts struct {
	Critical bool              `json:"critical,omitempty"` // one region that is degraded pages too, not only one that is down
	Recovery *Duration         `json:"recovery,omitempty"` // how long all must be well before an alert ends; absent = DefaultRecovery
	Labels   map[string]string `json:"labels,omitempty"`   // added to every alert of the scenario, to route it by
}

// DefaultRecovery is how long all must be well before an alert ends, where the scenario does not say.
const DefaultRecovery = 10 * time.Minute

// RecoveryTime is how long all must be well before an alert of the scenario ends.
func (a *Alerts) RecoveryTime() time.Duration {
	if a.Recovery == nil {
		return DefaultRecovery
	}
	return a.Recovery.D()
}

// Combination is one scenario in one region on one network: the unit that has slots, results and a budget.
type Combination struct {
	Scenario string `json:"scenario"`
	Region   string `json:"region"`
	Network  string `json:"network"`
}

// Combinations lists the scenario's combinations in the order in which the file names them. Regions must be resolved.
func (s *Scenario) Combinations() []Combination {
	var out []Combination
	for _, region := range s.Regions {
		for _, network := range s.NetworkNames() {
			out = append(out, Combination{Scenario: s.Name, Region: region, Network: network})
		}
	}
	return out
}

// NetworkNames returns the networks the scenario runs on: its own, or the unshaped one where it names none.
func (s *Scenario) NetworkNames() []string {
	if len(s.Networks) == 0 {
		return []string{netprofile.None}
	}
	return s.Networks
}

// Resolve replaces "all" in the region list by the fleet's regions.
func (s *Scenario) Resolve(fleet Fleet) {
	if slices.Contains(s.Regions, AllRegions) {
		s.Regions = slices.Clone(fleet.Regions)
	}
}

// NeedsBrowser reports whether any step needs Chromium.
func (s *Scenario) NeedsBrowser() bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Type.Browser() }) // a replication's write steps need none
}

// Pool names what a probe must have to run the scenario.
func (s *Scenario) Pool() string {
	switch {
	case !s.NeedsBrowser():
		return PoolHTTP
	case s.Engine == EngineFull:
		return PoolFull
	}
	return PoolBrowser
}

// The pools. A probe takes runs of those that it can do.
const (
	PoolBrowser = "browser" // a Chromium, headless shell
	PoolFull    = "full"    // a full Chromium
	PoolHTTP    = "http"    // nothing
)

// Pools lists the pools in a fixed order.
func Pools() []string { return []string{PoolBrowser, PoolFull, PoolHTTP} }

// maxStartWindow bounds how late a run may start and still count for its slot.
const maxStartWindow = 30 * time.Second

// StartWindow is how long after its slot a run may still start: half the schedule's period, at most 30 s.
func (s *Scenario) StartWindow() time.Duration {
	return min(s.Schedule.Period()/2, maxStartWindow)
}

// browserLead is how long it takes a busy machine to make a network and start a browser.
const browserLead = 5 * time.Second

// Lead is how long before its slot a run is ordered, so that its browser is up when it is due: at most half the schedule's period,
// and nothing where there is no browser to start.
func (s *Scenario) Lead() time.Duration {
	if !s.NeedsBrowser() {
		return 0
	}
	return min(s.Schedule.Period()/2, browserLead)
}

// Timetable is the schedule as the scenario keeps it: what writes and what reads in a replication have their slots at the same time,
// whatever their region.
func (s *Scenario) Timetable() Schedule {
	out := s.Schedule
	out.together = s.Kind == KindReplication
	return out
}

// Revision is a short hash of the whole definition: two scenarios with the same revision run the same journey.
func (s *Scenario) Revision() string {
	body, err := json.Marshal(s)
	if err != nil { // every field is a plain value; a failure here is a programming error that must not pass as a revision
		panic("scenario: marshal " + s.Name + ": " + err.Error())
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:6])
}

// ExpectedRegion is the serving region that the routing table expects for a probe region; the probe region itself where
// the table is silent.
func (s *Scenario) ExpectedRegion(region string) string {
	if s.Routing != nil {
		if want, ok := s.Routing.Expect[region]; ok {
			return want
		}
	}
	return region
}

// Fleet is what a scenario is checked against: the regions and networks that exist.
type Fleet struct {
	Regions  []string
	Networks netprofile.Set // the presets and the user's own
}

// Devices lists the names of the devices that browser steps can emulate.
func Devices() []string { return device.Names() }

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidName reports whether a name can be a scenario's, a region's or a network's: such names become tokens of bus subjects
// and values of metric labels.
func ValidName(name string) bool { return label.MatchString(name) }

// Availability returns the scenario's availability objective, or ok=false where it has none.
func (s *Scenario) Availability() (objective SLO, ok bool) {
	for _, o := range s.SLOs {
		if o.SLI == "" || o.SLI == SLIAvailability {
			return o, true
		}
	}
	return SLO{}, false
}
