// Package dial reaches a NATS server, and makes sure that it can serve as a bus.
package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DrainTimeout is how long a connection that is drained may take to send what is still to be sent.
const DrainTimeout = 5 * time.Second

const (
	timeout = 2 * time.Second // of one attempt
	pause   = 250 * time.Millisecond

	complainEvery = time.Minute
)

// Options say which server is to be reached, and how.
type Options struct {
	Server  nats.InProcessConnProvider // one in this process; or
	URL     string                     // one or more addresses, separated by commas
	Token   string                     // never printed
	Name    string                     // what the server calls the connection
	Timeout time.Duration              // of one exchange with JetStream
}

// Conn is a connection. It reconnects by itself until it is closed.
type Conn struct {
	URL       string // without secrets
	Conn      *nats.Conn
	JetStream jetstream.JetStream
	Closed    <-chan struct{} // closed with the connection
}

// Dial connects. While no server answers, or the one that does has no JetStream to offer, it goes on trying until ctx ends; a server that
// refuses us or is too old is an error at once. Errors name the address, without secrets.
func Dial(ctx context.Context, log *slog.Logger, o Options) (*Conn, error) {
	address, err := o.address()
	if err != nil {
		return nil, fmt.Errorf("connect bus: %w", err)
	}
	c := &Conn{URL: address}
	if err := c.reach(ctx, log, o); err != nil {
		return nil, fmt.Errorf("connect bus %s: %w", address, err)
	}
	err = c.check(log, o.Timeout)
	if err == nil {
		err = c.awaitJetStream(ctx, log, o.Timeout)
	}
	if err != nil {
		c.Conn.Close()
		return nil, fmt.Errorf("connect bus %s: %w", address, err)
	}
	return c, nil
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

// reach retries until a server takes us, refuses us, or ctx ends. nats.go's own RetryOnFailedConnect would hide why it fails.
func (c *Conn) reach(ctx context.Context, log *slog.Logger, o Options) error {
	for said := (complaint{}); ; {
		closed := make(chan struct{})
		nc, err := nats.Connect(o.URL, o.nats(log, c.URL, closed)...)
		if err == nil {
			c.Conn, c.Closed = nc, closed
			return nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return err
		}
		if ctx.Err() == nil && said.due() {
			log.Warn("bus not reachable yet, trying on", "url", c.URL, "err", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// complaint is what is said once, and again as long as it lasts: what somebody has set up wrongly lasts until they read of it, and why it fails may have changed.
type complaint struct{ last time.Time }

// due reports whether it is to be said now.
func (c *complaint) due() bool {
	if !c.last.IsZero() && time.Since(c.last) < complainEvery {
		return false
	}
	c.last = time.Now()
	return true
}

// nats turns the options into nats.go's own. closed is closed with the connection.
func (o Options) nats(log *slog.Logger, address string, closed chan<- struct{}) []nats.Option {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a token may be wrong while it is being rotated; a probe that gave up would need a person
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent must fail: the spool keeps it, a buffer in memory would not
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(DrainTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil = our own Close
				log.Warn("bus disconnected", "url", address, "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("bus reconnected", "url", address) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("bus error", "url", address, "err", err) }),
	}
	if o.Server != nil {
		opts = append(opts, nats.InProcessServer(o.Server))
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	return opts
}

// check makes sure that the server has all that the streams need.
func (c *Conn) check(log *slog.Logger, wait time.Duration) error {
	version := c.Conn.ConnectedServerVersion()
	switch old, dated := olderThan(version, 2, 11), olderThan(version, 2, 14); {
	case old:
		return fmt.Errorf("got server version %s, want at least 2.11 (messages with a time to live)", version)
	case dated:
		log.Warn("bus server is dated, better run 2.14 or later", "url", c.URL, "version", version)
	}
	var err error
	c.JetStream, err = jetstream.New(c.Conn, jetstream.WithDefaultTimeout(wait))
	return err
}

// awaitJetStream waits until somebody answers for JetStream. A server without it may be a leaf whose link to the hub is down, and a cluster that has just
// started has nobody to answer for some seconds: neither is a reason to give up.
func (c *Conn) awaitJetStream(ctx context.Context, log *slog.Logger, wait time.Duration) error {
	var reason error // the last that is not the end of ctx
	for said := (complaint{}); ; {
		limited, cancel := context.WithTimeout(ctx, wait)
		_, err := c.JetStream.AccountInfo(limited)
		cancel()
		if err == nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
			err = errors.New("server has no JetStream; start it with -js, or if it is a leaf see to its link to the hub, and to default_js_domain in its configuration")
		}
		if reason == nil || ctx.Err() == nil {
			reason = err
		}
		if ctx.Err() == nil && said.due() {
			log.Warn("bus without JetStream yet, trying on", "url", c.URL, "err", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", reason, ctx.Err())
		case <-time.After(pause):
		}
	}
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
