package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"lastmile/internal/runs"
)

// How clocks are compared.
const (
	compareEvery  = time.Minute
	compareAgain  = 2 * time.Second // after a comparison that came to nothing
	exchanges     = 8               // of which the one with the shortest round trip counts: it waited least on the way
	exchangeTime  = 2 * time.Second
	drift         = 50e-6 // by which clocks may run apart, at most: quartz of the poorer kind
	longestAnswer = 256   // bytes
)

// timeAnswer is when the hub got a question, and when it answered it, in nanoseconds since 1970.
type timeAnswer struct {
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// timeSubject is where a region asks for the time.
func timeSubject(region string) string { return "time." + region }

// ServeTime answers what the hub's clock says, which is whose runs this, until ctx ends; then it returns nil.
func ServeTime(ctx context.Context, nc *nats.Conn, now func() time.Time) error {
	sub, err := nc.Subscribe(timeSubject("*"), func(msg *nats.Msg) {
		received := now()
		if msg.Reply == "" {
			return
		}
		body, err := json.Marshal(timeAnswer{Received: received.UnixNano(), Sent: now().UnixNano()})
		if err != nil { // two numbers
			return
		}
		_ = msg.Respond(body) // without it, the probe asks again
	})
	if err != nil {
		return fault("serve time", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // where the connection is closed, so is the subscription
	return nil
}

// sample is one exchange with the hub.
type sample struct {
	anchor time.Time     // what the clock said before
	at     time.Time     // by this probe's clock
	offset time.Duration // to be added to it
	err    time.Duration // at most so far off then: half of the round trip, for the hub's clock was read at some time in it
}

// steady reads the clock as if nobody had set it since the anchor: what it said then, and what has passed.
func (s *sample) steady(clock func() time.Time) time.Time {
	return s.anchor.Add(clock().Sub(s.anchor))
}

// clock is how the clock compares with the hub's at now, by this sample. The error grows with the time since then.
func (s *sample) clock(now time.Time) runs.Clock {
	since := max(now.Sub(s.at), 0)
	return runs.Clock{
		OffsetMS: runs.Milliseconds(s.offset),
		ErrorMS:  runs.Milliseconds(s.err + time.Duration(float64(since)*drift) + time.Microsecond), // for the numbers are cut off there
	}
}

// compare asks the hub several times, and keeps the best answer.
func (r *Relay) compare(ctx context.Context) error {
	h, err := r.connection()
	if err != nil {
		return err
	}
	anchor := r.clock()
	var best *sample
	for range exchanges {
		s, err := r.exchange(ctx, h.nc, anchor)
		if err != nil && best == nil {
			return err // the others would fare no better
		}
		if err != nil {
			continue
		}
		if best == nil || s.err < best.err {
			best = &s
		}
	}
	r.latest.Store(best)
	return nil
}

// exchange asks once: the estimate and its bound are those of NTP (RFC 5905, section 8), without a share for the clocks' resolution.
func (r *Relay) exchange(ctx context.Context, nc *nats.Conn, anchor time.Time) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	s := sample{anchor: anchor}
	asked := s.steady(r.clock)
	msg, err := nc.RequestWithContext(ctx, timeSubject(r.region), nil)
	s.at = s.steady(r.clock)
	if err != nil {
		return s, fault("ask the hub's time", err)
	}
	s.offset, s.err, err = estimate(asked, s.at, msg.Data)
	return s, err
}

// estimate tells the offset to the hub's clock, and its error, from an answer.
func estimate(asked, answered time.Time, body []byte) (offset, err time.Duration, _ error) {
	var a timeAnswer
	if len(body) > longestAnswer {
		return 0, 0, fmt.Errorf("read the hub's time: got %d bytes, want at most %d", len(body), longestAnswer)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return 0, 0, fault("read the hub's time", err)
	}
	held := time.Duration(a.Sent - a.Received)
	trip := answered.Sub(asked) - held
	if a.Received <= 0 || held < 0 || trip < 0 {
		return 0, 0, errors.New("read the hub's time: got an answer that was sent before the question, or after it came")
	}
	there, back := time.Unix(0, a.Received).Sub(asked), time.Unix(0, a.Sent).Sub(answered)
	return there/2 + back/2, trip / 2, nil
}
