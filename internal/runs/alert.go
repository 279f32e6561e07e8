package runs

import (
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Scope says how far what is wrong reaches.
type Scope string

// The scopes of an alert.
const (
	ScopeRegion Scope = "region" // a journey in one region
	ScopeGlobal Scope = "global" // a journey everywhere, or in so many regions that none of them is the reason
)

// The names of the alerts that a coordinator decides.
const (
	AlertDown      = "LastmileDown"            // rule S1: hardly any run of a journey in a region passes
	AlertDegraded  = "LastmileDegraded"        // rule S5 at a pace that pages: an objective's budget burns, on evidence, in a region
	AlertSlowBurn  = "LastmileSlowBurn"        // rule S5 at a pace that is for working hours
	AlertOutage    = "LastmileOutage"          // rules Q and G2: a journey fails across regions
	AlertBlind     = "LastmileMonitoringBlind" // too few runs are measured to say anything; it stands in for all of the above
	AlertCacheLeak = "LastmileCacheLeak"       // one user was shown what is another's
)

// Rule names the condition by which an alert was decided.
type Rule string

// The rules.
const (
	RuleHard     Rule = "S1" // at least five of the last six runs bad
	RuleBurn     Rule = "S5" // materiality and evidence and spread
	RuleQuorum   Rule = "Q"  // enough regions with two of their last three runs bad
	RuleDrift    Rule = "G2" // CUSUM over all regions
	RuleCoverage Rule = "coverage"
	RuleLeak     Rule = "leak"
)

// AlertKey is who an alert is: whatever else changes about it, under the same key it is the same alert. It has no value, no run and no time in it.
type AlertKey struct {
	Name     string `json:"alertname"`
	Scope    Scope  `json:"scope"`
	Scenario string `json:"scenario"`
	Region   string `json:"region,omitempty"`  // "" for ScopeGlobal
	Network  string `json:"network,omitempty"` // only where just one of several networks is affected; it stays as it was when the alert began
	SLO      string `json:"slo,omitempty"`     // the objective's name
}

// Where says in words where the journey fails.
func (k *AlertKey) Where() string {
	out := k.Scenario
	if k.Region != "" {
		out += " in " + k.Region
	}
	if k.Network != "" {
		out += " on " + k.Network
	}
	return out
}

// Alert is one alert as it is now, or as it was when it ended.
type Alert struct {
	AlertKey
	Severity slo.Severity      `json:"severity"`         // while it is open it may rise, and never falls
	Team     string            `json:"team,omitempty"`   // the scenario's owner
	Labels   map[string]string `json:"labels,omitempty"` // the scenario's own, see scenario.Alerts
	Runbook  string            `json:"runbook,omitempty"`
	StartsAt time.Time         `json:"starts_at"`
	EndsAt   time.Time         `json:"ends_at,omitzero"` // zero = it is active
	Why      Why               `json:"why"`

	// Inhibited: another alert that is active says it already, and this one had not been sent before. It is not to be sent while that lasts.
	Inhibited bool `json:"inhibited,omitempty"`
	// Flapping: it has come and gone so often that it is kept open.
	Flapping bool `json:"flapping,omitempty"`
}

// Active reports whether the alert has not ended.
func (a *Alert) Active() bool { return a.EndsAt.IsZero() }

// Why is what an alert was decided on. It explains itself without a dashboard.
type Why struct {
	Rule          Rule           `json:"rule"`
	Bad           int64          `json:"bad"`                  // K: bad runs or events ...
	Of            int64          `json:"of"`                   // N: ... of so many measured ones
	Over          slo.Window     `json:"over,omitempty"`       // in this window; zero = in the last Of runs
	Expected      slo.Ratio      `json:"expected"`             // P0: the share that would be bad if all were well
	Log10P        float64        `json:"log10_p"`              // how likely Bad or more of Of are then, as a decimal logarithm; 0 = not asked
	Slices        int            `json:"slices,omitempty"`     // five-minute stretches that the bad ones lie in
	Burn          []WindowBurn   `json:"burn,omitempty"`       // ascending by window
	Remaining     *slo.Ratio     `json:"remaining,omitempty"`  // of the error budget; nil = not known
	Exhaustion    *time.Duration `json:"exhaustion,omitempty"` // until none is left at the pace of the longest burn; nil = never, or not known
	Coverage      *slo.Ratio     `json:"coverage,omitempty"`   // share of the slots that were measured, of late
	Regions       []string       `json:"regions,omitempty"`    // affected
	Healthy       []string       `json:"healthy,omitempty"`    // regions of the scenario that are not
	Networks      []string       `json:"networks,omitempty"`   // affected
	First         *Failure       `json:"first,omitempty"`      // what failed first in this episode
	Latest        *Failure       `json:"latest,omitempty"`     // what failed last
	Confirmations []Confirmation `json:"confirmations,omitempty"`
	Usual         string         `json:"usual,omitempty"` // how it compares with what is usual there at this hour: a second number, never the reason
}

// WindowBurn is the burn rate over a window.
type WindowBurn struct {
	Window slo.Window `json:"window"`
	Burn   slo.Burn   `json:"burn"`
}

// Failure is one run that was bad.
type Failure struct {
	RunID ID        `json:"run_id"`
	At    time.Time `json:"at"` // its slot
	Cause *Cause    `json:"cause,omitempty"`
}

// Confirmation is what became of a run that was asked for because another one failed. It pages or not; it is never in an SLI.
type Confirmation struct {
	RunID   ID     `json:"run_id"`
	Region  string `json:"region"`
	Probe   string `json:"probe,omitempty"`
	Sibling bool   `json:"sibling,omitempty"` // asked for in the region of the failure, of another probe than the one that failed where there is one
	State   State  `json:"state"`             // pending until it is there
}

// JourneyState is how a journey in a region stands with the pager.
type JourneyState string

// The states of a journey in a region, in the order of their gravity.
const (
	JourneyOK         JourneyState = "ok"
	JourneyBlip       JourneyState = "blip"    // it failed, and was well again within five minutes: charged to the budget, never paged
	JourneySuspect    JourneyState = "suspect" // it failed: confirmation is being sought
	JourneyRecovering JourneyState = "recovering"
	JourneyDegraded   JourneyState = "degraded"
	JourneyDown       JourneyState = "down"
)

// JourneyStates lists the states in a fixed order.
func JourneyStates() []JourneyState {
	return []JourneyState{JourneyOK, JourneyBlip, JourneySuspect, JourneyRecovering, JourneyDegraded, JourneyDown}
}

// JourneyStatus is how a scenario in a region stands.
type JourneyStatus struct {
	Scenario string
	Region   string
	State    JourneyState
	Since    time.Time
	Blind    bool // frozen: too few of its runs are measured
	Evidence []EvidenceStatus
}

// EvidenceStatus is how strong the evidence against an objective is in a window.
type EvidenceStatus struct {
	SLO    string
	Window slo.Window
	Log10P float64 // 0 = none
}

// ObjectiveStatus is how an objective of a scenario stands, in one region over all of its networks, or everywhere. Late data is in it.
type ObjectiveStatus struct {
	Scenario  string
	Region    string // "" = everywhere
	SLO       scenario.SLO
	Planned   int64      // slots of the whole window by the schedule; 0 for an objective of events, which nothing plans
	Counts    slo.Counts // of the window
	Remaining slo.Ratio  // of the budget: 1 = all of it, below 0 = overspent
	Windows   []WindowCounts
}

// WindowCounts is one of the shorter windows.
type WindowCounts struct {
	WindowBurn
	Counts slo.Counts
}

// Scope is how far the status reaches.
func (o *ObjectiveStatus) Scope() Scope {
	if o.Region == "" {
		return ScopeGlobal
	}
	return ScopeRegion
}

// BurnWindows lists the windows that burn rates are given for, ascending: those of slo.WorkbookRules.
func BurnWindows() []slo.Window {
	return []slo.Window{
		slo.Window(5 * time.Minute), slo.Window(30 * time.Minute), slo.Window(time.Hour), slo.Window(2 * time.Hour),
		slo.Window(6 * time.Hour), slo.Window(24 * time.Hour), slo.Window(72 * time.Hour),
	}
}
