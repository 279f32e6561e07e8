package answer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"lastmile/internal/answer"
	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// scope has a variable of each kind and a secret.
func scope() *vars.Scope {
	values := map[string]string{"region": "eu", "vars.order": "42", "vars.both": "declared", "vars.hidden": "Bearer s3cr3t-value"}
	s := vars.NewScope(values, map[string]vars.Secret{"KEY": "s3cr3t-value"})
	s.Set("both", "extracted")
	return s
}

// paid is an answer that has everything.
func paid() *answer.Answer {
	in := func(days int) time.Time { return time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour) }
	return &answer.Answer{
		Status: 200,
		Header: http.Header{"X-Cache": {"HIT"}, "Vary": {"Accept", "Cookie"}, "Set-Cookie": {"fresh=new-session-id"}},
		Body:   []byte(`{"state": "paid", "total": 12.5, "items": [{"id": 1}, {"id": 2}], "echo": "s3cr3t-value", "mine": "session-id-1"}`),
		Cache:  cachestate.Result{State: cachestate.Hit, Tier: cachestate.Edge, Vendor: cachestate.Fastly, Age: 12 * time.Second, HasAge: true},
		Phases: runs.Phases{DNS: new(1.5), Wait: new(80.0), Receive: new(0.25)}, Duration: 120500 * time.Microsecond,
		Certificates: []*x509.Certificate{
			{NotAfter: in(60), Subject: pkix.Name{CommonName: "shop"}, Issuer: pkix.Name{CommonName: "ca"}, DNSNames: []string{"shop.example.com"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
			{NotAfter: in(20)},
		},
		Cookies:     []*http.Cookie{{Name: "sid", Value: "session-id-1"}, {Name: "sid", Value: "of-a-shorter-path"}, {Name: "lang", Value: "de"}},
		Records:     []string{"192.0.2.1", "192.0.2.2"},
		Credentials: []string{"basic-password"},
	}
}

func TestAssert(t *testing.T) {
	type a = scenario.Assertion
	text := func(s string) *scenario.Text { return new(scenario.Text(s)) }
	object := map[string]any{"type": "object", "required": []any{"state"}, "properties": map[string]any{"total": map[string]any{"type": "string"}}}
	for _, c := range []struct {
		name   string
		assert a
		want   string // class and detail; "" = it holds
	}{
		{"status", a{Status: scenario.StatusSet{"2xx"}}, ""},
		{"status fails", a{Status: scenario.StatusSet{"404", "5xx"}}, "assertion status: got 200, want 404 or 5xx"},
		{"status not", a{Status: scenario.StatusSet{"200"}, Not: true}, "assertion status: got 200, want not 200"},

		{"header", a{Header: "vary", Equals: text("Accept, Cookie")}, ""},
		{"header fails", a{Header: "X-Cache", Contains: "MISS"}, `assertion header X-Cache: got "HIT", want something containing MISS`},
		{"header not there", a{Header: "Age"}, "assertion header Age: got nothing, want something"},
		{"header with a credential", a{Header: "set-cookie", Equals: text("fresh=x")}, "assertion header set-cookie: got a value that is not shown, want another"},

		{"json", a{JSON: "$.items[1].id", AtLeast: new(2.0)}, ""},
		{"json fails", a{JSON: "$.state", Equals: text("open")}, `assertion json $.state: got "paid", want open`},
		{"json with a secret", a{JSON: "$.echo", Equals: text("x")}, `assertion json $.echo: got "<redacted>", want x`},
		{"json with a cookie", a{JSON: "$.mine", Equals: text("x")}, `assertion json $.mine: got "<redacted>", want x`},

		{"body", a{Body: `"paid"`}, ""},
		{"body fails", a{Body: "${vars.order}"}, `assertion body: got 113 bytes without it, want "${vars.order}"`},
		{"body not", a{Body: "paid", Not: true}, `assertion body: got 113 bytes with it, want not "paid"`},

		{"cookie", a{Cookie: "sid"}, ""},
		{"cookie with a value", a{Cookie: "sid", Equals: text("session-id-1")}, ""},
		{"cookie fails", a{Cookie: "lang", Equals: text("${region}")}, "assertion cookie lang: got a value that is not shown, want another"},
		{"cookie not there", a{Cookie: "theme"}, "assertion cookie theme: got nothing, want something"},
		{"cookie not there to compare", a{Cookie: "theme", Contains: "dark"}, "assertion cookie theme: got nothing, want a value that is not shown"},
		{"cookie not", a{Cookie: "lang", Not: true}, "assertion cookie lang: got a value that is not shown, want not something"},
		{"no such cookie", a{Cookie: "theme", Not: true}, ""},

		{"expr", a{Expr: `status == 200 && json.total > 12 && len(json.items) == 2 && header("VARY") == headers.vary`}, ""},
		{"expr on all else", a{Expr: `size == len(body) && phases.wait < 100 && duration == 120.5 && cache.state == "hit" && cache.tier == "edge" && ` +
			`cache.vendor == "fastly" && cache.age == 12 && cookies.sid == "session-id-1" && dns[1] == "192.0.2.2" && ` +
			`cert.daysLeft > 20 && cert.daysLeft < 21 && cert.issuer == "CN=ca" && cert.subject == "CN=shop" && cert.names == ["shop.example.com", "192.0.2.1"]`}, ""},
		{"expr on vars", a{Expr: `vars.order == "42" && vars.region == "eu" && vars.both == "extracted"`}, ""},
		{"expr sees no secret", a{Expr: `vars.hidden == nil && vars["secrets.KEY"] == nil && vars["vars.hidden"] == nil && vars.KEY == nil`}, ""},
		{"expr fails", a{Expr: `json.state == "open"`}, `assertion expr json.state == "open": got false, want true`},
		{"expr not", a{Expr: `status == 200`, Not: true}, "assertion expr status == 200: got true, want false"},
		{"expr without a verdict", a{Expr: `json.total`}, "assertion expr json.total: invalid operation: bool(float64) (1:1)"},
		{"expr on what is not there", a{Expr: `json.items[5].id == 1`}, "assertion expr json.items[5].id == 1: index out of range: 5 (array length is 2) (1:11)"},
		{"expr on a phase that did not happen", a{Expr: `phases.connect < 100`}, "assertion expr phases.connect < 100: invalid operation: <nil> < int (1:16)"},
		{"expr that quotes a secret", a{Expr: `int(json.echo) > 1`}, `assertion expr int(json.echo) > 1: invalid operation: int(<redacted>) (1:1)`},
		{"expr in vain", a{Expr: `all(1..900000, all(1..900000, # > 0))`}, "script expr all(1..900000, all(1..900000, # > 0)): got more work than an answer may take, want a smaller answer or a simpler check"},
		{"expr misspelt", a{Expr: `staus == 200`}, "script expr staus == 200: unknown name staus (1:1)"},
		{"no template in expr", a{Expr: `"${region}" == "$" + "{region}"`}, ""},

		{"schema", a{Schema: map[string]any{"required": []any{"state"}}}, ""},
		{"schema fails", a{Schema: object}, "assertion schema: at '/total': got number, want string"},
		{"schema at the top", a{Schema: map[string]any{"type": "array"}}, "assertion schema: got object, want array"},
		{"schema with secrets", a{Schema: map[string]any{"properties": map[string]any{"echo": map[string]any{"pattern": "^x"}}}}, "assertion schema: at '/echo': '<redacted>' does not match pattern '^x'"},
		{"schema with cookies", a{Schema: map[string]any{"properties": map[string]any{"mine": map[string]any{"pattern": "^x"}}}}, "assertion schema: at '/mine': '<redacted>' does not match pattern '^x'"},
		{"schema not", a{Schema: map[string]any{"type": "object"}, Not: true}, "assertion schema: got a body that satisfies it, want one that does not"},
		{"schema not, fulfilled", a{Schema: map[string]any{"type": "array"}, Not: true}, ""},
		{"schema of another file", a{Schema: map[string]any{"$ref": "x.json"}}, `script schema: failing loading "lastmile:///x.json": a reference to lastmile:///x.json`},

		{"size", a{Measure: scenario.MeasureSize, AtLeast: new(113.0), AtMost: new(113.0)}, ""},
		{"size fails", a{Measure: scenario.MeasureSize, AtMost: new(100.0)}, "assertion measure size: got 113 bytes, want a number of at most 100"},
		{"duration", a{Measure: scenario.MeasureDuration, AtMost: new(120.5)}, ""},
		{"duration fails", a{Measure: scenario.MeasureDuration, AtLeast: new(121.0), AtMost: new(200.0)}, "assertion measure duration: got 120.5 ms, want a number of at least 121 of at most 200"},
		{"dns", a{Measure: scenario.MeasureDNS, AtMost: new(1.5)}, ""},
		{"dns fails", a{Measure: scenario.MeasureDNS, AtMost: new(1.0)}, "assertion measure dns: got 1.5 ms, want a number of at most 1"},
		{"connect did not happen", a{Measure: scenario.MeasureConnect, AtMost: new(1.0)}, "assertion measure connect: got nothing, as it did not happen on this request, want a time"},
		{"tls did not happen", a{Measure: scenario.MeasureTLS, AtMost: new(1.0), Not: true}, "assertion measure tls: got nothing, as it did not happen on this request, want a time"},
		{"wait", a{Measure: scenario.MeasureWait, AtLeast: new(80.0)}, ""},
		{"wait fails", a{Measure: scenario.MeasureWait, AtMost: new(79.5)}, "assertion measure wait: got 80 ms, want a number of at most 79.5"},
		{"receive", a{Measure: scenario.MeasureReceive, AtMost: new(0.25)}, ""},
		{"receive fails", a{Measure: scenario.MeasureReceive, AtMost: new(0.25), Not: true}, "assertion measure receive: got 0.25 ms, want not a number of at most 0.25"},

		{"certDays", a{CertDays: new(20)}, ""},
		{"certDays fails for the first to expire", a{CertDays: new(21)}, "assertion certDays: got 20.0 days, want at least 21"},
		{"certDays not", a{CertDays: new(7), Not: true}, "assertion certDays: got 20.0 days, want not at least 7"},

		{"cache", a{Cache: scenario.Strings{"stale", "hit"}}, ""},
		{"cache fails", a{Cache: scenario.Strings{"stale", "miss"}}, "assertion cache: got hit, want stale or miss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			judge, step := answer.New(), &scenario.Step{Assert: []scenario.Assertion{c.assert}}
			for range 2 { // the second time with what was kept
				if got := told(judge.Assert(step, paid(), scope())); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

// told is a cause in one line.
func told(cause *runs.Cause) string {
	if cause == nil {
		return ""
	}
	return string(cause.Class) + " " + cause.Detail
}

// TestAssertOtherAnswers: what other answers than a whole one do to each subject.
func TestAssertOtherAnswers(t *testing.T) {
	type a = scenario.Assertion
	broken := &runs.Cause{Class: runs.ClassTimeout, Detail: "timed out"}
	for _, c := range []struct {
		name   string
		answer answer.Answer
		assert []a
		want   string
	}{
		{"a protocol without status", answer.Answer{}, nil, ""},
		{"an error page", answer.Answer{Status: 503}, []a{{Body: "x"}}, "http_5xx status: got 503, want below 400"},
		{"an error page that was asked for", answer.Answer{Status: 404, Body: []byte("no")}, []a{{Body: "no"}, {Status: scenario.StatusSet{"404"}}}, ""},
		{"a broken one", answer.Answer{Status: 200, Broken: broken}, []a{{Header: "X"}}, "timeout timed out"},
		{"an error page that is broken", answer.Answer{Status: 404, Broken: broken}, nil, "http_4xx status: got 404, want below 400"},
		{"an opaque body", answer.Answer{Opaque: errors.New("decode x")}, []a{{Expr: "size > 0"}}, "script decode x"},
		{"an opaque body, for a schema", answer.Answer{Opaque: errors.New("decode x")}, []a{{Schema: true}}, "script decode x"},
		{"an opaque body, its size", answer.Answer{Opaque: errors.New("decode x")}, []a{{Measure: scenario.MeasureSize, AtLeast: new(1.0)}}, "script decode x"},
		{"an opaque body, not looked at", answer.Answer{Status: 200, Opaque: errors.New("decode x")}, []a{{Expr: "status == 200"}, {Measure: scenario.MeasureDuration, AtLeast: new(0.0)}}, ""},
		{"no json", answer.Answer{Body: []byte("<html>")}, []a{{Expr: "json.a == 1"}}, "assertion expr json.a == 1: parse body: invalid character '<' looking for beginning of value"},
		{"no json, not asked for", answer.Answer{Body: []byte("<html>")}, []a{{Expr: `body contains "html"`}}, ""},
		{"no json, for a schema", answer.Answer{Body: []byte("<html>")}, []a{{Schema: true}}, "assertion schema: parse body: invalid character '<' looking for beginning of value"},
		{"no certificate", answer.Answer{}, []a{{CertDays: new(1)}}, "assertion certDays: got no certificate, want at least 1 days"},
		{"no certificate, for an expression", answer.Answer{}, []a{{Expr: "cert == nil"}, {Expr: "cert.daysLeft > 1"}}, "assertion expr cert.daysLeft > 1: cannot get daysLeft from cert (1:1)"},
		{"an expired certificate", answer.Answer{Certificates: []*x509.Certificate{{NotAfter: time.Now().Add(-36 * time.Hour)}}}, []a{{CertDays: new(0)}}, "assertion certDays: got -1.6 days, want at least 0"},
		{"no age", answer.Answer{}, []a{{Expr: `cache.age == nil && cache.state == ""`}}, ""},
		{"no answer to look at", answer.Answer{}, []a{{Expr: `status == 0 && body == "" && len(headers) + len(cookies) + len(phases) + len(dns) == 0 && header("x") == ""`}}, ""},
		{"numbers beyond an int", answer.Answer{Body: []byte(`[9223372036854775808, 1e400, -0, 3.0]`)}, []a{{Expr: `json[0] > 9e18 && json[1] > 1e308 && json[2] == 0 && json[3] == 3`}}, ""},
		{"a number to blow up a schema", answer.Answer{Body: []byte(`1e999999999`)}, []a{{Schema: map[string]any{"minimum": 1}}}, "script schema: got a number with the exponent 999999999, want -400 to 400"},
		{"deep", answer.Answer{Body: []byte(strings.Repeat("[", 300))}, []a{{Expr: "json == nil"}}, "assertion expr json == nil: got values nested 300 deep, want at most 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(answer.New().Assert(&scenario.Step{Assert: c.assert}, &c.answer, scope())); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestSecretsStay: neither secrets nor credentials get into a cause, whatever brings them there.
func TestSecretsStay(t *testing.T) {
	for _, private := range []string{"s3cr3t-value", "basic-password", "session-id-1", "new-session-id", `quo"ted\password`} {
		a := paid()
		a.Credentials = append(a.Credentials, private)
		a.Body = fmt.Appendf(nil, `{"a": %q, %q: 1, "long": "%s%s"}`, private, private, strings.Repeat("x", 60), strings.ReplaceAll(strings.ReplaceAll(private, `\`, `\\`), `"`, `\"`))
		for _, assertion := range []scenario.Assertion{
			{Schema: map[string]any{"additionalProperties": false}},
			{Schema: map[string]any{"propertyNames": map[string]any{"maxLength": 3}}},
			{Schema: map[string]any{"properties": map[string]any{"long": map[string]any{"pattern": "^y"}}}},
			{Schema: map[string]any{"properties": map[string]any{"a": map[string]any{"const": "y"}}}},
			{JSON: "$.a", Equals: new(scenario.Text("y"))},
			{JSON: "$.long", Matches: "^y"},
			{Expr: "int(json.a) > 1"},
			{Expr: "json.none[json.a] > 1"},
			{Expr: "date(json.long) > now()"},
			{Expr: "body matches json.long + '('"},
		} {
			cause := answer.New().Assert(&scenario.Step{Assert: []scenario.Assertion{assertion}}, a, scope())
			if cause == nil {
				t.Errorf("%s: got no cause of %+v", private, assertion)
				continue
			}
			beginning := private[:8]
			if strings.Contains(cause.Detail, beginning) || strings.Contains(strings.ReplaceAll(cause.Detail, `\`, ""), strings.ReplaceAll(beginning, `\`, "")) {
				t.Errorf("got %s, want nothing of %s in it", cause.Detail, private)
			}
			if len(cause.Detail) > answer.MaxDetail || !utf8.ValidString(cause.Detail) {
				t.Errorf("got %d bytes, want at most %d of text", len(cause.Detail), answer.MaxDetail)
			}
		}
	}
}

func TestExtract(t *testing.T) {
	for _, c := range []struct {
		name string
		from scenario.Extractor
		want string // the value, or class and detail
	}{
		{"cookie", scenario.Extractor{Cookie: "sid"}, "session-id-1"},
		{"part of a cookie", scenario.Extractor{Cookie: "sid", Regex: "^session-(.*)$"}, "id-1"},
		{"no such cookie", scenario.Extractor{Cookie: "theme"}, "assertion extract x: cookie theme: got nothing, want something"},
		{"no such part", scenario.Extractor{Cookie: "sid", Regex: "^y"}, "assertion extract x: cookie sid: got no match, want a match of ^y"},
		{"expr, a text", scenario.Extractor{Expr: "json.state"}, "paid"},
		{"expr, a number", scenario.Extractor{Expr: "json.total * 2"}, "25"},
		{"expr, yes or no", scenario.Extractor{Expr: "status == 200"}, "true"},
		{"expr, an array", scenario.Extractor{Expr: "map(json.items, .id)"}, "[1,2]"},
		{"expr, the cache", scenario.Extractor{Expr: "cache"}, `{"state":"hit","tier":"edge","vendor":"fastly","age":12}`},
		{"expr, part of it", scenario.Extractor{Expr: "json.state", Regex: "a(.)d"}, "i"},
		{"expr, nothing", scenario.Extractor{Expr: "json.none"}, "assertion extract x: expr json.none: got nothing, want something"},
		{"expr, too long", scenario.Extractor{Expr: "1..20000"}, "assertion extract x: expr 1..20000: got 108895 bytes, want at most 65536"},
		{"expr, a function", scenario.Extractor{Expr: "header"}, "assertion extract x: expr header: got a function, want a value"},
		{"expr, misspelt", scenario.Extractor{Expr: "jsn"}, "script extract x: expr jsn: unknown name jsn (1:1)"},
		{"json", scenario.Extractor{JSON: "$.items[0]"}, `{"id":1}`},
		{"header", scenario.Extractor{Header: "vary"}, "Accept, Cookie"},
		{"body", scenario.Extractor{Regex: `"total": ([0-9.]+)`}, "12.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scope()
			got := told(answer.New().Extract(&scenario.Step{Extract: map[string]scenario.Extractor{"x": c.from}}, paid(), s))
			if got == "" {
				got, _ = s.Expand("${x}")
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	s := scope()
	cause := answer.New().Extract(&scenario.Step{Extract: map[string]scenario.Extractor{"a": {Cookie: "none"}, "b": {Cookie: "lang"}}}, paid(), s)
	if got, err := s.Expand("${b}"); err != nil || got != "de" || cause == nil {
		t.Errorf("got %q, %v and cause %v, want the variables that are there although another is not", got, err, cause)
	}
}

// TestReady: what is wrong with a step is known before anything is sent.
func TestReady(t *testing.T) {
	for _, c := range []struct {
		step scenario.Step
		want string
	}{
		{scenario.Step{Assert: []scenario.Assertion{{Expr: "status == 200"}, {Schema: true}, {JSON: "$.a", Equals: new(scenario.Text("${region}"))}}}, ""},
		{scenario.Step{Assert: []scenario.Assertion{{Expr: "status"}}}, "expr status: expected bool, but got int"},
		{scenario.Step{Assert: []scenario.Assertion{{Schema: map[string]any{"type": 5}}}}, "schema: at '/type': got number, want array"},
		{scenario.Step{Assert: []scenario.Assertion{{Cookie: "sid", Equals: new(scenario.Text("${later}"))}}}, "assert cookie: expand template: ${later} has no value"},
		{scenario.Step{Extract: map[string]scenario.Extractor{"x": {Expr: "1 +"}}}, "expr 1 +: unexpected token EOF (1:3)"},
		{scenario.Step{Extract: map[string]scenario.Extractor{"x": {Expr: "status"}}}, ""},
	} {
		got := ""
		if err := answer.New().Ready(&c.step, scope()); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestConcurrent: one Judge serves many runs at once, and does not grow with what it is asked.
func TestConcurrent(t *testing.T) {
	judge := answer.New()
	var all sync.WaitGroup
	for run := range 8 {
		all.Go(func() {
			for i := range 300 {
				step := &scenario.Step{Assert: []scenario.Assertion{
					{Expr: fmt.Sprintf("status == %d", 200+i%3)},
					{Schema: map[string]any{"required": []any{"state"}, "minProperties": i % 3}},
					{JSON: fmt.Sprintf("$.items[%d].id", i%2)},
				}}
				cause := judge.Assert(step, paid(), scope())
				if (cause == nil) != (i%3 == 0) {
					t.Errorf("run %d: got %v for %d", run, cause, i)
				}
			}
		})
	}
	all.Wait()
	for i := range 2500 {
		if cause := judge.Assert(&scenario.Step{Assert: []scenario.Assertion{{Expr: fmt.Sprintf("status != %d", i+300)}}}, paid(), scope()); cause != nil {
			t.Fatal(cause.Detail)
		}
	}
}
