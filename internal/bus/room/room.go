// Package room tells how much of the room for each region's results is taken, and for how long it lasts.
package room

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Room is that of one region's results. Sizes are bytes as the server reckons them: headers included, before compression.
type Room struct {
	Region  string
	Results uint64
	Bytes   int64
	Limit   int64         // 0 = none
	Wanted  time.Duration // how long results are to be kept, where there is room
	Keep    time.Duration // how long they are kept now, for there may be less
	Oldest  time.Time     // when the oldest and the newest result were stored; zero where there are none
	Newest  time.Time
	Created time.Time // when the hub began to store the region's results
}

// Of asks the server for the room in a stream whose messages are to be kept for as long as wanted.
func Of(ctx context.Context, js jetstream.JetStream, region, stream string, wanted time.Duration) (Room, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return Room{}, err
	}
	info := s.CachedInfo()
	return Room{
		Region: region, Results: info.State.Msgs, Bytes: int64(info.State.Bytes), Limit: max(info.Config.MaxBytes, 0), Wanted: wanted, Keep: info.Config.MaxAge,
		Oldest: info.State.FirstTime, Newest: info.State.LastTime, Created: info.Created,
	}, nil
}

// Keep has a stream keep its messages for so long from now on. Older ones go.
func Keep(ctx context.Context, js jetstream.JetStream, stream string, age time.Duration) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	config := s.CachedInfo().Config
	config.MaxAge = age
	_, err = js.UpdateStream(ctx, config)
	return err
}

// The bounds between which a room is held: it never fills up as long as results for some hours fit into it.
const (
	tight = 0.8 // at which the oldest go
	loose = 0.5 // below which they may stay for longer again
	aim   = 0.7
	step  = 1.5
)

// Fitting is for how long results are to be kept from now on so that there is room for new ones: at least for some time, in which whoever reads them has
// surely read them, and for as long as is wanted where they fit. Where they are kept for less than the least, which may have grown, they are kept for that.
func (r Room) Fitting(least time.Duration) time.Duration {
	seen := min(r.Newest.Sub(r.Oldest), r.Keep)
	switch full := r.Full(); {
	case r.Keep > 0 && r.Keep < min(least, r.Wanted):
		return min(least, r.Wanted)
	case full >= tight && seen > 0:
		return min(max(time.Duration(float64(seen)*aim/full), least), r.Keep)
	case full < loose && r.Keep < r.Wanted:
		return min(time.Duration(float64(r.Keep)*step), r.Wanted)
	}
	return r.Keep
}

// leastTime is what has to be seen of a region before its pace is believed.
const leastTime = 10 * time.Minute

// Lasts forecasts for how long results will be kept if they go on coming as they have come so far: for as long as is wanted where there is room for that, and
// less where the room will be full before. ok is false as long as that cannot be told.
func (r Room) Lasts() (kept time.Duration, ok bool) {
	seen := r.Newest.Sub(r.Oldest)
	if r.Limit == 0 || r.Results < 2 || seen < leastTime {
		return 0, false
	}
	kept = r.Wanted
	if days := float64(r.Limit) / float64(r.Bytes) * float64(seen); days < float64(r.Wanted) {
		kept = time.Duration(days)
	}
	return kept, true
}

// Needs is how much room there would have to be for results to be kept for as long as is wanted; 0 where that cannot be told, or nothing is to be changed.
func (r Room) Needs() int64 {
	if kept, ok := r.Lasts(); !ok || kept >= r.Wanted {
		return 0
	}
	return int64(float64(r.Bytes) * float64(r.Wanted) / float64(r.Newest.Sub(r.Oldest)))
}

// Full is the share of the room that is taken, 0 to 1.
func (r Room) Full() float64 {
	if r.Limit == 0 {
		return 0
	}
	return float64(r.Bytes) / float64(r.Limit)
}
