// Package guard looks through answers for what whoever asked must not see.
package guard

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/httprunner/coding"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Guard looks through all that a session gets for one secret. It is not safe for concurrent use.
type Guard struct {
	find   *vars.Finder
	bodies *coding.Bodies // of its own: what it has read ahead is read again
}

// New returns what looks for the secret, in bodies of so many bytes at most, as received and again decoded.
func New(secret vars.Secret, limit scenario.Bytes) *Guard {
	return &Guard{vars.NewFinder(secret), coding.New(limit)}
}

// Leak is the error of an answer that has what is another user's.
type Leak struct {
	where   string
	pop     string
	request runs.Request // as far as it is known when the answer has come
}

// Error implements error. It has nothing of the answer but what the cache said.
func (e *Leak) Error() string {
	q := &e.request
	text := fmt.Sprintf("found in the %s of %s: status %d, cache %s", e.where, q.URL, q.Status, q.Cache.State)
	if q.Cache.Evidence != "" {
		text += " (" + q.Cache.Evidence + ")"
	}
	if e.pop != "" {
		text += ", PoP " + e.pop
	}
	if q.Cache.HasAge {
		text += fmt.Sprintf(", age %s", q.Cache.Age.Round(time.Second))
	}
	if q.ServedRegion != "" {
		text += ", served by " + q.ServedRegion
	}
	return text
}

// Look reads an answer ahead; a nil guard does not. The error, if any, is a *Leak; else the answer can be read as if nothing had happened.
func (g *Guard) Look(resp *http.Response, q *runs.Request) error {
	if g == nil {
		return nil
	}
	wire, err := g.bodies.Read(resp.Body) // an error comes again when the body is read
	where := g.where(resp, wire)
	if where == "" {
		resp.Body = ahead{io.MultiReader(bytes.NewReader(wire), rest{err}), resp.Body}
		return nil
	}
	_ = resp.Body.Close()
	q.Exchange.ResponseHeaders = aboutCaching(resp.Header)
	return &Leak{where, cachestate.PoP(resp.Header), *q}
}

// Asks returns which part of a request has the secret; "" where none has. An answer to one that has it may repeat it, whoever's it is.
func (g *Guard) Asks(url string, header http.Header, body []byte) string {
	switch {
	case g == nil:
		return ""
	case g.find.In(url):
		return "URL"
	case g.inHeader(header):
		return "header"
	case g.find.In(string(body)):
		return "body"
	}
	return ""
}

func (g *Guard) inHeader(header http.Header) bool {
	for name, values := range header {
		if g.find.In(name) || slices.ContainsFunc(values, g.find.In) {
			return true
		}
	}
	return false
}

// where is the part of an answer that has the secret; "" where none has.
func (g *Guard) where(resp *http.Response, wire []byte) string {
	if g.find.In(resp.Status) {
		return "status line"
	}
	if g.inHeader(resp.Header) {
		return "header"
	}
	if g.find.In(string(wire)) {
		return "body"
	}
	if body, err := g.bodies.Decode(resp.Header.Get("Content-Encoding"), wire); err == nil && g.find.In(string(body)) {
		return "body"
	}
	if g.inHeader(resp.Trailer) {
		return "trailer"
	}
	return ""
}

// aboutCaching is what of a header tells how caches dealt with an answer, or ought to.
func aboutCaching(h http.Header) http.Header {
	kept := maps.Clone(h)
	maps.DeleteFunc(kept, func(name string, _ []string) bool {
		switch name {
		case "Age", "Date", "Expires", "Last-Modified", "Pragma", "Vary", "Via", "X-Served-By", "X-Timer", "X-Varnish", "Cf-Ray", "Server":
			return false
		}
		return !strings.Contains(name, "Cache") && !strings.HasSuffix(name, "-Control")
	})
	return kept
}

// ahead is a body that has been read ahead.
type ahead struct {
	io.Reader
	io.Closer
}

// rest is what follows the part of a body that could be read.
type rest struct{ err error }

// Read implements io.Reader.
func (r rest) Read([]byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return 0, io.EOF
}
