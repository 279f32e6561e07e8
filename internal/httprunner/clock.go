package httprunner

import (
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"lastmile/internal/runs"
)

// clock notes when the phases of one request began and ended. The transport calls its hooks from several goroutines, some of
// them after the request has ended.
type clock struct {
	mu                        sync.Mutex
	getConn                   time.Time
	dnsStart, dnsDone         time.Time
	connectStart, connectDone time.Time // of the address that won, where several were tried
	tlsStart, tlsDone         time.Time
	gotConn                   time.Time
	wrote                     time.Time
	firstByte                 time.Time
	end                       time.Time
	connected                 bool
	reused                    bool
	remote                    string
	interim                   int
	refused                   bool // a dial failed for a reason that lies outside this machine
}

var errInterim = errors.New("too many 1xx responses")

// mark runs note with the time and under the lock.
func (c *clock) mark(note func(now time.Time)) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	note(now)
}

// first sets a time that is not set yet.
func first(at *time.Time, now time.Time) {
	if at.IsZero() {
		*at = now
	}
}

// hooks returns the trace that feeds the clock.
func (c *clock) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { c.mark(c.restart) },
		DNSStart:             func(httptrace.DNSStartInfo) { c.mark(func(now time.Time) { first(&c.dnsStart, now) }) },
		DNSDone:              func(httptrace.DNSDoneInfo) { c.mark(func(now time.Time) { first(&c.dnsDone, now) }) },
		ConnectStart:         func(_, _ string) { c.mark(func(now time.Time) { first(&c.connectStart, now) }) },
		ConnectDone:          func(_, _ string, err error) { c.mark(func(now time.Time) { c.dialled(now, err) }) },
		TLSHandshakeStart:    func() { c.mark(func(now time.Time) { first(&c.tlsStart, now) }) },
		TLSHandshakeDone:     c.handshaken,
		GotConn:              c.got,
		WroteRequest:         c.written,
		GotFirstResponseByte: func() { c.mark(func(now time.Time) { first(&c.firstByte, now) }) },
		Got1xxResponse:       c.provisional,
	}
}

// restart begins anew when the transport retries after a kept connection turned out to be dead; what was lost counts as blocked.
func (c *clock) restart(now time.Time) {
	if c.getConn.IsZero() {
		c.getConn = now
		return
	}
	c.dnsStart, c.dnsDone, c.connectStart, c.connectDone = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.tlsStart, c.tlsDone, c.gotConn, c.wrote, c.firstByte = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.connected, c.reused = false, false
}

func (c *clock) dialled(now time.Time, err error) {
	switch {
	case err == nil && !c.connected:
		c.connected, c.connectDone = true, now
	case err != nil && !c.connected:
		c.connectDone = now
		c.refused = c.refused || !exhausted(err)
	}
}

func (c *clock) handshaken(_ tls.ConnectionState, err error) {
	c.mark(func(now time.Time) {
		if err == nil {
			first(&c.tlsDone, now)
		}
	})
}

func (c *clock) got(info httptrace.GotConnInfo) {
	c.mark(func(now time.Time) {
		c.gotConn, c.reused = now, info.Reused
		c.remote = info.Conn.RemoteAddr().String()
	})
}

func (c *clock) written(info httptrace.WroteRequestInfo) {
	c.mark(func(now time.Time) {
		if info.Err == nil {
			first(&c.wrote, now)
		}
	})
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

// header notes that the response header is here, for the case that no hook told of its first byte.
func (c *clock) header() { c.mark(func(now time.Time) { first(&c.firstByte, now) }) }

// stop notes the end of the request; the first call counts.
func (c *clock) stop() { c.mark(func(now time.Time) { first(&c.end, now) }) }

// stage is the part of a request that it has reached.
type stage string

// The stages, named as a detail reads: "timed out after 2s waiting for the response".
const (
	stageBlocked stage = "waiting for a connection"
	stageDNS     stage = "looking up the host"
	stageConnect stage = "connecting"
	stageTLS     stage = "in the TLS handshake"
	stageSend    stage = "sending the request"
	stageWait    stage = "waiting for the response"
	stageReceive stage = "receiving the response"
)

// snapshot returns what there is to know about a request that failed.
func (c *clock) snapshot() (at stage, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.firstByte.IsZero():
		at = stageReceive
	case !c.wrote.IsZero():
		at = stageWait
	case !c.gotConn.IsZero():
		at = stageSend
	case !c.tlsStart.IsZero():
		at = stageTLS
	case !c.connectStart.IsZero():
		at = stageConnect
	case !c.dnsStart.IsZero():
		at = stageDNS
	default:
		at = stageBlocked
	}
	return at, c.refused
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
		p.Blocked = span(c.getConn, c.gotConn)
	} else {
		p.Blocked, p.DNS = span(c.getConn, dial), span(c.dnsStart, c.dnsDone)
		p.Connect = span(c.connectStart, c.connectDone)
		if !c.tlsStart.IsZero() {
			p.Connect, p.TLS = span(c.connectStart, c.tlsDone), span(c.tlsStart, c.tlsDone)
		}
	}
	wrote := c.wrote
	if !c.firstByte.IsZero() && (wrote.IsZero() || wrote.After(c.firstByte)) {
		wrote = c.firstByte // answered before all of the request was sent
	}
	p.Send, p.Wait, p.Receive = span(c.gotConn, wrote), span(wrote, c.firstByte), span(c.firstByte, c.end)
}

// span is the time between two instants in milliseconds, nil where one of them never came.
func span(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	v := milliseconds(to.Sub(from))
	return &v
}

// milliseconds converts to the unit of results, to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(max(d, 0).Microseconds()) / 1000 }
