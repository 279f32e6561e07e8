package netrunner

import (
	"net/http/httptrace"
	"sync"
	"time"

	"lastmile/internal/cause"
	"lastmile/internal/runs"
	"lastmile/internal/shortage"
)

// clock notes when the phases of a step began and ended, zero where that has not come. Dials call its hooks from goroutines of their own.
type clock struct {
	mu sync.Mutex

	dnsStart, dnsDone, connectStart, connectDone, tlsStart, tlsDone time.Time
	ready                                                           time.Time // there is what the request is sent over
	wrote, firstByte, end                                           time.Time

	connected bool // of several addresses tried one has answered
	refused   bool // a dial failed for a reason that lies outside this machine
}

// set notes the present in a mark that is still empty.
func (c *clock) set(at *time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.IsZero() {
		*at = now
	}
}

// hooks returns the trace by which a network feeds the clock.
func (c *clock) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { c.set(&c.dnsStart) },
		DNSDone:      func(httptrace.DNSDoneInfo) { c.set(&c.dnsDone) },
		ConnectStart: func(_, _ string) { c.set(&c.connectStart) },
		ConnectDone: func(_, _ string, err error) { // of the address that won, or of the last
			now := time.Now()
			c.mu.Lock()
			defer c.mu.Unlock()
			if !c.connected {
				c.connectDone, c.connected = now, err == nil
				c.refused = c.refused || err != nil && !shortage.Is(err)
			}
		},
	}
}

// stage tells how far the step got.
func (c *clock) stage() (at cause.Stage, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cause.Reached(c.dnsStart, c.connectStart, c.tlsStart, c.ready, c.wrote, c.firstByte), c.refused
}

// phases returns the phases so far; the one under way ends now. Those that did not happen, or did not end, are nil.
func (c *clock) phases() runs.Phases {
	c.mu.Lock()
	defer c.mu.Unlock()
	connected, sent, end := c.connectDone, c.wrote, c.end
	if !c.tlsStart.IsZero() {
		connected = c.tlsDone
	}
	if sent.IsZero() { // nothing was: what comes is waited for from the start
		sent = c.ready
	}
	if end.IsZero() {
		end = time.Now()
	}
	return runs.Phases{
		DNS: runs.Span(c.dnsStart, c.dnsDone), Connect: runs.Span(c.connectStart, connected), TLS: runs.Span(c.tlsStart, c.tlsDone),
		Send: runs.Span(c.ready, c.wrote), Wait: runs.Span(sent, c.firstByte), Receive: runs.Span(c.firstByte, end),
	}
}
