package scenario

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestGlob(t *testing.T) {
	cases := []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "any/thing", true},
		{"**", "", true},
		{"abc", "abc", true},
		{"abc", "abcd", false},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"*b", "abc", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"*/done*", "https://shop/done?x=1", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false},
		{"*ab*ab", "xabab", true},
		{"*ab*ab", "xab", false},
		{"a.c", "abc", false},
		{"[a]?", "a", false},
	}
	for _, c := range cases {
		if got := Glob(c.pattern, c.text); got != c.want {
			t.Errorf("glob %q on %q: got %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

// A regular expression is the reference.
func FuzzGlob(f *testing.F) {
	f.Add("*ab*ab", "xabab")
	f.Add("a*a", "a")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return // a regular expression does not see broken text as bytes
		}
		re := regexp.MustCompile(`^(?s:` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `)$`)
		if got, want := Glob(pattern, text), re.MatchString(text); got != want {
			t.Errorf("glob %q on %q: got %v, want %v", pattern, text, got, want)
		}
	})
}

func TestAllowsHost(t *testing.T) {
	s := &Scenario{AllowHosts: []string{"shop.example.com", "*.CDN.example.com"}}
	for host, want := range map[string]bool{
		"shop.example.com": true, "Shop.Example.COM": true, "a.cdn.example.com": true, "cdn.example.com": false, "example.com": false,
		"shop.example.com.evil.net": false, "evilshop.example.com": false, "": false,
	} {
		if got := s.AllowsHost(host); got != want {
			t.Errorf("allows %q: got %v, want %v", host, got, want)
		}
	}
	if !(&Scenario{}).AllowsHost("anything") {
		t.Error("a scenario without a list allows nothing")
	}
}

func textOf(s string) *Text { t := Text(s); return &t }

func TestAssertionCheck(t *testing.T) {
	scope := testScope()
	cases := []struct {
		name  string
		a     Assertion
		got   string
		found bool
		ok    bool
		want  string
	}{
		{"there", Assertion{Header: "X"}, "", true, true, "something"},
		{"absent", Assertion{Header: "X"}, "", false, false, "something"},
		{"not there", Assertion{Header: "X", Not: true}, "", false, true, "not something"},
		{"there after all", Assertion{Header: "X", Not: true}, "v", true, false, "not something"},
		{"equals", Assertion{Equals: textOf("paid")}, "paid", true, true, "paid"},
		{"equals another", Assertion{Equals: textOf("paid")}, "open", true, false, "paid"},
		{"equals nothing, which is there", Assertion{Equals: textOf("")}, "", true, true, ""},
		{"equals nothing, absent", Assertion{Equals: textOf("")}, "", false, false, ""},
		{"equals a template", Assertion{Equals: textOf("${expected.region}")}, "us", true, true, "us"},
		{"does not equal", Assertion{Equals: textOf("paid"), Not: true}, "open", true, true, "not paid"},
		{"contains", Assertion{Contains: "${orderId}"}, "order 17", true, true, "something containing 17"},
		{"contains not", Assertion{Contains: "18"}, "order 17", true, false, "something containing 18"},
		{"absent contains nothing", Assertion{Contains: "1"}, "", false, false, "something containing 1"},
		{"matches", Assertion{Matches: `^\d+$`}, "17", true, true, `a match of ^\d+$`},
		{"matches not", Assertion{Matches: `^\d+$`}, "17a", true, false, `a match of ^\d+$`},
		{"number", Assertion{AtLeast: new(2.0), AtMost: new(3.0)}, " 2.5 ", true, true, "a number of at least 2 of at most 3"},
		{"number too large", Assertion{AtMost: new(3.0)}, "4", true, false, "a number of at most 3"},
		{"no number", Assertion{AtLeast: new(0.0)}, "many", true, false, "a number of at least 0"},
		{"no number, absent", Assertion{AtLeast: new(0.0)}, "0", false, false, "a number of at least 0"},
		{"matches absent", Assertion{Matches: `.*`}, "", false, false, "a match of .*"},
	}
	for _, c := range cases {
		ok, want, err := c.a.Check(c.got, c.found, scope)
		if err != nil || ok != c.ok || want != c.want {
			t.Errorf("%s: got %v, %q and %v, want %v and %q", c.name, ok, want, err, c.ok, c.want)
		}
	}
	for _, a := range []Assertion{{Equals: textOf("${nope}")}, {Contains: "${nope}"}, {Matches: "("}} {
		if _, _, err := a.Check("x", true, scope); err == nil {
			t.Errorf("check %+v: got no error", a)
		}
	}
}

func TestSubject(t *testing.T) {
	for want, a := range map[string]Assertion{
		"": {Not: true}, "status": {Status: StatusSet{"200"}}, "header": {Header: "x", Contains: "y"}, "json": {JSON: "$.a"}, "body": {Body: "x"},
		"cache": {Cache: Strings{"hit"}}, "title": {Title: "x"}, "url": {URL: "x"}, "visible": {Visible: "x"}, "hidden": {Hidden: "x"},
		"text": {Text: "x", AtLeast: new(1.0)}, "count": {Count: "x"}, "expression": {Expression: "x"}, "consoleErrors": {ConsoleErrors: new(0)}, "failedRequests": {FailedRequests: new(0)},
	} {
		if got := a.Subject(); got != want {
			t.Errorf("subject of %+v: got %q, want %q", a, got, want)
		}
	}
}

func TestExtractorApply(t *testing.T) {
	cases := []struct {
		regex, in, want string
		ok              bool
	}{
		{"", "as it is", "as it is", true},
		{"", "", "", true},
		{`\d+`, "order 17, 18", "17", true},
		{`order (\d+)(,)`, "order 17, 18", "17", true},
		{`(x)?y`, "y", "", true},
		{`\d+`, "none", "", false},
		{`(`, "none", "", false},
	}
	for _, c := range cases {
		x := Extractor{Regex: c.regex}
		if got, ok := x.Apply(c.in); got != c.want || ok != c.ok {
			t.Errorf("apply %q to %q: got %q and %v, want %q and %v", c.regex, c.in, got, ok, c.want, c.ok)
		}
	}
}

func TestLimit(t *testing.T) {
	const s = Duration(time.Second)
	for want, step := range map[time.Duration]Step{
		5 * time.Second:  {Type: StepClick},
		10 * time.Second: {Type: StepHTTP},
		2 * time.Second:  {Type: StepHTTP, Timeout: 2 * s},
		30 * time.Second: {Type: StepHTTP, Timeout: 2 * s, Poll: &Poll{Every: s, For: 30 * s}},
		40 * time.Second: {Type: StepHTTP, Timeout: 40 * s, Poll: &Poll{Every: s, For: 30 * s}},
	} {
		if got := new(Scenario).StepLimit(&step); got != want {
			t.Errorf("limit of %+v: got %s, want %s", step, got, want)
		}
	}
	patient := Scenario{StepTimeout: 20 * s}
	for want, step := range map[time.Duration]Step{20 * time.Second: {Type: StepHTTP}, time.Second: {Type: StepClick, Timeout: s}} {
		if got := patient.StepLimit(&step); got != want {
			t.Errorf("limit of %+v where steps get 20s: got %s, want %s", step, got, want)
		}
	}
}
