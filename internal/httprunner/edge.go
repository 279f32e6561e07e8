package httprunner

import (
	"lastmile/internal/answer"
	"lastmile/internal/cachestate"
)

// locate notes the region that the body of an answer tells, where routing goes by that.
func (e *exchange) locate(a *answer.Answer) {
	if e.hop == nil { // the answer broke off, and has been recorded
		return
	}
	q := &e.hop.request
	if routing := e.session.scenario.Routing; routing.Concerns(q.URL) {
		q.ServedRegion = clip(e.session.judge.Region(routing, a), maxRegion)
	}
}

// edge notes what the headers of a hop's response, and the address it came from, tell of what stands between us and the origin.
func (e *exchange) edge(h *hop) {
	q := &h.request
	if q.Status == 0 {
		return
	}
	headers := q.Exchange.ResponseHeaders
	q.PoP, q.Exposed = cachestate.PoP(headers), cachestate.Exposed(q.Exchange.RequestHeaders, headers, q.Cache)
	if routing := e.session.scenario.Routing; routing.Concerns(q.URL) && q.ServedRegion == "" {
		q.ServedRegion = clip(routing.OfHeader(headers)+routing.OfAddress(q.RemoteAddr), maxRegion) // by one of the two
	}
}
