package runs

import "lastmile/internal/slo"

// State is what has become of a slot. Every slot ends in exactly one state.
type State string

// The states. StatePending is the only one that is not an end.
const (
	StatePending  State = "pending"
	StateMissing  State = "missing"  // no run reported; see Reason
	StateSkipped  State = "skipped"  // not run on purpose; see Reason
	StateInvalid  State = "invalid"  // we could not measure: our fault, never the service's
	StatePassed   State = "passed"   // measured, all well
	StateDegraded State = "degraded" // measured, over a budget
	StateFailed   State = "failed"   // measured, the journey broke
)

// States lists all states, pending last.
func States() []State {
	return []State{StatePassed, StateDegraded, StateFailed, StateInvalid, StateMissing, StateSkipped, StatePending}
}

// Valid reports whether the state is one of the known ones.
func (s State) Valid() bool { return s.rank() >= 0 }

// Measured reports whether the state says something about the service.
func (s State) Measured() bool { return s == StatePassed || s == StateDegraded || s == StateFailed }

// rank orders the states: a slot's state only rises, whatever the order in which reports arrive.
func (s State) rank() int {
	switch s {
	case StatePending:
		return 0
	case StateMissing, StateSkipped:
		return 1
	case StateInvalid:
		return 2
	case StatePassed, StateDegraded, StateFailed:
		return 3
	}
	return -1
}

// Outranks reports whether a report of state s replaces one of state other.
func (s State) Outranks(other State) bool { return s.rank() > other.rank() }

// Counts returns a slot in this state as counts for the SLO arithmetic. Degraded runs are good: a breached budget is not an outage.
func (s State) Counts() slo.Counts {
	switch s {
	case StatePassed, StateDegraded:
		return slo.Counts{Good: 1}
	case StateFailed:
		return slo.Counts{Bad: 1}
	case StateInvalid:
		return slo.Counts{Invalid: 1}
	case StateMissing:
		return slo.Counts{Missing: 1}
	case StateSkipped:
		return slo.Counts{Skipped: 1}
	}
	return slo.Counts{Pending: 1}
}

// Reason says why a slot was not run.
type Reason string

// The reasons of missing and skipped slots.
const (
	ReasonNoProbe         Reason = "no_probe"         // missing: no probe of the region for its pool was there, or all had left in good order
	ReasonExpired         Reason = "expired"          // missing: probes for it were there, none took it in time: overload, mostly
	ReasonLost            Reason = "lost"             // missing: a probe took it and never reported
	ReasonCutOff          Reason = "cut_off"          // missing: its probes were there, then all of the region fell silent; late results may still come
	ReasonCoordinatorDown Reason = "coordinator_down" // missing: nobody put its job on the bus while it could start: no coordinator, no bus, or a clock set ahead
	ReasonMaintenance     Reason = "maintenance"      // skipped
	ReasonOverlap         Reason = "overlap"          // skipped: an earlier run of the combination was under way until it was too late
)

// Reasons lists all reasons in a fixed order.
func Reasons() []Reason {
	return []Reason{ReasonNoProbe, ReasonExpired, ReasonLost, ReasonCutOff, ReasonCoordinatorDown, ReasonMaintenance, ReasonOverlap}
}

// Class sorts causes so that they can be counted.
type Class string

// The classes of causes. The first group is the service's, the second ours.
const (
	ClassDNS         Class = "dns"
	ClassConnect     Class = "connect"
	ClassTLS         Class = "tls"
	ClassTimeout     Class = "timeout"
	ClassHTTP4xx     Class = "http_4xx"
	ClassHTTP5xx     Class = "http_5xx"
	ClassAssertion   Class = "assertion"
	ClassScript      Class = "script" // the page or the protocol did something unexpected
	ClassBlockedHost Class = "blocked_host"
	ClassCacheLeak   Class = "cache_leak"  // one user was shown what is another's
	ClassReplication Class = "replication" // a write was lost, or a read went back behind it
	ClassBudget      Class = "budget"      // degraded only

	ClassBrowserCrash   Class = "browser_crash"
	ClassBrowserHang    Class = "browser_hang"
	ClassLinkOffProfile Class = "link_off_profile"
	ClassOverloaded     Class = "overloaded"
	ClassProbe          Class = "probe"
)

// Classes lists all classes in a fixed order.
func Classes() []Class {
	return []Class{
		ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassHTTP4xx, ClassHTTP5xx, ClassAssertion, ClassScript, ClassBlockedHost,
		ClassCacheLeak, ClassReplication, ClassBudget, ClassBrowserCrash, ClassBrowserHang, ClassLinkOffProfile, ClassOverloaded, ClassProbe,
	}
}

// Cause says why a run is not simply passed.
type Cause struct {
	Class  Class  `json:"class"`
	Step   string `json:"step,omitempty"`
	Detail string `json:"detail"`
}

// Fault is the error of a probe that could not measure. A run that meets one is invalid; it never counts against the service.
type Fault struct {
	Class Class
	Err   error
}

// Error implements error.
func (f *Fault) Error() string { return string(f.Class) + ": " + f.Err.Error() }

// Unwrap gives the error underneath.
func (f *Fault) Unwrap() error { return f.Err }
