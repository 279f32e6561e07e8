package answer

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenario/predicate"
)

// cookieValue is the value of the jar's cookie of a name. Of several, of different paths, it is the first that would be sent.
func cookieValue(cookies []*http.Cookie, name string) (value string, found bool) {
	for _, cookie := range cookies {
		if cookie.Name == name {
			return cookie.Value, true
		}
	}
	return "", false
}

// condition checks an expression that must be true.
func (c *comparison) condition(a *scenario.Assertion) *runs.Cause {
	name := sourceName(scenario.Extractor{Expr: a.Expr})
	program, err := c.judge.condition(a.Expr)
	if err != nil {
		return Cause(runs.ClassScript, "%s: %s", name, err)
	}
	result, cause := c.run(name, program)
	if cause != nil {
		return cause
	}
	if got, _ := result.(bool); got == a.Not { // compiled so as to give nothing else
		return Cause(runs.ClassAssertion, "%s: got %t, want %t", name, got, !got)
	}
	return nil
}

// evaluate is the value of an extractor's expression, as text.
func (c *comparison) evaluate(x scenario.Extractor) (value string, found bool, cause *runs.Cause) {
	program, err := c.judge.expression(x.Expr)
	if err != nil {
		return "", false, Cause(runs.ClassScript, "%s: %s", sourceName(x), err)
	}
	result, cause := c.run(sourceName(x), program)
	if cause != nil || result == nil {
		return "", false, cause
	}
	return scenario.JSONText(result), true, nil
}

// run evaluates an expression over the answer. What it does not use is not looked at.
func (c *comparison) run(name string, program *predicate.Expression) (any, *runs.Cause) {
	a := c.answer
	values := predicate.Values{Status: a.Status, Duration: runs.Milliseconds(a.Duration), DNS: a.Records}
	if program.Uses("body") || program.Uses("size") || program.Uses("json") {
		if cause := a.unread(); cause != nil {
			return nil, cause
		}
		values.Body, values.Size = string(a.Body), len(a.Body)
	}
	if program.Uses("json") {
		document, err := a.json()
		if err != nil {
			return nil, Cause(runs.ClassAssertion, "%s: %s", name, err)
		}
		if !a.made {
			a.plain, a.made = predicate.Plain(document), true
		}
		values.JSON = a.plain
	}
	if program.Uses("headers") {
		values.Headers = map[string]string{}
		for header, all := range a.Header {
			values.Headers[strings.ToLower(header)] = strings.Join(all, ", ")
		}
	}
	if program.Uses("cookies") {
		values.Cookies = map[string]string{}
		for _, cookie := range slices.Backward(a.Cookies) { // so that the first of a name stays
			values.Cookies[cookie.Name] = cookie.Value
		}
	}
	if program.Uses("vars") {
		values.Vars = c.scope.Public()
	}
	if program.Uses("phases") {
		values.Phases = map[string]any{}
		for phase, took := range phases(a.Phases) {
			if took != nil {
				values.Phases[phase] = *took
			}
		}
	}
	values.Cache = predicate.Cache{State: string(a.Cache.State), Tier: string(a.Cache.Tier), Vendor: string(a.Cache.Vendor)}
	if a.Cache.HasAge {
		values.Cache.Age = a.Cache.Age.Seconds()
	}
	values.TLS = a.TLSVersion
	if len(a.Certificates) > 0 {
		values.Cert = certificate(a)
	}
	result, err := program.Run(values)
	switch {
	case errors.Is(err, predicate.ErrCost):
		return nil, Cause(runs.ClassScript, "%s: %s", name, err)
	case err != nil:
		return nil, Cause(runs.ClassAssertion, "%s: %s", name, c.show(err.Error()))
	}
	return result, nil
}

// phases names the phases of a request, as measures do.
func phases(p runs.Phases) map[string]*float64 {
	return map[string]*float64{
		"blocked": p.Blocked, "dns": p.DNS, "connect": p.Connect, "tls": p.TLS, "send": p.Send, "wait": p.Wait, "receive": p.Receive,
	}
}

// certificate is what expressions know of the server's.
func certificate(a *Answer) *predicate.Certificate {
	leaf := a.Certificates[0]
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return &predicate.Certificate{DaysLeft: daysLeft(a), Issuer: leaf.Issuer.String(), Subject: leaf.Subject.String(), Names: names}
}

// daysLeft is how long the first of the server's certificates to expire still holds.
func daysLeft(a *Answer) float64 {
	days := math.Inf(1)
	for _, cert := range a.Certificates {
		days = min(days, time.Until(cert.NotAfter).Hours()/24)
	}
	return days
}

// certDays checks how long the server's certificates still hold.
func (c *comparison) certDays(a *scenario.Assertion) *runs.Cause {
	want := negated(a.Not) + "at least " + strconv.Itoa(*a.CertDays)
	if len(c.answer.Certificates) == 0 {
		return Cause(runs.ClassAssertion, "certDays: got no certificate, want %s days", want)
	}
	left := daysLeft(c.answer)
	if (left >= float64(*a.CertDays)) != a.Not {
		return nil
	}
	return Cause(runs.ClassAssertion, "certDays: got %.1f days, want %s", math.Floor(left*10)/10, want) // 13.99 is not 14
}

// measure compares a number that the answer has.
func (c *comparison) measure(a *scenario.Assertion) *runs.Cause {
	name := "measure " + string(a.Measure)
	if a.Measure == scenario.MeasureSize {
		if cause := c.answer.unread(); cause != nil {
			return cause
		}
		return c.within(a, name, float64(len(c.answer.Body)), "bytes")
	}
	if a.Measure == scenario.MeasureDuration {
		return c.within(a, name, runs.Milliseconds(c.answer.Duration), "ms")
	}
	took, known := phases(c.answer.Phases)[string(a.Measure)]
	switch {
	case !known:
		return Cause(runs.ClassScript, "%s: got no such measure, want one of %v", name, scenario.Measures())
	case took == nil:
		return Cause(runs.ClassAssertion, "%s: got nothing, as it did not happen on this request, want a time", name)
	}
	return c.within(a, name, *took, "ms")
}

func (c *comparison) within(a *scenario.Assertion, name string, got float64, unit string) *runs.Cause {
	text := strconv.FormatFloat(got, 'f', -1, 64)
	ok, want, err := a.Check(text, true, c.scope)
	switch {
	case err != nil:
		return Cause(runs.ClassScript, "%s: %s", name, err)
	case ok:
		return nil
	}
	return Cause(runs.ClassAssertion, "%s: got %s %s, want %s", name, text, unit, want)
}

// maxComplaint bounds what a schema says of a body, in bytes.
const maxComplaint = 250

// schema holds the body against a JSON Schema.
func (c *comparison) schema(a *scenario.Assertion) *runs.Cause {
	compiled, err := c.judge.schema(a.Schema)
	if err != nil {
		return Cause(runs.ClassScript, "schema: %s", err)
	}
	if cause := c.answer.unread(); cause != nil {
		return cause
	}
	document, err := c.answer.json()
	if err != nil {
		return Cause(runs.ClassAssertion, "schema: %s", err)
	}
	complaint, err := compiled.Check(document)
	switch {
	case err != nil:
		return Cause(runs.ClassScript, "schema: %s", err)
	case complaint == "" && a.Not:
		return Cause(runs.ClassAssertion, "schema: got a body that satisfies it, want one that does not")
	case complaint == "" || a.Not:
		return nil
	}
	return Cause(runs.ClassAssertion, "schema: %s", c.showUpTo(complaint, maxComplaint))
}
