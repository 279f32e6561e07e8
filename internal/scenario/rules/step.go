package rules

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// stepValidator checks one step. known holds the variables that earlier steps and the scenario define; it grows by what this
// step extracts.
type stepValidator struct {
	*validator
	step  *scenario.Step
	path  []string
	known map[string]bool
	ids   map[string]bool
}

func (v *stepValidator) problem(got, want string, path ...string) {
	v.add(got, want, append(slices.Clone(v.path), path...)...)
}

func (v *stepValidator) run() {
	st := v.step
	if st.ID != "" && !scenario.ValidName(st.ID) {
		v.problem(strconv.Quote(st.ID), wantLabel, "id")
	}
	if st.ID != "" && v.ids[st.ID] {
		v.problem(strconv.Quote(st.ID)+" twice", "each step's id once", "id")
	}
	v.ids[st.ID] = true
	knownType := v.keys()
	v.values()
	v.templates()
	if !knownType { // what may be asserted and extracted depends on it
		for name := range st.Extract {
			v.known[name] = true
		}
		return
	}
	if st.When != nil {
		v.condition(st.When)
	}
	for i := range st.Assert {
		v.assertion(&st.Assert[i], "assert", strconv.Itoa(i))
	}
	for _, name := range sortedKeys(st.Extract) {
		v.extractor(name, st.Extract[name])
	}
}

// keys compares the step's keys with those that its type has, and reports whether that type exists.
func (v *stepValidator) keys() bool {
	allowed, required, ok := scenario.StepKeys(v.step.Type)
	if !ok {
		v.oneOf(string(v.step.Type), names(scenario.StepTypes()), v.at("type")...)
		return false
	}
	have := v.presentKeys()
	for _, key := range have {
		if !slices.Contains(scenario.CommonKeys(), key) && !slices.Contains(allowed, key) {
			v.problem("key "+key, fmt.Sprintf("only keys of %s steps: %s", v.step.Type, strings.Join(allowed, ", ")), key)
		}
	}
	for _, key := range required {
		if !slices.Contains(have, key) {
			v.problem(absent, fmt.Sprintf("%s, which %s steps need", key, v.step.Type), key)
		}
	}
	return true
}

// presentKeys lists the keys that the step's JSON form has, which is to say those that are set.
func (v *stepValidator) presentKeys() []string {
	var fields map[string]json.RawMessage
	body, err := json.Marshal(v.step)
	if err == nil {
		err = json.Unmarshal(body, &fields)
	}
	if err != nil {
		v.problem(err.Error(), "values that can be written as JSON")
	}
	return sortedKeys(fields)
}

var (
	methods   = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	operators = []string{">=", "==", "<="}
	buttons   = []string{"primary", "secondary", "auxiliary", "back", "forward"}
	pointers  = []string{"mouse", "pen", "touch"}
)

func (v *stepValidator) values() {
	st := v.step
	if st.Method != "" {
		v.oneOf(st.Method, methods, append(slices.Clone(v.path), "method")...)
	}
	if st.Operator != "" {
		v.oneOf(st.Operator, operators, append(slices.Clone(v.path), "operator")...)
	}
	if st.Protocol != "" {
		v.oneOf(string(st.Protocol), scenario.Protocols(), append(slices.Clone(v.path), "protocol")...)
	}
	if st.Protocol.Secure() && strings.HasPrefix(strings.ToLower(st.URL), "http://") {
		v.problem(string(st.Protocol)+" for an http URL", "an https URL, as h3 and h2 are over TLS only", "protocol")
	}
	for key, of := range map[string]struct {
		got     string
		allowed []string
	}{"button": {st.Button, buttons}, "deviceType": {st.DeviceType, pointers}} {
		if of.got != "" {
			v.oneOf(of.got, of.allowed, append(slices.Clone(v.path), key)...)
		}
	}
	for i, child := range st.Frame {
		if child < 0 {
			v.problem(strconv.Itoa(child), "the number of a child frame, from 0", "frame", strconv.Itoa(i))
		}
	}
	v.protocol()
	if p := st.Poll; p != nil {
		if p.Every <= 0 || p.For <= p.Every {
			v.problem(fmt.Sprintf("every %s for %s", p.Every, p.For), "every above zero and for longer than every", "poll")
		}
		if len(st.Assert) == 0 {
			v.problem("a poll without assert", "assertions to poll for", "poll")
		}
	}
	if v.scenario.Timeout > 0 && st.Timeout > v.scenario.Timeout {
		v.problem(st.Timeout.String(), "at most the scenario's timeout, "+v.scenario.Timeout.String(), "timeout")
	}
	for i, e := range st.AssertedEvents {
		v.oneOf(e.Type, []string{"navigation"}, append(slices.Clone(v.path), "assertedEvents", strconv.Itoa(i), "type")...)
	}
}

// templates checks every text of the step in which ${...} may stand. Secrets may stand in a change's value and in http headers
// and bodies only: a secret in a URL ends up in logs and caches.
func (v *stepValidator) templates() {
	st := v.step
	v.template(st.URL, false, "url")
	if st.Value != nil {
		v.template(*st.Value, true, "value")
	}
	v.template(st.Key, false, "key")
	v.template(st.Target, false, "target")
	v.template(st.Expression, false, "expression")
	for _, name := range sortedKeys(st.Attributes) {
		v.template(st.Attributes[name], false, "attributes", name)
	}
	for _, text := range vars.Strings(st.Properties) {
		v.template(text, false, "properties")
	}
	for _, name := range sortedKeys(st.Headers) {
		v.template(st.Headers[name], true, "headers", name)
	}
	v.protocolTemplates()
	v.template(st.Body, true, "body")
	for _, text := range vars.Strings(st.JSON) {
		v.template(text, true, "json")
	}
	for _, name := range sortedKeys(st.Form) {
		v.template(st.Form[name], true, "form", name)
	}
	for i, chain := range st.Selectors {
		for _, selector := range chain {
			v.template(selector, false, "selectors", strconv.Itoa(i))
			v.selector(selector, "selectors", strconv.Itoa(i))
		}
	}
	for i, e := range st.AssertedEvents {
		v.template(e.URL, false, "assertedEvents", strconv.Itoa(i), "url")
		v.template(e.Title, false, "assertedEvents", strconv.Itoa(i), "title")
	}
}

func (v *stepValidator) template(text string, secretsAllowed bool, path ...string) {
	names, err := vars.References(text)
	if err != nil {
		if bad, ok := err.(*vars.SyntaxError); ok { //nolint:errorlint // References returns it bare
			v.problem(bad.Got, bad.Want, path...)
		}
		return
	}
	for _, name := range names {
		secret, isSecret := strings.CutPrefix(name, "secrets.")
		switch {
		case (isSecret || v.private[name]) && !secretsAllowed:
			v.problem("${"+name+"}", "no secret here: secrets go into change values, http headers, bodies, auth and client certificates only", path...)
			v.used[secret] = true
		case !v.known[name]:
			v.problem("${"+name+"}", "what vars, secrets or an earlier step's extract defines: "+strings.Join(sortedKeys(v.known), ", "), path...)
		case isSecret:
			v.used[secret] = true
		}
	}
}

// answers are the subjects of whatever has a body.
var answers = []string{"json", "body", "expr", "schema", "measure"}

// subjectsOf lists which assertion subjects a kind of step can answer.
func subjectsOf(t scenario.StepType) []string {
	page := []string{"title", "url", "visible", "hidden", "text", "count", "expression", "consoleErrors", "failedRequests"}
	switch t {
	case scenario.StepHTTP:
		return append([]string{"status", "header", "cookie", "cache", "certDays"}, answers...)
	case scenario.StepTLS:
		return []string{"certDays", "expr", "measure"}
	case scenario.StepGRPC:
		return append([]string{"certDays"}, answers...)
	case scenario.StepTCP, scenario.StepDNS, scenario.StepWebSocket:
		return answers
	case scenario.StepNavigate:
		return append([]string{"status", "header", "cache"}, page...)
	}
	return page
}

// The subjects whose value is compared: as text, and as a number.
var (
	texts   = []string{"header", "json", "cookie", "text", "expression"}
	numbers = []string{"header", "json", "text", "expression", "count", "measure"}
)

func (v *stepValidator) assertion(a *scenario.Assertion, path ...string) {
	subjects := a.Subjects()
	allowed := subjectsOf(v.step.Type)
	if len(subjects) != 1 {
		v.problem(fmt.Sprintf("%d subjects", len(subjects)), "exactly one of "+strings.Join(allowed, ", "), path...)
		return
	}
	subject := subjects[0]
	if !slices.Contains(allowed, subject) {
		v.problem("subject "+subject, fmt.Sprintf("on %s steps one of %s", v.step.Type, strings.Join(allowed, ", ")), append(path, subject)...)
	}
	text := count(a.Equals != nil, a.Contains != "", a.Matches != "")
	number := count(a.AtLeast != nil, a.AtMost != nil)
	switch {
	case text > 1 || text > 0 && number > 0:
		v.problem(fmt.Sprintf("%d comparators", text+number), "at most one of equals, contains, matches; or atLeast, atMost or both", path...)
	case text > 0 && !slices.Contains(texts, subject) && (subject != "count" || a.Equals == nil):
		v.problem("a comparator with "+subject, "equals, contains or matches only with "+strings.Join(texts, ", ")+", and equals with count", path...)
	case number > 0 && !slices.Contains(numbers, subject):
		v.problem("a comparator with "+subject, "atLeast or atMost only with "+strings.Join(numbers, ", "), path...)
	}
	v.comparators(a.Equals, a.Contains, a.Matches, path)
	for _, text := range []string{a.Body, a.Title, a.URL, a.Visible, a.Hidden, a.Text, a.Count, a.Expression} {
		v.template(text, false, append(path, subject)...)
	}
	v.jsonPath(a.JSON, v.at(append(path, "json")...)...)
	v.answers(a, path)
	for _, selector := range []string{a.Visible, a.Hidden, a.Text, a.Count} {
		v.selector(selector, append(path, subject)...)
	}
	for _, limit := range []*int{a.ConsoleErrors, a.FailedRequests} {
		if limit != nil && *limit < 0 {
			v.problem(strconv.Itoa(*limit), "how many there may be, from 0", append(path, subject)...)
		}
	}
}

// count counts what is set.
func count(set ...bool) (n int) {
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
}

// comparators checks what the comparators of an assertion or a condition compare with.
func (v *stepValidator) comparators(equals *scenario.Text, contains, matches string, path []string) {
	if equals != nil {
		v.template(string(*equals), false, append(slices.Clone(path), "equals")...)
	}
	v.template(contains, false, append(slices.Clone(path), "contains")...)
	v.regex(matches, v.at(append(slices.Clone(path), "matches")...)...)
}

// condition checks the step's when.
func (v *stepValidator) condition(c *scenario.Condition) {
	page := map[string]string{"visible": c.Visible, "hidden": c.Hidden, "url": c.URL, "title": c.Title, "expression": c.Expression}
	var subjects []string
	for _, key := range sortedKeys(page) {
		if page[key] != "" {
			subjects = append(subjects, key)
			v.template(page[key], false, "when", key)
		}
	}
	allowed := "visible, hidden, url, title, expression, var"
	if !v.step.Type.Browser() {
		allowed = "var"
	}
	switch {
	case count(c.Var != "")+len(subjects) != 1:
		v.problem(fmt.Sprintf("%d subjects", count(c.Var != "")+len(subjects)), "exactly one of "+allowed, "when")
		return
	case len(subjects) == 1 && !v.step.Type.Browser():
		v.problem("subject "+subjects[0], "on steps without a page var", "when", subjects[0])
	}
	if n := count(c.Equals != nil, c.Contains != "", c.Matches != ""); n > 1 || n == 1 && c.Var == "" && c.Expression == "" {
		v.problem(fmt.Sprintf("%d comparators", n), "at most one of equals, contains, matches, with var or expression", "when")
	}
	v.comparators(c.Equals, c.Contains, c.Matches, []string{"when"})
	v.selector(c.Visible, "when", "visible")
	v.selector(c.Hidden, "when", "hidden")
	if c.Var != "" && !v.known[c.Var] {
		v.problem(strconv.Quote(c.Var), "what vars or an earlier step's extract defines: "+strings.Join(sortedKeys(v.known), ", "), "when", "var")
	}
	if strings.HasPrefix(c.Var, "secrets.") {
		v.problem(strconv.Quote(c.Var), "no secret here", "when", "var")
	}
	if limit := v.scenario.StepLimit(v.step); c.Within.D() > limit {
		v.problem(c.Within.String(), "at most the step's timeout, "+scenario.Duration(limit).String(), "when", "within")
	}
}

// at is a path within the step.
func (v *stepValidator) at(path ...string) []string { return append(slices.Clone(v.path), path...) }

// foreignSelector matches the notations of other tools: css=x, xpath=x, text=x, role/x, and a bare XPath.
var foreignSelector = regexp.MustCompile(`^(css|xpath|text|id|role|aria|pierce)=|^role/|^\(*//`)

func (v *stepValidator) selector(text string, path ...string) {
	v.ours(text, append(slices.Clone(v.path), path...)...)
}

// ours checks that a selector is not in another tool's notation.
func (v *validator) ours(selector string, path ...string) {
	if foreignSelector.MatchString(selector) {
		v.add(strconv.Quote(selector), `CSS, or a selector that begins with aria/, text/, xpath/ or pierce/, such as "xpath//div[@id]"`, path...)
	}
}

func (v *stepValidator) extractor(name string, x scenario.Extractor) {
	if !identifier.MatchString(name) {
		v.problem(strconv.Quote(name), "a name of letters, digits and _", "extract", name)
	}
	if slices.Contains(scenario.BuiltIn(), name) {
		v.problem(strconv.Quote(name), "another name: ${"+name+"} has a meaning of its own", "extract", name)
	}
	browser := v.step.Type.Browser()
	inPage, inResponse := count(x.Selector != "", x.Expression != ""), count(x.JSON != "", x.Header != "", x.Cookie != "", x.Expr != "")
	if st := v.step.Type; st.Bare() && (x.Header != "" || x.Cookie != "") {
		v.problem("header or cookie", "on "+string(st)+" steps json, expr or regex", "extract", name)
	}
	switch {
	case browser && (inPage != 1 || inResponse != 0):
		v.problem(fmt.Sprintf("%d sources", inPage+inResponse), "selector or expression, and no other source, on a browser step", "extract", name)
	case !browser && (inPage != 0 || inResponse > 1 || inResponse == 0 && x.Regex == ""):
		v.problem(fmt.Sprintf("%d sources", inPage+inResponse), "exactly one of json, header, cookie and expr, or a regex over the body", "extract", name)
	case x.Attribute != "" && x.Selector == "":
		v.problem(strconv.Quote(x.Attribute), "attribute only with selector", "extract", name, "attribute")
	}
	v.regex(x.Regex, v.at("extract", name, "regex")...)
	v.jsonPath(x.JSON, v.at("extract", name, "json")...)
	v.expr(x.Expr, false, "extract", name, "expr")
	v.selector(x.Selector, "extract", name, "selector")
	v.template(x.Selector, false, "extract", name, "selector")
	v.template(x.Expression, false, "extract", name, "expression")
	v.known[name] = true
}
