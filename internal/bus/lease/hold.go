package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// expires is when the holder of a grant must have stopped, a sixth of the TTL before anybody else begins.
func (l *Lease) expires(g *grant) time.Time { return g.since.Add(l.opts.TTL * 5 / 6) }

// hold leads for as long as the lease can be renewed. ended says that lead returned of its own accord.
func (l *Lease) hold(ctx context.Context, g grant, lead func(ctx context.Context, t Term) error) (ended bool, err error) {
	leading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- lead(leading, g.term) }()
	// A timer of its own ends the leadership, whatever a renewal is waiting for.
	expiry := time.AfterFunc(time.Until(l.expires(&g)), stop)
	defer expiry.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for pause := time.Until(g.since.Add(l.opts.TTL / 3)); ; {
		wait.Reset(pause)
		select {
		case err = <-done:
			l.release(ctx, g)
			return leading.Err() == nil, err
		case <-leading.Done():
			err = <-done
			if ctx.Err() != nil {
				l.release(ctx, g)
			}
			return false, err
		case <-wait.C:
		}
		switch err := l.renew(leading, &g); {
		case err == nil:
			expiry.Reset(time.Until(l.expires(&g)))
			pause = time.Until(g.since.Add(l.opts.TTL / 3))
		case errors.Is(err, errLost):
			stop()
		default:
			pause = l.poll() / 2
			if leading.Err() == nil {
				l.log.Warn("lease not renewed, trying on", "term", g.term.Number, "left", time.Until(l.expires(&g)).Round(time.Millisecond), "err", err)
			}
		}
	}
}

// errLost is that another has the lease.
var errLost = errors.New("another coordinator has taken the lease")

// renew replaces our record by the same one. The answer to an earlier attempt may have been lost: then the record is ours at another
// revision, and that one is replaced.
func (l *Lease) renew(ctx context.Context, g *grant) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.TTL/6)
	defer cancel()
	kv, err := l.js.KeyValue(ctx, bucket)
	if err != nil {
		return err
	}
	err = l.store(ctx, kv, g, g.revision)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return err
	}
	now, revision, err := read(ctx, kv)
	switch {
	case err != nil:
		return err
	case revision <= g.revision:
		return fmt.Errorf("got revision %d of the lease, want more than %d: the hub is behind, or has lost it", revision, g.revision)
	case now.Holder == l.opts.Holder && now.Term == g.term.Number:
		return l.store(ctx, kv, g, revision)
	case now.Holder == l.opts.Holder: // or the two would unseat each other for ever
		l.doubled = true
		l.log.Error("another coordinator has the same id", "holder", l.opts.Holder, "address", now.Address, "term", now.Term)
	}
	return errLost
}

// releaseTime bounds giving the lease back.
const releaseTime = 2 * time.Second

// release gives the lease back: the record stays, for its term, but names nobody. Where it cannot be reached, it runs out.
func (l *Lease) release(ctx context.Context, g grant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	nobody := Lease{log: l.log, js: l.js}
	kv, err := l.js.KeyValue(ctx, bucket)
	if err == nil {
		err = nobody.store(ctx, kv, &g, g.revision)
	}
	if err != nil {
		l.log.Info("lease not given back, it runs out", "term", g.term.Number, "err", err)
	}
}
