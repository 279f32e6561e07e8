// Package answer holds what a step got back against what its scenario asserts of it, and takes variables out of it, whichever protocol
// brought it. What a server sends is its own choice, so any answer gives a verdict, within limits of time and memory.
//
// What does not hold is a *runs.Cause, whose detail shows no secret and no credential.
package answer

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
)

// Answer is what a step got back. Fields that its protocol does not have are zero. It is not safe for concurrent use.
type Answer struct {
	Status       int // 0 = the protocol has none
	Header       http.Header
	Body         []byte
	Broken       *runs.Cause // why there is no complete body
	Opaque       error       // why the body cannot be decoded
	Cache        cachestate.Result
	Phases       runs.Phases
	Duration     time.Duration       // from the step's first attempt to the end of the answer
	Certificates []*x509.Certificate // the server's, leaf first
	TLSVersion   string
	Cookies      []*http.Cookie // of the journey's jar, as they are sent to the step's URL
	Records      []string       // of DNS
	Credentials  []string       // that went with the request: never shown, although the scope may not know them as secrets

	document any // the body as JSON, once it was asked for
	failure  error
	parsed   bool
	plain    any // the document as expressions want it, likewise
	made     bool
}

// json is the body as JSON, numbers as they were written.
func (a *Answer) json() (any, error) {
	if !a.parsed {
		a.document, a.failure = parseJSON(a.Body)
		a.parsed = true
	}
	return a.document, a.failure
}

// unread is why the body cannot be looked at, nil where it can.
func (a *Answer) unread() *runs.Cause {
	if a.Broken != nil {
		return a.Broken
	}
	if a.Opaque != nil {
		return Cause(runs.ClassScript, "%s", a.Opaque)
	}
	return nil
}

// private lists what is never shown: the credentials that went with the request or came with the answer. A target may well repeat them
// in what an assertion looks at.
func (a *Answer) private() []string {
	out := slices.Clone(a.Credentials)
	for _, cookie := range slices.Concat(a.Cookies, (&http.Response{Header: a.Header}).Cookies()) {
		out = append(out, cookie.Value)
	}
	return out
}

// The bounds of texts that a target has a say in, in bytes.
const (
	MaxDetail  = 300      // of a cause
	MaxValue   = 100      // of a value quoted in one
	maxExtract = 64 << 10 // of a variable: it may end up in a URL or a header
)

// Clip shortens a text to at most limit bytes of valid UTF-8.
func Clip(text string, limit int) string {
	if len(text) > limit {
		const mark = "…"
		text = text[:limit-len(mark)] + mark
	}
	return strings.ToValidUTF8(text, "")
}

// Cause makes a cause; the detail is cut to what a result holds.
func Cause(class runs.Class, format string, args ...any) *runs.Cause {
	return &runs.Cause{Class: class, Detail: Clip(fmt.Sprintf(format, args...), MaxDetail)}
}
