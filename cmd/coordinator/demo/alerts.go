package demo

import (
	"slices"
	"sync"

	"lastmile/internal/runs"
)

// alerts are those that were announced while the demo ran. It is safe for concurrent use.
type alerts struct {
	mu  sync.Mutex
	all []runs.Alert
}

// note takes up what has become of an alert. One that begins anew is another one.
func (l *alerts) note(a *runs.Alert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.all, func(b runs.Alert) bool { return b.AlertKey == a.AlertKey && b.StartsAt.Equal(a.StartsAt) })
	if i < 0 {
		l.all = append(l.all, *a)
	} else {
		l.all[i] = *a
	}
}

// list returns them in the order in which they began; never nil.
func (l *alerts) list() []runs.Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := append([]runs.Alert{}, l.all...)
	slices.SortStableFunc(out, func(a, b runs.Alert) int { return a.StartsAt.Compare(b.StartsAt) })
	return out
}
