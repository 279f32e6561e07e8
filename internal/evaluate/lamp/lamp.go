// Package lamp is one alert: when it begins, when it ends, and that it is kept open where it comes and goes.
// A Standing is all of them that a scenario has in a region, or everywhere, and how it came to them.
package lamp

import (
	"maps"
	"slices"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// Lamp is one alert: it is lit while what it stands for holds, and goes on being active for a while after.
type Lamp struct {
	Alert runs.Alert  `json:"alert"`
	Sent  bool        `json:"sent,omitempty"`  // it was active and not inhibited at the end of a tick
	Turns []time.Time `json:"turns,omitempty"` // when it began and ended, of the last hour
	Off   bool        `json:"off,omitempty"`   // it would have ended, and is kept open since it comes and goes
	Well  time.Time   `json:"well,omitzero"`   // since when what it stands for does not hold; zero = it does
	Told  time.Time   `json:"told,omitzero"`   // when the books were asked for it

	news bool
}

// An alert that has begun and ended so often in so long is kept open.
const (
	flapTurns = 4
	FlapTime  = time.Hour
	mostTurns = 4 * flapTurns // that are kept: what comes and goes all the time says no more by each
)

// Light begins the alert, or keeps it from ending.
func (l *Lamp) Light(now time.Time, severity slo.Severity) {
	l.Well = time.Time{}
	switch {
	case l.Turns == nil || !l.Alert.Active():
		l.turn(now)
		l.Alert.StartsAt, l.Alert.EndsAt, l.Alert.Severity = now, time.Time{}, severity
		l.Alert.Inhibited, l.Alert.Flapping, l.Sent, l.news = false, false, false, true
	case l.Off:
		l.turn(now)
		l.Off = false
	}
	if severity == slo.SeverityPage && l.Alert.Severity != slo.SeverityPage {
		l.Alert.Severity, l.news = severity, true
	}
}

// turn notes that it began or ended.
func (l *Lamp) turn(now time.Time) {
	l.Turns = append(slices.DeleteFunc(l.Turns, func(at time.Time) bool { return now.Sub(at) >= FlapTime }), now)
	l.Turns = slices.Delete(l.Turns, 0, max(0, len(l.Turns)-mostTurns))
}

// Release ends the alert, unless it comes and goes: then it stays until it has rested. It is to be called until it has ended.
func (l *Lamp) Release(now time.Time) (ended bool) {
	if !l.Alert.Active() {
		return true
	}
	if !l.Off {
		l.turn(now)
		l.Off = true
	}
	recent := 0
	for _, at := range l.Turns {
		if now.Sub(at) < FlapTime {
			recent++
		}
	}
	if recent >= flapTurns {
		l.Alert.Flapping = true
		return false
	}
	l.End(now)
	return true
}

// End ends the alert at once.
func (l *Lamp) End(now time.Time) {
	l.Alert.EndsAt, l.Off, l.news = now, false, true
}

// Thin is the lamp without what an alert that is active says of itself anew, where all is set likewise one that has ended; defined: nor what its
// scenario says of it.
func (l *Lamp) Thin(defined, all bool) *Lamp {
	out := new(*l)
	if l.Alert.Active() || all {
		out.Told = time.Time{}
		w := &l.Alert.Why
		out.Alert.Why = runs.Why{Rule: w.Rule, Bad: w.Bad, Of: w.Of, Over: w.Over, Expected: w.Expected, Log10P: w.Log10P, Slices: w.Slices}
	}
	if defined {
		out.Alert.Team, out.Alert.Runbook, out.Alert.Labels = "", "", nil
	}
	return out
}

// Copy returns the alert, for somebody else to keep.
func (l *Lamp) Copy() runs.Alert {
	a := l.Alert
	a.Labels = maps.Clone(a.Labels)
	w := &a.Why
	w.Burn, w.Regions, w.Healthy = slices.Clone(w.Burn), slices.Clone(w.Regions), slices.Clone(w.Healthy)
	w.Networks, w.Confirmations = slices.Clone(w.Networks), slices.Clone(w.Confirmations)
	w.Remaining, w.Exhaustion, w.Coverage = clone(w.Remaining), clone(w.Exhaustion), clone(w.Coverage)
	w.First, w.Latest = CloneFailure(w.First), CloneFailure(w.Latest)
	return a
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// CloneFailure copies a failure; nil stays nil.
func CloneFailure(f *runs.Failure) *runs.Failure {
	if f = clone(f); f != nil {
		f.Cause = clone(f.Cause)
	}
	return f
}

// Show settles whether an active alert is to be sent.
func (l *Lamp) Show(visible bool) {
	if visible = visible || l.Sent; visible && l.Alert.Inhibited {
		l.news = true
	}
	l.Alert.Inhibited, l.Sent = !visible, visible
}

// News reports whether the alert has begun, risen, shown itself or ended since the last call.
func (l *Lamp) News() bool {
	was := l.news
	l.news = false
	return was
}

// HasNews is the same without taking note.
func (l *Lamp) HasNews() bool { return l.news }

// New returns the lamp of an alert that has not begun; turns are when one like it began and ended before.
func New(key runs.AlertKey, turns []time.Time) *Lamp {
	return &Lamp{Alert: runs.Alert{AlertKey: key, EndsAt: time.Unix(0, 0)}, Turns: turns}
}
