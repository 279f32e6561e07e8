package traffic

import (
	"cmp"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
)

// Party is who speaks in a session.
type Party struct {
	From  string      // page, frame, worker, service-worker, popup
	Frame cdp.FrameID // page: its main frame; what its other frames ask for is from "frame"
}

// Attach says who speaks in a session.
func (t *Log) Attach(session target.SessionID, party Party) { t.parties[session] = party }

// Party returns who speaks in a session.
func (t *Log) Party(session target.SessionID) Party { return t.parties[session] }

// Detach stops waiting for what a session that has ended had under way: nobody will tell of its end.
func (t *Log) Detach(session target.SessionID) {
	for _, x := range t.exchanges {
		if x.active && x.hopsSeen.first == session {
			t.deactivate(x)
		}
	}
}

// sightings counts, by session, how many of the things that come in order a session has told of: several may tell of the same.
type sightings struct {
	total int // told of by any
	first target.SessionID
	n     int // told of by the first
	other map[target.SessionID]int
}

// next counts one more from the session, and reports whether it is news.
func (s *sightings) next(session target.SessionID) bool {
	if s.total == 0 {
		s.first = session
	}
	n := &s.n
	if session != s.first {
		count := s.other[session]
		n = &count
		defer func() { s.other[session] = count }()
		if s.other == nil {
			s.other = map[target.SessionID]int{}
		}
	}
	*n++
	if *n <= s.total {
		return false
	}
	s.total = *n
	return true
}

// join makes a session that has told of nothing yet go on where the others are.
func (s *sightings) join(session target.SessionID) {
	if _, known := s.other[session]; known || session == s.first {
		return
	}
	if s.other == nil {
		s.other = map[target.SessionID]int{}
	}
	s.other[session] = s.total
}

// describe fills in what is known of a request before it is answered.
func (t *Log) describe(h *Hop, session target.SessionID, ev *network.EventRequestWillBeSent) {
	party := t.parties[session]
	h.From = party.From
	if h.From == "page" && ev.FrameID != "" && ev.FrameID != party.Frame {
		h.From = "frame"
	}
	h.Type = typeOf(ev.Type)
	switch {
	case speculative(ev):
		h.Type = "prefetch"
	case ev.Initiator != nil && ev.Initiator.Type == network.InitiatorTypePreflight:
		h.Type = "preflight"
	}
	h.StartedAt = t.clock.At(ev.Timestamp.Float64())
	h.requestHeaders = t.keep(nil, headersOf(ev.Request.Headers))
	h.priority = string(ev.Request.InitialPriority)
	h.initiator = clip(initiatorOf(ev.Initiator))
}

// speculative reports whether the page only may need the answer, some time later. Chromium has no type of its own for all of these.
func speculative(ev *network.EventRequestWillBeSent) bool {
	for name, value := range ev.Request.Headers {
		if text, _ := value.(string); strings.EqualFold(name, "Sec-Purpose") || strings.EqualFold(name, "Purpose") {
			return strings.HasPrefix(text, "prefetch")
		}
	}
	return ev.Type == network.ResourceTypePrefetch
}

// initiatorOf is the URL of the document or script that asked for something, "" where nobody says.
func initiatorOf(i *network.Initiator) string {
	if i == nil || i.URL != "" {
		return cmp.Or(i, &network.Initiator{}).URL
	}
	for stack := i.Stack; stack != nil; stack = stack.Parent {
		for _, frame := range stack.CallFrames {
			if frame.URL != "" {
				return frame.URL
			}
		}
	}
	return ""
}

// refine takes the type from the answer where the request did not tell it: what a worker imports has none at all.
func (h *Hop) refine(t network.ResourceType, mime string) {
	switch named := typeOf(t); {
	case h.Type != "other":
	case named != "other":
		h.Type = named
	case strings.HasSuffix(mime, "/javascript"):
		h.Type = "script"
	}
}

// typeOf names a type of resource as results do.
func typeOf(t network.ResourceType) string {
	switch t {
	case network.ResourceTypeDocument, network.ResourceTypeStylesheet, network.ResourceTypeImage, network.ResourceTypeMedia,
		network.ResourceTypeFont, network.ResourceTypeScript, network.ResourceTypeXHR, network.ResourceTypeFetch,
		network.ResourceTypePrefetch, network.ResourceTypeEventSource, network.ResourceTypeWebSocket, network.ResourceTypeManifest,
		network.ResourceTypePreflight:
		return strings.ToLower(string(t))
	case network.ResourceTypePing:
		return "beacon"
	}
	return "other"
}
