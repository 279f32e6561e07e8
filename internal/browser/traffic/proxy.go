package traffic

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/runs"
)

// Proxy joins the account with the records of the SOCKS proxy that Chromium goes through. Chromium takes the proxy for the target:
// it knows of one span from asking the proxy to its answer, and of one reason why there is no connection. The proxy knows how long
// the look-up took, which address it led to, and the true reason.
//
// A request on a connection that was opened for another, or for none (a preconnect), has neither dns nor connect. Where no record
// fits, the phases stay what Chromium says.
type Proxy struct {
	Connections func() []runs.Connection // every connection opened or tried so far, in order of start

	Clock
}

// A record fits a connection when the two are of one host and port, and the record lies within what Chromium saw of it: slack is
// the error of the clocks' conversion, lag bounds the time that asking the proxy takes.
const (
	slack = 5 * time.Millisecond
	lag   = 100 * time.Millisecond
)

// join gives each hop that opened a connection the phases of its record, and every hop the address that its connection led to.
func (p *Proxy) join(hops []*Hop) {
	free := map[string][]runs.Connection{}
	for _, c := range p.Connections() {
		if c.Failure == nil && c.Network == "tcp" && !c.ConnectEnd.IsZero() {
			key := authority(c.Host, c.Port)
			free[key] = append(free[key], c)
		}
	}
	remotes := map[float64]string{} // by Chromium's number of the connection
	for _, h := range p.openers(hops) {
		records := free[h.target]
		if i := p.nearest(h, records); i >= 0 {
			p.split(h, &records[i])
			remotes[h.connection] = records[i].Remote.String()
			free[h.target] = slices.Delete(records, i, i+1) // each is of one connection
		}
	}
	for _, h := range hops {
		h.RemoteAddr = ""
		if h.BrowserCache == "" && h.connection != 0 {
			h.RemoteAddr = remotes[h.connection]
		}
	}
}

// openers returns the hops that opened a connection, in the order in which they did.
func (p *Proxy) openers(hops []*Hop) []*Hop {
	var out []*Hop
	for _, h := range hops {
		if h.BrowserCache == "" && h.timing != nil && h.timing.ConnectStart >= 0 && h.timing.ConnectEnd >= h.timing.ConnectStart {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b *Hop) int { return cmp.Compare(a.opened(), b.opened()) })
	return out
}

// opened is when the hop's connection was begun, in seconds of Chromium's clock.
func (h *Hop) opened() float64 { return h.timing.RequestTime + h.timing.ConnectStart/1000 }

// nearest returns which record fits the hop's connection best, -1 where none does.
func (p *Proxy) nearest(h *Hop, records []runs.Connection) int {
	t := h.timing
	start, ready := p.At(h.opened()), p.At(t.RequestTime+t.ConnectEnd/1000)
	if t.SslStart >= 0 {
		ready = p.At(t.RequestTime + t.SslStart/1000)
	}
	best, least := -1, time.Duration(0)
	for i := range records {
		before, after := records[i].Start.Sub(start), ready.Sub(records[i].ConnectEnd)
		if before < -slack || before > lag || after < -slack {
			continue
		}
		if off := before.Abs() + after.Abs(); best < 0 || off < least {
			best, least = i, off
		}
	}
	return best
}

// split divides what Chromium saw of opening a connection as the record does. What asking the proxy took counts as blocked, and
// connect ends when Chromium could send, so that the phases still add up.
func (p *Proxy) split(h *Hop, c *runs.Connection) {
	ms := func(from, to time.Time) *float64 { return new(max(0, runs.Milliseconds(to.Sub(from)))) }
	t, began := h.timing, p.At(h.timing.RequestTime)
	h.Phases.Blocked = ms(began, c.ConnectStart)
	if !c.DNSStart.IsZero() {
		h.Phases.Blocked, h.Phases.DNS = ms(began, c.DNSStart), ms(c.DNSStart, c.DNSEnd)
	}
	h.Phases.Connect = ms(c.ConnectStart, p.At(t.RequestTime+t.ConnectEnd/1000))
}

// cause says why there was no connection to a target: the reason of the latest record of a failure that began by then. It is nil
// where Chromium's own reason stands, and of class probe where it is the proxy that gave no answer, which is no fault of the
// target's.
func (p *Proxy) cause(where, text string, by time.Time) *runs.Cause {
	name := strings.TrimPrefix(text, "net::ERR_")
	dead := strings.HasPrefix(name, "PROXY_")
	if !dead && !strings.HasPrefix(name, "SOCKS_") && name != "ADDRESS_UNREACHABLE" { // as Chromium calls a SOCKS reply "host unreachable"
		return nil
	}
	if !dead {
		for _, c := range slices.Backward(p.Connections()) {
			if c.Failure != nil && authority(c.Host, c.Port) == where && !c.Start.After(by) {
				return c.Failure
			}
		}
	}
	return &runs.Cause{Class: runs.ClassProbe, Detail: text + ": the run's own proxy did not answer"}
}

// fault says that it is the proxy that has failed the request; nil where it is not.
func (p *Proxy) fault(h *Hop, now time.Time) *runs.Cause {
	cause := p.cause(h.target, h.Error, now)
	if cause == nil || cause.Class != runs.ClassProbe {
		return nil
	}
	return &runs.Cause{Class: cause.Class, Detail: fmt.Sprintf("load %s: %s", h.URL, cause.Detail)}
}

// authority writes a host and its port as they are compared.
func authority(host string, port uint16) string {
	return net.JoinHostPort(strings.ToLower(strings.Trim(host, "[]")), strconv.Itoa(int(port)))
}

// targetOf is the authority of a URL.
func targetOf(u *url.URL) string {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil { // none: the scheme's own
		port = 80
		if u.Scheme == "https" || u.Scheme == "wss" {
			port = 443
		}
	}
	return authority(u.Hostname(), uint16(port))
}
