// Package lease has one of several coordinators lead: the one whose record stands under a key at the hub, and who renews it.
//
//	name      key      holds
//	KV lease  leader   who leads, since which term; empty holder = nobody, given back
//
// Nobody's wall clock decides. The holder stops leading when its last renewal that succeeded was begun five sixths of the TTL ago, by its
// own monotonic clock. Another takes over when it has seen the record stand unchanged for the whole TTL and a little more, by its own
// monotonic clock, and it saw the record after that was stored. So the first has stopped before the second begins, however the clocks are set,
// and whether the hub was there or not. What that does not cover (a process that was stopped or a machine that was suspended with a message under way)
// the term does: each leadership has a greater one than all before it, and what is ordered bears it.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The bucket and its one key.
const (
	bucket  = "lease"
	key     = "leader"
	subject = "$KV." + bucket + "." + key // on which the records are published
)

// DefaultTTL is how long a leader that says nothing keeps the others waiting.
const DefaultTTL = 6 * time.Second

// Options say who campaigns.
type Options struct {
	Holder  string        // this candidate's id, which no other process may have at the same time
	Version string        // of the program, for people
	Address string        // of its metrics, for people
	TTL     time.Duration // the same for all candidates; zero = DefaultTTL
}

// Term is one leadership.
type Term struct {
	Number uint64    // greater than that of every earlier leadership
	Began  time.Time // by the hub's clock; zero where that could not be learned
}

// Lease is one candidate's view of the leadership.
type Lease struct {
	log  *slog.Logger
	js   jetstream.JetStream
	opts Options

	highest uint64 // term that has been seen
	doubled bool   // whether another process has our id, so that a record with it may not be ours
}

// Ensure makes the bucket, or brings the one that exists up to date. replicas is on how many of the hub's servers it is kept.
func Ensure(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "Which coordinator leads, changed by compare-and-swap only", History: 1, Replicas: replicas,
	})
	return err
}

// New returns a candidate.
func New(log *slog.Logger, js jetstream.JetStream, o Options) *Lease {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	return &Lease{log: log, js: js, opts: o}
}

// record is what stands under the key.
type record struct {
	Holder  string `json:"holder"` // empty = given back
	Term    uint64 `json:"term"`
	Version string `json:"version,omitempty"`
	Address string `json:"address,omitempty"`
}

// grant is a record of ours that stands, as far as we know.
type grant struct {
	term     Term
	revision uint64
	since    time.Time // just before the request that stored it
}

// Run campaigns, leads and campaigns again until ctx ends; then it returns nil. lead is called with a context that ends with ctx, or before
// anybody else can lead; it must return soon after. A lead that returns earlier than that ends Run with its error. When Run returns, the lease has
// been given back, as far as the hub could be reached, so that another takes over at once.
func (l *Lease) Run(ctx context.Context, lead func(ctx context.Context, t Term) error) error {
	if l.opts.Holder == "" {
		return errors.New("campaign for the lease: got no holder, want an id")
	}
	heard, unsubscribe := l.listen()
	defer unsubscribe()
	for {
		g, err := l.campaign(ctx, heard)
		if err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		l.log.Info("leading", "term", g.term.Number, "holder", l.opts.Holder)
		ended, err := l.hold(ctx, g, lead)
		if ended || ctx.Err() != nil {
			return err
		}
		l.log.Warn("leadership lost, standing by", "term", g.term.Number, "holder", l.opts.Holder, "err", err)
	}
}

// listen returns a channel that tells of each change of the record. It only saves time: what counts is what is read.
func (l *Lease) listen() (heard <-chan struct{}, unsubscribe func()) {
	changes := make(chan struct{}, 1)
	sub, err := l.js.Conn().Subscribe(subject, func(*nats.Msg) {
		select {
		case changes <- struct{}{}:
		default: // there is word already
		}
	})
	if err != nil { // the connection is closed: whoever campaigns will see
		return changes, func() {}
	}
	return changes, func() { _ = sub.Unsubscribe() } // where the connection is closed, so is the subscription
}

// poll is how often a candidate looks at the record, margin what it waits beyond the TTL for clocks that run apart.
func (l *Lease) poll() time.Duration   { return l.opts.TTL / 12 }
func (l *Lease) margin() time.Duration { return l.opts.TTL / 60 }

// watched is the record as a candidate last saw it.
type watched struct {
	revision uint64
	since    time.Time // when that revision was first seen
	told     bool      // whether it has been logged that another leads
	others   bool      // whether the last record that stood there was another's
}

// campaign waits until the lease is ours, or ctx ends: then it returns ctx's error.
func (l *Lease) campaign(ctx context.Context, heard <-chan struct{}) (grant, error) {
	var w watched
	for complained := false; ; {
		g, won, err := l.attempt(ctx, &w)
		switch {
		case ctx.Err() != nil:
			if won {
				l.release(ctx, g)
			}
			return grant{}, ctx.Err()
		case won:
			return g, nil
		case err != nil && !complained:
			l.log.Warn("lease not reachable, trying on", "err", err)
		}
		complained = err != nil
		select {
		case <-ctx.Done():
		case <-heard:
		case <-time.After(l.poll()):
		}
	}
}

// attempt looks at the record, and takes it where nobody has it. Not to win is no error.
func (l *Lease) attempt(ctx context.Context, w *watched) (g grant, won bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.TTL/3)
	defer cancel()
	kv, err := l.js.KeyValue(ctx, bucket)
	if err != nil {
		return g, false, err
	}
	old, revision, err := read(ctx, kv)
	if err != nil {
		return g, false, err
	}
	l.highest = max(l.highest, old.Term)
	if revision != w.revision { // after a read from a server that is behind, the wait begins anew: that is on the safe side
		w.revision, w.since = revision, time.Now()
	}
	free := old.Holder == "" || old.Holder == l.opts.Holder && !l.doubled
	if revision == 0 {
		free = !w.others // where somebody has deleted another's record, or the hub has lost it, its holder may not know yet, and leads
	} else {
		w.others = !free
	}
	if !free && time.Since(w.since) < l.opts.TTL+l.margin() {
		if !w.told {
			l.log.Info("standing by, another coordinator leads", "term", old.Term, "holder", old.Holder, "version", old.Version, "address", old.Address)
			w.told = true
		}
		return g, false, nil
	}
	// The time makes the number grow even where the hub has lost all that it had.
	g.term.Number = max(l.highest+1, uint64(time.Now().Unix()))
	if err := l.store(ctx, kv, &g, revision); err != nil {
		if errors.Is(err, jetstream.ErrKeyExists) { // another was faster
			err = nil
		}
		return grant{}, false, err
	}
	l.highest = g.term.Number
	if entry, err := kv.GetRevision(ctx, key, g.revision); err == nil {
		g.term.Began = entry.Created()
	}
	return g, true, nil
}

// maxTerm is far beyond what terms come to, and fits into a metric.
const maxTerm = 1 << 53

// read returns the record, and its revision: 0 where there is none. One that nobody can read is somebody's of whom nothing is known.
func read(ctx context.Context, kv jetstream.KeyValue) (r record, revision uint64, err error) {
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return r, 0, nil
	}
	if err != nil {
		return r, 0, err
	}
	return decode(entry.Value()), entry.Revision(), nil
}

// decode reads what stands under the key.
func decode(body []byte) (r record) {
	if json.Unmarshal(body, &r) != nil || r.Term > maxTerm {
		return record{Holder: "unknown"}
	}
	return r
}

// Leader returns the address in the leader's record; empty where nobody leads. The holder may be gone without its lease having run out.
func Leader(ctx context.Context, js jetstream.JetStream) (address string, err error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return "", err
	}
	r, _, err := read(ctx, kv)
	if err != nil || r.Holder == "" {
		return "", err
	}
	return r.Address, nil
}

// store puts our record in the place of the one at a revision; jetstream.ErrKeyExists where there is another one by now.
func (l *Lease) store(ctx context.Context, kv jetstream.KeyValue, g *grant, revision uint64) error {
	body, err := json.Marshal(record{Holder: l.opts.Holder, Term: g.term.Number, Version: l.opts.Version, Address: l.opts.Address})
	if err != nil {
		return err
	}
	began := time.Now()
	var stored uint64
	if revision == 0 {
		stored, err = kv.Create(ctx, key, body)
	} else {
		stored, err = kv.Update(ctx, key, body, revision)
	}
	if taken(err) {
		return fmt.Errorf("store lease: %w", jetstream.ErrKeyExists)
	}
	if err != nil {
		return fmt.Errorf("store lease: %w", err)
	}
	g.revision, g.since = stored, began
	return nil
}

// taken reports whether the hub refused a swap because somebody was faster.
func taken(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
