package httprunner

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// maxExtract bounds the value of a variable, in bytes: it may end up in a URL or a header.
const maxExtract = 64 << 10

// response is a response with its body, to be held against the step.
type response struct {
	plan   *plan
	sent   []*http.Request // that led to it
	status int
	header http.Header
	body   []byte
	cache  cachestate.Result
	broken *runs.Cause // why there is no complete body
	opaque error       // why the body cannot be decoded

	document      any // the body as JSON, once it was asked for
	documentError error
	parsed        bool
}

// assertions returns the cause of the first assertion that does not hold. The status comes first, whatever the order: an error
// page explains why the rest of the assertions fail.
func (r *response) assertions() *runs.Cause {
	cause := r.checkStatus()
	if cause == nil {
		cause = r.broken
	}
	for i := 0; i < len(r.plan.step.Assert) && cause == nil; i++ {
		a := &r.plan.step.Assert[i]
		switch a.Subject() {
		case "header", "json":
			cause = r.compare(a)
		case "body":
			cause = r.checkBody(a)
		case "cache":
			if state := string(r.cache.State); slices.Contains(a.Cache, state) == a.Not {
				cause = causef(runs.ClassAssertion, "cache: got %s, want %s%s", state, negated(a.Not), strings.Join(a.Cache, " or "))
			}
		}
	}
	return cause
}

// checkStatus checks the status assertions, or without any that the response is no error.
func (r *response) checkStatus() *runs.Cause {
	got, asserted := r.status, false
	class := runs.ClassAssertion
	switch got / 100 {
	case 4:
		class = runs.ClassHTTP4xx
	case 5:
		class = runs.ClassHTTP5xx
	}
	for i := range r.plan.step.Assert {
		a := &r.plan.step.Assert[i]
		if a.Subject() != "status" {
			continue
		}
		asserted = true
		if a.Status.Has(got) == a.Not {
			return causef(class, "status: got %d, want %s%s", got, negated(a.Not), a.Status)
		}
	}
	if !asserted && got >= 400 {
		return causef(class, "status: got %d, want below 400", got)
	}
	return nil
}

// compare applies the comparators of a header or json assertion.
func (r *response) compare(a *scenario.Assertion) *runs.Cause {
	source := scenario.Extractor{Header: a.Header, JSON: a.JSON}
	got, found, cause := r.find(source)
	if cause != nil {
		return cause
	}
	ok, want, err := a.Check(got, found, r.plan.scope)
	switch {
	case err != nil:
		return causef(runs.ClassScript, "%s: %s", sourceName(source), err)
	case ok:
		return nil
	}
	shown := "nothing"
	if found {
		shown = strconv.Quote(r.show(got))
	}
	if credential(a.Header) {
		shown, want = "a value that is not shown", "another"
	}
	return causef(runs.ClassAssertion, "%s: got %s, want %s", sourceName(source), shown, r.show(want))
}

func (r *response) checkBody(a *scenario.Assertion) *runs.Cause {
	want, err := r.plan.scope.Expand(a.Body)
	if err != nil {
		return causef(runs.ClassScript, "body: %s", err)
	}
	body, _, cause := r.find(scenario.Extractor{})
	if cause != nil || strings.Contains(body, want) != a.Not {
		return cause
	}
	with := "without"
	if a.Not {
		with = "with"
	}
	return causef(runs.ClassAssertion, "body: got %d bytes %s it, want %s%q", len(body), with, negated(a.Not), r.show(a.Body)) // as written: what it stands for may be private
}

// extract puts the step's variables into the scope and returns the cause of the first one that is missing.
func (r *response) extract() *runs.Cause {
	var first *runs.Cause
	for _, name := range slices.Sorted(maps.Keys(r.plan.step.Extract)) {
		value, cause := r.value(r.plan.step.Extract[name])
		if cause == nil {
			r.plan.scope.Set(name, value)
		} else if first == nil {
			first = causef(cause.Class, "extract %s: %s", name, cause.Detail)
		}
	}
	return first
}

// value is what an extractor is after.
func (r *response) value(x scenario.Extractor) (string, *runs.Cause) {
	got, found, cause := r.find(x)
	if cause != nil {
		return "", cause
	}
	if !found {
		return "", causef(runs.ClassAssertion, "%s: got nothing, want something", sourceName(x))
	}
	value, ok := x.Apply(got)
	if !ok {
		return "", causef(runs.ClassAssertion, "%s: got no match, want a match of %s", sourceName(x), x.Regex)
	}
	if len(value) > maxExtract {
		return "", causef(runs.ClassAssertion, "%s: got %d bytes, want at most %d", sourceName(x), len(value), maxExtract)
	}
	return value, nil
}

// find looks up the source of an extractor: all values of a header, the first value at a JSONPath, or the whole body.
func (r *response) find(x scenario.Extractor) (value string, found bool, cause *runs.Cause) {
	switch {
	case x.Header != "":
		values := r.header.Values(x.Header)
		return strings.Join(values, ", "), len(values) > 0, nil
	case r.broken != nil:
		return "", false, r.broken
	case r.opaque != nil:
		return "", false, causef(runs.ClassScript, "%s", r.opaque)
	case x.JSON == "":
		return string(r.body), true, nil
	}
	if !r.parsed {
		r.document, r.documentError = parseJSON(r.body)
		r.parsed = true
	}
	if r.documentError != nil {
		return "", false, causef(runs.ClassAssertion, "%s: %s", sourceName(x), r.documentError)
	}
	value, found, err := selectFirst(r.plan.paths[x.JSON], r.document)
	if err != nil {
		return "", false, causef(runs.ClassScript, "%s: %s", sourceName(x), err)
	}
	return value, found, nil
}

// sourceName names where an extractor looks.
func sourceName(x scenario.Extractor) string {
	switch {
	case x.JSON != "":
		return "json " + x.JSON
	case x.Header != "":
		return "header " + x.Header
	}
	return "body"
}

// negated is the word before what must not be.
func negated(not bool) string {
	if not {
		return "not "
	}
	return ""
}

// show makes a value fit for a detail. Secrets go first: half of one would no longer be recognised after the cut.
func (r *response) show(value string) string {
	value = r.plan.scope.Redact(clip(value, maxExtract))
	for _, secret := range r.credentials() {
		if len(secret) >= vars.MinSecret {
			value = strings.ReplaceAll(value, secret, "<redacted>")
		}
	}
	return clip(value, maxValue)
}

// credential reports whether a header's value is never shown.
func credential(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie":
		return true
	}
	return false
}

// credentials lists the credentials that went with the request or came with the response: a target may well repeat them in
// what an assertion looks at, and not all of them are secrets that the scope knows.
func (r *response) credentials() []string {
	var out []string
	for _, req := range r.sent {
		for _, value := range slices.Concat(req.Header["Authorization"], req.Header["Proxy-Authorization"]) {
			_, token, _ := strings.Cut(value, " ")
			out = append(out, value, token)
		}
		if _, password, ok := req.BasicAuth(); ok {
			out = append(out, password)
		}
		for _, cookie := range req.Cookies() {
			out = append(out, cookie.Value)
		}
	}
	for _, cookie := range (&http.Response{Header: r.header}).Cookies() {
		out = append(out, cookie.Value)
	}
	return out
}
