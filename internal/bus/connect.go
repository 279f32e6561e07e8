package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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

	Relay *Relay // a probe's, which works from Connect to Close; nil = none
}

// Bus is one connection to the bus. It reconnects by itself for as long as it is open; meanwhile calls fail with ErrUnavailable.
// It is safe for concurrent use.
type Bus struct {
	log  *slog.Logger
	opts Options
	url  string // without secrets
	nc   *nats.Conn
	js   jetstream.JetStream
	done chan struct{} // closed when the connection is closed

	stopRelay func() // ends the relay, and waits for it

	mu        sync.Mutex
	rejected  map[Kind]int64
	consumers map[string]jetstream.Consumer // by stream and pool
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
	dialTimeout         = 2 * time.Second
	dialPause           = 250 * time.Millisecond
	drainTimeout        = 5 * time.Second
)

// Connect reaches the server and checks that it can serve as a bus. While no server answers, Connect goes on trying until ctx
// ends; a server that refuses us, is too old or has no JetStream is an error at once. The caller closes the Bus.
func Connect(ctx context.Context, log *slog.Logger, o Options) (*Bus, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.ResultsBytes == 0 {
		o.ResultsBytes = defaultResultsBytes
	}
	address, err := o.address()
	if err != nil {
		return nil, fmt.Errorf("connect bus: %w", err)
	}
	b := &Bus{
		log: log, opts: o, url: address,
		rejected: map[Kind]int64{}, consumers: map[string]jetstream.Consumer{}, stopRelay: func() {},
	}
	if err := b.dial(ctx); err != nil {
		return nil, fmt.Errorf("connect bus %s: %w", b.url, err)
	}
	if err := b.check(ctx); err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("connect bus %s: %w", b.url, err)
	}
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
	case <-time.After(drainTimeout + time.Second):
		b.nc.Close()
		return fmt.Errorf("close bus %s: got a connection still draining after %s", b.url, drainTimeout)
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

// address returns the address for people, and checks the one for nats.go, whose own errors would print a token in it.
func (o Options) address() (string, error) {
	if o.Server != nil {
		return "in-process", nil
	}
	var out []string
	for one := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || u.Scheme == "" {
			return "", errors.New("got an address that is not a URL, want nats://host:port")
		}
		out = append(out, u.Scheme+"://"+u.Host)
	}
	return strings.Join(out, ","), nil
}

// dial retries until a server takes us, refuses us, or ctx ends. nats.go's own RetryOnFailedConnect would hide why it fails.
func (b *Bus) dial(ctx context.Context) error {
	for told := false; ; {
		done := make(chan struct{})
		nc, err := nats.Connect(b.opts.URL, b.natsOptions(done)...)
		if err == nil {
			b.nc, b.done = nc, done
			return nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return err
		}
		if !told && ctx.Err() == nil {
			b.log.Warn("bus not reachable yet, trying on", "url", b.url, "err", err)
			told = true
		}
		if waitErr := pause(ctx, dialPause); waitErr != nil {
			return fmt.Errorf("%w (%w)", err, waitErr)
		}
	}
}

func (b *Bus) natsOptions(done chan<- struct{}) []nats.Option {
	opts := []nats.Option{
		nats.Name(b.opts.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a token may be wrong while it is being rotated; a probe that gave up would need a person
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent must fail: the spool keeps it, a buffer in memory would not
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(drainTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(done) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil = our own Close
				b.log.Warn("bus disconnected", "url", b.url, "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.log.Info("bus reconnected", "url", b.url) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.log.Warn("bus error", "url", b.url, "err", err) }),
	}
	token := b.opts.Token
	if s := b.opts.Server; s != nil {
		opts, token = append(opts, nats.InProcessServer(s)), s.Token
	}
	if token != "" {
		opts = append(opts, nats.Token(token))
	}
	return opts
}

// check makes sure that the server has all that the streams need.
func (b *Bus) check(ctx context.Context) error {
	version := b.nc.ConnectedServerVersion()
	switch old, dated := olderThan(version, 2, 11), olderThan(version, 2, 14); {
	case old:
		return fmt.Errorf("got server version %s, want at least 2.11 (messages with a time to live)", version)
	case dated:
		b.log.Warn("bus server is dated, better run 2.14 or later", "url", b.url, "version", version)
	}
	var err error
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(b.opts.Timeout)); err != nil {
		return err
	}
	_, err = b.js.AccountInfo(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return errors.New("server has no JetStream; start it with -js")
	}
	return err
}

// olderThan compares a server version such as 2.15.2 or 2.12.0-RC.1. One that cannot be read is not older: it is from the future.
func olderThan(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	gotMajor, err1 := strconv.Atoi(parts[0])
	gotMinor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return false
	}
	return gotMajor < major || gotMajor == major && gotMinor < minor
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
	final := errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrMsgAlreadyAckd) || errors.As(err, &api) && api.Code < 500 && api.Code != 404
	if final {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
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
