package answer

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/theory/jsonpath"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenario/predicate"
	"lastmile/internal/vars"
)

// Judge holds answers against steps. It keeps what it has compiled from run to run. It is safe for concurrent use.
type Judge struct {
	mu          sync.Mutex // for all that follows
	parser      *jsonpath.Parser
	paths       map[string]*jsonpath.Path
	conditions  map[string]*predicate.Expression // which are true or false
	expressions map[string]*predicate.Expression
	schemas     map[string]*predicate.Schema // by their text as JSON
}

// New makes a Judge.
func New() *Judge {
	return &Judge{
		parser:      newPathParser(),
		paths:       map[string]*jsonpath.Path{},
		conditions:  map[string]*predicate.Expression{},
		expressions: map[string]*predicate.Expression{},
		schemas:     map[string]*predicate.Schema{},
	}
}

// maxKept bounds how many texts of one kind a Judge keeps compiled. Beyond it begins anew.
const maxKept = 1000

// kept compiles a text, unless that was done before.
func kept[T any](j *Judge, store map[string]T, text string, compile func() (T, error)) (T, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if had, ok := store[text]; ok {
		return had, nil
	}
	made, err := compile()
	if err == nil {
		if len(store) >= maxKept {
			clear(store)
		}
		store[text] = made
	}
	return made, err
}

// path compiles a JSONPath.
func (j *Judge) path(text string) (*jsonpath.Path, error) {
	return kept(j, j.paths, text, func() (*jsonpath.Path, error) { return j.parser.Parse(text) })
}

// condition compiles an expression that is asserted.
func (j *Judge) condition(text string) (*predicate.Expression, error) {
	return kept(j, j.conditions, text, func() (*predicate.Expression, error) { return predicate.NewExpression(text, true) })
}

// expression compiles an expression whose value is taken.
func (j *Judge) expression(text string) (*predicate.Expression, error) {
	return kept(j, j.expressions, text, func() (*predicate.Expression, error) { return predicate.NewExpression(text, false) })
}

// schema compiles a JSON Schema.
func (j *Judge) schema(schema any) (*predicate.Schema, error) {
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	return kept(j, j.schemas, string(text), func() (*predicate.Schema, error) { return predicate.NewSchema(schema) })
}

// Ready reports what is wrong with a step's assertions and extractors themselves, so that a step that cannot be judged sends nothing.
// The error is without the values of variables.
func (j *Judge) Ready(step *scenario.Step, scope *vars.Scope) error {
	for i := range step.Assert {
		a := &step.Assert[i]
		if err := j.compiles(a.JSON, a.Expr, a.Schema, j.condition); err != nil {
			return err
		}
		if _, err := scope.Expand(a.Body); err != nil { // missing variables are looked for here: they do not appear while polling
			return fmt.Errorf("assert body: %w", err)
		}
		texts := []string{a.Contains}
		if a.Equals != nil {
			texts = append(texts, string(*a.Equals))
		}
		for _, text := range texts {
			if _, err := scope.Expand(text); err != nil {
				return fmt.Errorf("assert %s: %w", a.Subject(), err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(step.Extract)) {
		if err := j.compiles(step.Extract[name].JSON, step.Extract[name].Expr, nil, j.expression); err != nil {
			return err
		}
	}
	return nil
}

// compiles compiles what there is of a path, an expression and a schema.
func (j *Judge) compiles(path, text string, schema any, expression func(string) (*predicate.Expression, error)) error {
	if path != "" {
		if _, err := j.path(path); err != nil {
			return fmt.Errorf("json %s: %w", Clip(path, MaxValue), err)
		}
	}
	if text != "" {
		if _, err := expression(text); err != nil {
			return fmt.Errorf("expr %s: %w", Clip(text, MaxValue), err)
		}
	}
	if schema != nil {
		if _, err := j.schema(schema); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	return nil
}

// Assert returns the cause of the first assertion that does not hold. The status comes first, whatever the order: an error page explains
// why the rest of the assertions fail. Without a status assertion a status must be below 400.
func (j *Judge) Assert(step *scenario.Step, a *Answer, scope *vars.Scope) *runs.Cause {
	c := &comparison{judge: j, step: step, answer: a, scope: scope}
	cause := c.status()
	if cause == nil {
		cause = a.Broken
	}
	for i := 0; i < len(step.Assert) && cause == nil; i++ {
		cause = c.assertion(&step.Assert[i])
	}
	return cause
}

// Extract puts the step's variables into the scope and returns the cause of the first one that is missing.
func (j *Judge) Extract(step *scenario.Step, a *Answer, scope *vars.Scope) *runs.Cause {
	c := &comparison{judge: j, step: step, answer: a, scope: scope}
	var first *runs.Cause
	for _, name := range slices.Sorted(maps.Keys(step.Extract)) {
		value, cause := c.value(step.Extract[name])
		if cause == nil {
			scope.Set(name, value)
		} else if first == nil {
			first = Cause(cause.Class, "extract %s: %s", name, cause.Detail)
		}
	}
	return first
}

// comparison is one answer under judgement.
type comparison struct {
	judge  *Judge
	step   *scenario.Step
	answer *Answer
	scope  *vars.Scope
}

// assertion checks one that is not about the status.
func (c *comparison) assertion(a *scenario.Assertion) *runs.Cause {
	switch a.Subject() {
	case "header", "json", "cookie":
		return c.compare(a)
	case "expr":
		return c.condition(a)
	case "schema":
		return c.schema(a)
	case "measure":
		return c.measure(a)
	case "certDays":
		return c.certDays(a)
	case "body":
		return c.body(a)
	case "cache":
		if state := string(c.answer.Cache.State); slices.Contains(a.Cache, state) == a.Not {
			return Cause(runs.ClassAssertion, "cache: got %s, want %s%s", state, negated(a.Not), strings.Join(a.Cache, " or "))
		}
	}
	return nil
}

// status checks the status assertions, or without any that the answer is no error.
func (c *comparison) status() *runs.Cause {
	got, asserted := c.answer.Status, false
	class := runs.ClassAssertion
	switch got / 100 {
	case 4:
		class = runs.ClassHTTP4xx
	case 5:
		class = runs.ClassHTTP5xx
	}
	for i := range c.step.Assert {
		a := &c.step.Assert[i]
		if a.Subject() != "status" {
			continue
		}
		asserted = true
		if a.Status.Has(got) == a.Not {
			return Cause(class, "status: got %d, want %s%s", got, negated(a.Not), a.Status)
		}
	}
	if !asserted && got >= 400 {
		return Cause(class, "status: got %d, want below 400", got)
	}
	return nil
}

// compare applies the comparators of an assertion to what its source gives.
func (c *comparison) compare(a *scenario.Assertion) *runs.Cause {
	source := scenario.Extractor{Header: a.Header, JSON: a.JSON, Cookie: a.Cookie}
	got, found, cause := c.find(source)
	if cause != nil {
		return cause
	}
	ok, want, err := a.Check(got, found, c.scope)
	switch {
	case err != nil:
		return Cause(runs.ClassScript, "%s: %s", sourceName(source), err)
	case ok:
		return nil
	}
	shown := "nothing"
	if found {
		shown = strconv.Quote(c.show(got))
	}
	const hidden = "a value that is not shown"
	switch compared := a.Equals != nil || a.Contains != "" || a.Matches != ""; {
	case credential(a.Header), a.Cookie != "" && found && compared:
		shown, want = hidden, "another"
	case a.Cookie != "" && found:
		shown = hidden
	case a.Cookie != "" && compared:
		want = hidden
	}
	return Cause(runs.ClassAssertion, "%s: got %s, want %s", sourceName(source), shown, c.show(want))
}

func (c *comparison) body(a *scenario.Assertion) *runs.Cause {
	want, err := c.scope.Expand(a.Body)
	if err != nil {
		return Cause(runs.ClassScript, "body: %s", err)
	}
	body, _, cause := c.find(scenario.Extractor{})
	if cause != nil || strings.Contains(body, want) != a.Not {
		return cause
	}
	with := "without"
	if a.Not {
		with = "with"
	}
	return Cause(runs.ClassAssertion, "body: got %d bytes %s it, want %s%q", len(body), with, negated(a.Not), c.show(a.Body)) // as written: what it stands for may be private
}

// value is what an extractor is after.
func (c *comparison) value(x scenario.Extractor) (string, *runs.Cause) {
	got, found, cause := c.find(x)
	if cause != nil {
		return "", cause
	}
	if !found {
		return "", Cause(runs.ClassAssertion, "%s: got nothing, want something", sourceName(x))
	}
	value, ok := x.Apply(got)
	if !ok {
		return "", Cause(runs.ClassAssertion, "%s: got no match, want a match of %s", sourceName(x), x.Regex)
	}
	if len(value) > maxExtract {
		return "", Cause(runs.ClassAssertion, "%s: got %d bytes, want at most %d", sourceName(x), len(value), maxExtract)
	}
	return value, nil
}

// find looks up the source of an extractor: all values of a header, the value of a cookie or an expression, the first value at a JSONPath,
// or the whole body.
func (c *comparison) find(x scenario.Extractor) (value string, found bool, cause *runs.Cause) {
	switch {
	case x.Header != "":
		values := c.answer.Header.Values(x.Header)
		return strings.Join(values, ", "), len(values) > 0, nil
	case x.Cookie != "":
		value, found := cookieValue(c.answer.Cookies, x.Cookie)
		return value, found, nil
	case x.Expr != "":
		return c.evaluate(x)
	}
	if cause := c.answer.unread(); cause != nil {
		return "", false, cause
	}
	if x.JSON == "" {
		return string(c.answer.Body), true, nil
	}
	path, err := c.judge.path(x.JSON)
	if err != nil {
		return "", false, Cause(runs.ClassScript, "%s: %s", sourceName(x), err)
	}
	document, err := c.answer.json()
	if err != nil {
		return "", false, Cause(runs.ClassAssertion, "%s: %s", sourceName(x), err)
	}
	value, found, err = selectFirst(path, document)
	if err != nil {
		return "", false, Cause(runs.ClassScript, "%s: %s", sourceName(x), err)
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
	case x.Cookie != "":
		return "cookie " + x.Cookie
	case x.Expr != "":
		return "expr " + Clip(x.Expr, MaxValue)
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

// show makes a value fit for a detail.
func (c *comparison) show(value string) string { return c.showUpTo(value, MaxValue) }

// showUpTo makes a text of at most limit bytes fit for a detail. Secrets go first: half of one would no longer be recognised after the cut.
func (c *comparison) showUpTo(value string, limit int) string {
	value = c.scope.Redact(Clip(value, maxExtract))
	private := map[string]vars.Secret{}
	for _, secret := range c.answer.private() {
		if len(secret) >= vars.MinSecret {
			private[secret] = vars.Secret(secret)
		}
	}
	// Of these there may be thousands, and what a target says may take long to look through for each of them.
	return Clip(vars.NewScope(map[string]string{}, private).Redact(Clip(value, ahead*limit)), limit)
}

// ahead is how many times what is shown is looked through for credentials: one that begins in it is known by as much, though cut off.
const ahead = 5

// credential reports whether a header's value is never shown.
func credential(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie":
		return true
	}
	return false
}
