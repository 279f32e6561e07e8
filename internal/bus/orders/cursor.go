package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/scenario"
)

// ErrConflict is in the error of a swap when somebody else was faster.
var ErrConflict = errors.New("changed by another coordinator")

// What can be wrong with what stands in the bucket.
const (
	KindCursor = "cursor"
	KindBegun  = "begun"
)

// Coord is the state of the coordinators in its bucket: for each region how far it has been dispatched, and with which slot each of
// its combinations began; for all of them together how the alerts stand, and which maintenance is planned. All of it changes by compare-and-swap only. It is safe for concurrent use.
type Coord struct {
	js     jetstream.JetStream
	bucket string
	reject func(kind, subject string, err error)
	fault  func(what string, err error) error
}

// NewCoord uses a bucket. reject is told of what cannot be used, fault wraps the errors of the server.
func NewCoord(js jetstream.JetStream, bucket string, reject func(kind, subject string, err error), fault func(what string, err error) error) *Coord {
	return &Coord{js: js, bucket: bucket, reject: reject, fault: fault}
}

// Cursor returns up to which slot, inclusive, the region has been dispatched, and the revision to hand to AdvanceCursor. A region
// without a cursor has the zero time. A cursor that cannot be read counts as rejected and as absent, and can be replaced.
func (c *Coord) Cursor(ctx context.Context, region string) (slot time.Time, revision uint64, err error) {
	value, revision, err := c.read(ctx, KindCursor, region)
	if err != nil || revision == 0 {
		return slot, 0, err
	}
	if slot, err = time.Parse(time.RFC3339Nano, string(value)); err != nil {
		c.reject(KindCursor, key(KindCursor, region), err)
		return time.Time{}, revision, nil
	}
	return slot, revision, nil
}

// AdvanceCursor moves the region's cursor and returns its new revision. revision is the one that Cursor or the last AdvanceCursor
// returned; where it is no longer the latest the error holds ErrConflict, and nothing has changed.
func (c *Coord) AdvanceCursor(ctx context.Context, region string, slot time.Time, revision uint64) (uint64, error) {
	return c.swap(ctx, KindCursor, region, []byte(slot.UTC().Format(time.RFC3339Nano)), revision)
}

// key is where something of a region stands in the bucket, or of all where region is empty.
func key(kind, region string) string {
	if region == "" {
		return kind
	}
	return kind + "." + region
}

// called names it in errors.
func called(kind, region string) string {
	if region == "" {
		return kind
	}
	return kind + " of " + region
}

// perRegion lists the kinds of which there is one for each region. Of any other there is one.
func perRegion(kind string) bool { return kind == KindCursor || kind == KindBegun }

// checkRegion refuses what must not become a part of a key.
func checkRegion(kind, region string) error {
	if perRegion(kind) && !scenario.ValidName(region) {
		return fmt.Errorf("got region %.100q, want a DNS label: a-z, 0-9 and inner hyphens, at most 63", region)
	}
	return nil
}

// read returns what stands there, and its revision: 0 where there is nothing.
func (c *Coord) read(ctx context.Context, kind, region string) (value []byte, revision uint64, err error) {
	what := "read " + called(kind, region)
	if err := checkRegion(kind, region); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, err)
	}
	kv, err := c.js.KeyValue(ctx, c.bucket)
	if err != nil {
		return nil, 0, c.fault(what, err)
	}
	entry, err := kv.Get(ctx, key(kind, region))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, c.fault(what, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// swap replaces what stands there where revision is still the latest, and returns its new one. Where it is not, the error holds ErrConflict.
func (c *Coord) swap(ctx context.Context, kind, region string, value []byte, revision uint64) (next uint64, err error) {
	what := "write " + called(kind, region)
	if err := checkRegion(kind, region); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	kv, err := c.js.KeyValue(ctx, c.bucket)
	if err != nil {
		return 0, c.fault(what, err)
	}
	if revision == 0 {
		next, err = kv.Create(ctx, key(kind, region), value)
	} else {
		next, err = kv.Update(ctx, key(kind, region), value, revision)
	}
	switch {
	case Taken(err), errors.Is(err, jetstream.ErrKeyExists):
		return 0, fmt.Errorf("%s from revision %d: %w", what, revision, ErrConflict)
	case err != nil:
		return 0, c.fault(what, err)
	}
	return next, nil
}
