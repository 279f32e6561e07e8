package coordination

import (
	"context"
	"math"
	"time"

	"lastmile/internal/bus/room"
)

const (
	roomsEvery  = time.Minute
	roomsAgain  = 24 * time.Hour // between two warnings about the same region
	nearlyFull  = 0.9
	soonTooFull = 7 * 24 * time.Hour // what is kept for less is told: an objective's window is seldom shorter
)

// watchRooms looks after the room for results until ctx ends. What is full takes no new results: they gather with the probes until those take no
// more work. That is slow, and somebody can be told well before.
func (u *Unit) watchRooms(ctx context.Context) error {
	ticker := time.NewTicker(roomsEvery)
	defer ticker.Stop()
	told := map[string]time.Time{}
	for {
		rooms, err := u.hub.Rooms(ctx, u.set.Fleet.Regions)
		if err == nil {
			byRegion := map[string]room.Room{}
			for _, r := range rooms {
				byRegion[r.Region] = r
				u.makeRoom(ctx, r)
				if at, ok := told[r.Region]; u.leads() && (!ok || time.Since(at) > roomsAgain) && u.warnOfRoom(r) {
					told[r.Region] = time.Now()
				}
			}
			u.rooms.Store(&byRegion)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// leastKept is how long results are kept however little room there is: a coordinator that stood by or was away for less finds all that its snapshot
// has not.
const leastKept = 6 * time.Hour

// least is for how long results are to be kept where there is a snapshot of the books from a time: for ever where there is none.
func least(snapshot time.Time) time.Duration {
	if snapshot.IsZero() {
		return math.MaxInt64
	}
	return max(leastKept, time.Since(snapshot)+roomsEvery)
}

// makeRoom has the oldest results deleted where there is little room for new ones. It is the leader's to do, and only results that are in a snapshot of
// the books on its disk may go.
func (u *Unit) makeRoom(ctx context.Context, r room.Room) {
	keep := r.Fitting(least(u.opts.Snapshots.stats().at))
	if !u.leads() || keep == r.Keep {
		return
	}
	if err := u.hub.KeepResults(ctx, r.Region, keep); err != nil {
		if ctx.Err() == nil {
			u.log.Warn("no room made for results", "region", r.Region, "err", err)
		}
		return
	}
	u.log.Info("results are kept for another time now", "region", r.Region, "keep", keep, "before", r.Keep, "full", r.Full(), "bytes", r.Bytes, "limit", r.Limit)
}

// warnOfRoom logs a room that is too small, and reports whether it is.
func (u *Unit) warnOfRoom(r room.Room) bool {
	kept, known := r.Lasts()
	if r.Full() < nearlyFull && (!known || kept >= min(soonTooFull, r.Wanted)) {
		return false
	}
	u.log.Warn("room for results is too small: the oldest are deleted before their time, as far as they are in a snapshot of the books", "region", r.Region, "full", r.Full(), "bytes", r.Bytes,
		"limit", r.Limit, "lasts", kept, "wanted", r.Wanted, "needs_bytes", r.Needs())
	return true
}
