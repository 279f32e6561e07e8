package traffic

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/chromedp/cdproto/network"

	"lastmile/internal/runs"
)

// A page chooses most of what is in its requests and responses.
const (
	maxHeaders      = 8 << 10  // bytes kept of the headers of a request, and as many of its response
	maxHeadersOfRun = 16 << 20 // bytes kept of all headers of a run
	maxField        = 4 << 10  // bytes kept of a URL and of what else is kept only to be shown
)

func clip(text string) string { return text[:min(len(text), maxField)] }

// exchange is what a HAR has of the request beyond what results have.
func (h *Hop) exchange() *runs.Exchange {
	e := &runs.Exchange{
		URL: clip(h.raw), StatusText: h.statusText, RequestHeaders: h.requestHeaders, ResponseHeaders: h.Headers,
		BodyBytes: -1, MIME: h.mime, Priority: h.priority, Initiator: h.initiator,
	}
	if h.ended {
		e.BodyBytes = h.body
	}
	e.RequestBytes = contentLength(h.requestHeaders)
	return e
}

// contentLength is the length of a body as its headers say; 0 where they do not.
func contentLength(headers http.Header) int64 {
	n, err := strconv.ParseInt(headers.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// keepFor bounds the headers of a response, but for those of documents, about which steps may ask.
func (t *Log) keepFor(h *Hop, headers http.Header) http.Header {
	if h.document {
		return headers
	}
	return t.keep(h.Headers, headers)
}

// keep bounds the headers that take the place of others: the longest go first. It is nil only where headers is.
func (t *Log) keep(before, headers http.Header) http.Header {
	for name := range before {
		t.room += weight(before, name)
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(weight(headers, a), weight(headers, b)), cmp.Compare(a, b))
	})
	room := min(maxHeaders, t.room)
	for _, name := range names {
		n := weight(headers, name)
		if n > room {
			delete(headers, name)
			continue
		}
		room -= n
		t.room -= n
	}
	return headers
}

// weight is how many bytes the lines of a header take.
func weight(headers http.Header, name string) int {
	n := 0
	for _, value := range headers[name] {
		n += len(name) + len(value)
	}
	return n
}

// headersOf converts the protocol's headers, in which several values of a name are lines of one.
func headersOf(in network.Headers) http.Header {
	out := make(http.Header, len(in))
	for name, value := range in {
		if text, ok := value.(string); ok {
			out[http.CanonicalHeaderKey(name)] = strings.Split(text, "\n")
		}
	}
	return out
}
