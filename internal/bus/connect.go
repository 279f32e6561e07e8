package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/bus/dial"
	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/lease"
	"lastmile/internal/bus/orders"
)

// ErrUnavailable is in the error of a call that may succeed later as it stands: the server could not be reached, did not answer,
// or could not store for now. An error without it is final for that message.
var ErrUnavailable = errors.New("bus unavailable")

// Options say which server a Bus uses, and how.
type Options struct {
	Server *Server // an embedded server, reached in-process; or
	URL    string  // one or more addresses, nats://host:port or tls://host:port, separated by commas
	Token  string  // for URL; never printed
	Name   string  // what the server calls this connection

	// Timeout bounds one exchange with the server where the caller's context has no deadline; zero = 5 s.
	Timeout time.Duration
	// ResultsBytes is how much each region's results may take on disk; when they do, new ones are refused until old ones have
	// expired. Zero = 1 GiB.
	ResultsBytes int64
	// Replicas is on how many servers of the hub, a cluster, EnsureStreams keeps everything: 3 to bear the loss of one. Zero = as it is, one
	// at first.
	Replicas int

	Relay *Relay // a probe's, which works from Connect to Close; nil = none

	// Now is the hub's time as Dispatch and ServeTime go by it: a coordinator's, which does not believe every jump of the machine's clock. nil =
	// the machine's clock.
	Now func() time.Time
}

// Bus is one connection to the bus. It reconnects by itself for as long as it is open; meanwhile calls fail with ErrUnavailable.
// It is safe for concurrent use.
type Bus struct {
	*orders.Coord // how far each region has been dispatched, and with which slots its combinations began

	log  *slog.Logger
	opts Options
	url  string // without secrets
	nc   *nats.Conn
	js   jetstream.JetStream
	done <-chan struct{} // closed when the connection is closed

	stopRelay func() // ends the relay, and waits for it

	mu        sync.Mutex
	rejected  map[Kind]int64
	consumers map[string]jetstream.Consumer // by stream and pool
	term      lease.Term                    // of this coordinator's last leadership
}

// Stats is the state of a Bus since Connect.
type Stats struct {
	Connected  bool
	Reconnects int64
	Rejected   map[Kind]int64 // every kind, zeros included
}

const (
	defaultTimeout      = 5 * time.Second
	defaultResultsBytes = 1 << 30
)

// Connect reaches the server and checks that it can serve as a bus. While no server answers, or the one that does has no JetStream to offer, Connect
// goes on trying until ctx ends; a server that refuses us or is too old is an error at once. The caller closes the Bus.
func Connect(ctx context.Context, log *slog.Logger, o Options) (*Bus, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.ResultsBytes == 0 {
		o.ResultsBytes = defaultResultsBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	to := dial.Options{URL: o.URL, Token: o.Token, Name: o.Name, Timeout: o.Timeout}
	if o.Server != nil {
		to.Server, to.Token = o.Server, o.Server.Token
	}
	c, err := dial.Dial(ctx, log, to)
	if err != nil {
		return nil, err
	}
	b := &Bus{
		log: log, opts: o, url: c.URL, nc: c.Conn, js: c.JetStream, done: c.Closed,
		rejected: map[Kind]int64{}, consumers: map[string]jetstream.Consumer{}, stopRelay: func() {},
	}
	b.Coord = orders.NewCoord(b.js, layout.CoordBucket, func(kind, subject string, err error) {
		rejected := b.reject(Kind(kind), subject, err)
		log.Warn("bus message rejected", "kind", kind, "subject", rejected.Subject, "err", err)
	}, fault)
	if o.Relay != nil {
		b.startRelay(context.WithoutCancel(ctx))
	}
	return b, nil
}

// Close sends what is still to be sent and ends the connection, within 5 s.
func (b *Bus) Close() error {
	b.stopRelay()
	if err := b.nc.Drain(); err != nil { // not connected: there is nothing to send it to
		b.nc.Close()
	}
	select {
	case <-b.done:
		return nil
	case <-time.After(dial.DrainTimeout + time.Second):
		b.nc.Close()
		return fmt.Errorf("close bus %s: got a connection still draining after %s", b.url, dial.DrainTimeout)
	}
}

// Stats returns the state of the connection and the counts of rejected messages.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Connected: b.nc.IsConnected(), Reconnects: int64(b.nc.Stats().Reconnects), Rejected: map[Kind]int64{}}
	for _, k := range Kinds() {
		s.Rejected[k] = b.rejected[k]
	}
	return s
}

// awaitConnected waits until the connection is up again. nats.go has no such call, and its Fetch leaks a subscription when it is
// used without a connection.
func (b *Bus) awaitConnected(ctx context.Context) error {
	for !b.nc.IsConnected() {
		if b.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nats.ErrDisconnected
		}
	}
	return nil
}

// fault wraps an error of the bus and says whether the same call may succeed later: what is missing may still be set up.
func fault(what string, err error) error {
	var api *jetstream.APIError
	final := errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrMsgAlreadyAckd) || errors.As(err, &api) && !momentary(api)
	if final {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
}

// accountFull is the server's error for an account that may not store more, for now.
const accountFull = 10002

// momentary reports whether the server may do later what it refuses now: a part of it is missing, the same message is being stored already (409), or there
// is more to be stored than it can take at once (429).
func momentary(api *jetstream.APIError) bool {
	switch api.Code {
	case 404, 409, 429:
		return true
	}
	return api.Code >= 500 || api.ErrorCode == accountFull
}

// within gives ctx the bus's timeout where it has no deadline of its own.
func (b *Bus) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, b.opts.Timeout)
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
