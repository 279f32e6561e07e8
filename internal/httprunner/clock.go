package httprunner

import (
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"lastmile/internal/cause"
	"lastmile/internal/runs"
	"lastmile/internal/shortage"
)

// clock notes when the phases of one request began and ended. The transport calls its hooks from several goroutines, some of
// them after the request has ended.
type clock struct {
	mu sync.Mutex
	marks
	end     time.Time
	interim int
	refused bool // a dial failed for a reason that lies outside this machine
}

// marks are the instants of one try to send the request; zero where the instant has not come.
type marks struct {
	getConn, dnsStart, dnsDone, connectStart, connectDone, tlsStart, tlsDone, gotConn, wrote, firstByte time.Time

	connected bool // of several addresses tried one has answered
	reused    bool
	remote    string
}

var errInterim = errors.New("response: got too many 1xx before it")

// set notes the present in a mark that is still empty.
func (c *clock) set(at *time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.IsZero() {
		*at = now
	}
}

// hooks returns the trace that feeds the clock.
func (c *clock) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              c.start,
		DNSStart:             func(httptrace.DNSStartInfo) { c.set(&c.dnsStart) },
		DNSDone:              func(httptrace.DNSDoneInfo) { c.set(&c.dnsDone) },
		ConnectStart:         func(_, _ string) { c.set(&c.connectStart) },
		ConnectDone:          c.dialled,
		TLSHandshakeStart:    func() { c.set(&c.tlsStart) },
		GotConn:              c.got,
		GotFirstResponseByte: func() { c.set(&c.firstByte) },
		Got1xxResponse:       c.provisional,
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				c.set(&c.tlsDone)
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				c.set(&c.wrote)
			}
		},
	}
}

// start begins, and begins anew where the transport tries again because a kept connection turned out to be dead; the time lost
// on that counts as blocked.
func (c *clock) start(string) {
	c.set(&c.getConn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = marks{getConn: c.getConn}
}

// dialled notes the end of one address's dial: of the one that won, or of the last.
func (c *clock) dialled(_, _ string, err error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		c.connectDone, c.connected = now, err == nil
		c.refused = c.refused || err != nil && !shortage.Is(err)
	}
}

func (c *clock) got(info httptrace.GotConnInfo) {
	c.set(&c.gotConn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reused, c.remote = info.Reused, info.Conn.RemoteAddr().String()
}

// provisional lets the wait go on after an interim response: what the user waits for is the real one. With this hook set,
// net/http no longer bounds their number, so this must.
func (c *clock) provisional(int, textproto.MIMEHeader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.firstByte = time.Time{}
	if c.interim++; c.interim > maxInterim {
		return errInterim
	}
	return nil
}

// snapshot tells how far a failed request got.
func (c *clock) snapshot() (at cause.Stage, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cause.Reached(c.dnsStart, c.connectStart, c.tlsStart, c.gotConn, c.wrote, c.firstByte), c.refused
}

// fill writes the request's phases and remote address. Phases that did not happen, or did not end, stay nil.
func (c *clock) fill(q *runs.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q.RemoteAddr = c.remote
	p := &q.Phases
	dial := c.dnsStart
	if dial.IsZero() {
		dial = c.connectStart
	}
	if dial.IsZero() || c.reused { // the connection was there, or another request's dial brought it
		p.Blocked = runs.Span(c.getConn, c.gotConn)
	} else {
		connected := c.connectDone
		if !c.tlsStart.IsZero() {
			connected = c.tlsDone
		}
		p.Blocked, p.DNS = runs.Span(c.getConn, dial), runs.Span(c.dnsStart, c.dnsDone)
		p.Connect, p.TLS = runs.Span(c.connectStart, connected), runs.Span(c.tlsStart, c.tlsDone)
	}
	wrote := c.wrote
	if !c.firstByte.IsZero() && (wrote.IsZero() || wrote.After(c.firstByte)) {
		wrote = c.firstByte // answered before all of the request was sent
	}
	p.Send, p.Wait, p.Receive = runs.Span(c.gotConn, wrote), runs.Span(wrote, c.firstByte), runs.Span(c.firstByte, c.end)
}
