// Package peers lets the probes of one region know of one another, with or without a coordinator: as long as they share a server, or a leaf
// node of their region, they see each other's beats.
//
//	name    subjects                    keeps
//	(core)  peer.<region>.<probe>       a runs.PeerBeat every two seconds, not stored
//
// A beat that is lost does no harm; a probe counts as gone after some.
package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// The bounds of a beat.
const (
	MaxRecent = 4096    // runs that it names
	maxPools  = 16      // the next version may know of one more than this one
	maxSize   = 1 << 20 // bytes
)

func subject(b *runs.PeerBeat) string { return "peer." + b.Region + "." + b.Probe }

// Send tells the region's other probes of this one. It does not wait for anybody.
func Send(nc *nats.Conn, b *runs.PeerBeat) error {
	if err := check(b); err != nil {
		return err
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return nc.Publish(subject(b), body)
}

// Listen hands the beats of a region's probes to heard, one at a time, until ctx ends (then it returns nil). It hears the probe's own, too.
// Those that are unusable go to rejected.
func Listen(ctx context.Context, nc *nats.Conn, region string, heard func(runs.PeerBeat), rejected func(subject string, err error)) error {
	sub, err := nc.SubscribeSync("peer." + region + ".*")
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed, and with it the subscription
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer): // some were dropped; others follow
			continue
		case err != nil:
			return err
		}
		b, err := Decode(msg.Subject, msg.Data)
		if err != nil {
			rejected(msg.Subject, err)
			continue
		}
		heard(b)
	}
}

// Decode reads a beat that came on a subject. One that speaks for another probe or region than its subject does is refused: permissions
// are granted by subject.
func Decode(from string, body []byte) (b runs.PeerBeat, err error) {
	if len(body) > maxSize {
		return b, fmt.Errorf("got %d bytes, want at most %d", len(body), maxSize)
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return runs.PeerBeat{}, err
	}
	if err := check(&b); err != nil {
		return runs.PeerBeat{}, err
	}
	if want := subject(&b); from != want {
		return runs.PeerBeat{}, fmt.Errorf("got subject %.300q, want that of the body, %s", from, want)
	}
	return b, nil
}

// check holds for what is sent as well as for what is received.
func check(b *runs.PeerBeat) error {
	if b.Schema != runs.Schema {
		return fmt.Errorf("got schema %d, want %d", b.Schema, runs.Schema)
	}
	for what, name := range map[string]string{"region": b.Region, "probe": b.Probe} {
		if !scenario.ValidName(name) {
			return fmt.Errorf("got %s %.100q, want a DNS label", what, name)
		}
	}
	if len(b.Pools) > maxPools {
		return fmt.Errorf("got %d pools, want at most %d", len(b.Pools), maxPools)
	}
	for _, pool := range b.Pools {
		if !scenario.ValidName(pool) {
			return fmt.Errorf("got pool %.100q, want a DNS label", pool)
		}
	}
	if len(b.Recent) > MaxRecent {
		return fmt.Errorf("got %d runs, want at most %d", len(b.Recent), MaxRecent)
	}
	for _, id := range b.Recent {
		c, _, err := id.Parse()
		if err != nil {
			return err
		}
		if c.Region != b.Region {
			return fmt.Errorf("got run %s, want runs of region %s only", id, b.Region)
		}
	}
	return nil
}
