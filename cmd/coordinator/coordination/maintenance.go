package coordination

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"lastmile/internal/bus"
	"lastmile/internal/bus/orders"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// windowsEvery is how often the maintenance windows are looked at. `coordinator maintenance` reckons with it: see its notice.
const windowsEvery = 2 * time.Second

// windows are the maintenance windows as they were last read.
type windows struct {
	known chan struct{} // closed when they have been read for the first time

	mu      sync.Mutex
	read    bool
	list    []runs.Maintenance
	changed chan struct{} // closed when there is another list, and replaced
}

func newWindows() *windows {
	return &windows{known: make(chan struct{}), changed: make(chan struct{})}
}

// set takes up what was read, and reports whether it is something else than before.
func (w *windows) set(list []runs.Maintenance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.read {
		w.read = true
		close(w.known)
	}
	if len(list) == len(w.list) && (len(list) == 0 || reflect.DeepEqual(list, w.list)) {
		return false
	}
	w.list = list
	close(w.changed)
	w.changed = make(chan struct{})
	return true
}

// look returns the list, which nobody changes, and what will be closed when there is another one.
func (w *windows) look() (list []runs.Maintenance, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list, w.changed
}

// await waits for the list to be known; false means that ctx has ended.
func (w *windows) await(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-w.known:
		return true
	}
}

// underMaintenance reports whether a slot of a combination, or a run that is to confirm a failure at that time, is left out on purpose.
func (u *Unit) underMaintenance(c scenario.Combination, at time.Time) bool {
	list, _ := u.windows.look()
	return runs.UnderMaintenance(list, c, at)
}

// followWindows keeps the maintenance windows up to date until ctx ends, whether this coordinator leads or not: one that begins to lead knows them. Where
// they cannot be read the last ones stay.
func (u *Unit) followWindows(ctx context.Context) error {
	ticker := time.NewTicker(windowsEvery)
	defer ticker.Stop()
	var unusable uint64 // revision of the last record that could not be used
	for {
		list, revision, err := u.hub.Maintenance(ctx)
		switch {
		case err == nil:
			if u.windows.set(list) {
				u.log.Info("maintenance windows read", "windows", len(list), "revision", revision)
			}
			u.dropWindows(ctx, list, revision)
		case errors.Is(err, orders.ErrUnusable):
			if unusable != revision {
				u.log.Error("maintenance windows cannot be read, the last ones stay: see coordinator maintenance", "err", err)
			}
			unusable = revision
			last, _ := u.windows.look()
			u.windows.set(last)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// dropWindows removes the windows that ended long ago. It is the leader's to do.
func (u *Unit) dropWindows(ctx context.Context, list []runs.Maintenance, revision uint64) {
	kept := orders.KeptMaintenance(list, u.clock.Now())
	if len(kept) == len(list) || !u.leads() {
		return
	}
	_, err := u.hub.SaveMaintenance(ctx, kept, revision)
	switch {
	case err == nil:
		u.log.Info("maintenance windows that ended long ago dropped", "windows", len(list)-len(kept))
	case ctx.Err() == nil && !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrUnavailable): // those are tried again
		u.log.Warn("old maintenance windows not dropped", "err", err)
	}
}

// regionWindows are what a region's probes have to know of the windows.
func regionWindows(list []runs.Maintenance, region string) []runs.Maintenance {
	var out []runs.Maintenance
	for _, m := range list {
		if m.Region == "" || m.Region == region {
			m.Why, m.By = "", ""
			out = append(out, m)
		}
	}
	return slices.Clip(out)
}
