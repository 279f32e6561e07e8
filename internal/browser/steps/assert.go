package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/cachestate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// assertions checks the step's assertions in order. Those about the response are decided at once; those about the page are polled
// until they hold or the step's time is up.
func (a *action) assertions(ctx context.Context) error {
	for i := range a.step.Assert {
		as := &a.step.Assert[i]
		var err error
		switch as.Subject() {
		case "status", "header", "cache":
			err = a.checkResponse(as)
		case "consoleErrors", "failedRequests": // when the page is quiet: see problems
		default:
			err = a.checkPage(ctx, as)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkResponse checks an assertion about the response to the main document.
func (a *action) checkResponse(as *scenario.Assertion) error {
	response, _ := a.player.tab.Response(a.document().Loader)
	status, headers := response.PageStatus, response.Headers
	if headers == nil {
		return failf(runs.ClassAssertion, "%s: got no response, want one", as.Subject())
	}
	switch as.Subject() {
	case "status":
		return verdict(as, "status", strconv.Itoa(status), as.Status.String(), as.Status.Has(status) != as.Not)
	case "cache":
		got := string(cachestate.Classify(headers).State)
		if response.BrowserCache != "" {
			got = "the browser's " + response.BrowserCache + " cache"
		}
		return verdict(as, "cache", got, fmt.Sprintf("one of %q", []string(as.Cache)), slices.Contains(as.Cache, got) != as.Not)
	}
	values, found := headers[http.CanonicalHeaderKey(as.Header)]
	got := "nothing"
	value := ""
	if found {
		value = values[0]
		got = strconv.Quote(value)
	}
	ok, want, err := as.Check(value, found, a.scope)
	if err != nil {
		return failf(scriptFault, "header %s: %v", as.Header, err)
	}
	if !ok {
		return failf(runs.ClassAssertion, "header %s: got %s, want %s", as.Header, got, want)
	}
	return nil
}

// verdict turns a check into a failure where it does not hold.
func verdict(as *scenario.Assertion, subject, got, want string, holds bool) error {
	if holds {
		return nil
	}
	if as.Not {
		want = "not " + want
	}
	return failf(runs.ClassAssertion, "%s: got %s, want %s", subject, got, want)
}

// problems checks, when all else is done, how much went wrong in the step.
func (a *action) problems() error {
	for i := range a.step.Assert {
		as := &a.step.Assert[i]
		if as.ConsoleErrors == nil && as.FailedRequests == nil {
			continue
		}
		errors, failed := a.player.tab.Problems()
		got, limit := errors, as.ConsoleErrors
		if as.FailedRequests != nil {
			got, limit = failed, as.FailedRequests
		}
		if err := verdict(as, as.Subject(), strconv.Itoa(got), "at most "+strconv.Itoa(*limit), (got <= *limit) != as.Not); err != nil {
			return err
		}
	}
	return nil
}

// checkPage polls an assertion about what the page shows.
func (a *action) checkPage(ctx context.Context, as *scenario.Assertion) error {
	look, err := a.pageCheck(as)
	if err != nil {
		return failf(scriptFault, "%s: %v", as.Subject(), err)
	}
	var last error // why it does not hold, from the last look that the page answered
	a.doing = "waiting for the page to answer about assertion " + as.Subject()
	attempts, selector := a.out.Attempts, a.out.Selector
	defer func() { a.out.Attempts, a.out.Selector = attempts, selector }() // of the step, not of its assertions
	err = a.poll(ctx, pollEvery, func() (bool, error) {
		seen, err := look(ctx)
		if err != nil {
			return false, err
		}
		last = verdict(as, as.Subject(), seen.got, seen.want, seen.holds != as.Not)
		return last == nil, nil
	})
	if last != nil && errors.Is(err, context.DeadlineExceeded) {
		return last
	}
	return err
}

// finding is what one look for an assertion came to: what it got, what was wanted, and whether that holds, Not aside.
type finding struct {
	got, want string
	holds     bool
}

// pageCheck prepares the check of one assertion; the returned function looks once.
func (a *action) pageCheck(as *scenario.Assertion) (func(context.Context) (finding, error), error) {
	switch {
	case as.Visible != "" || as.Hidden != "" || as.Count != "" || as.Text != "":
		return a.elementCheck(as)
	case as.Expression != "":
		return a.expressionCheck(as)
	}
	pattern, err := a.scope.Expand(as.Title + as.URL)
	return func(ctx context.Context) (finding, error) {
		at, err := elements.Evaluate[struct{ Title, URL string }](ctx, a.player.elements, a.frame.ID,
			`() => ({Title: document.title, URL: location.href})`)
		if as.URL != "" {
			return finding{traffic.PlainURL(at.URL), pattern, scenario.Glob(pattern, at.URL)}, err
		}
		return finding{strconv.Quote(at.Title), strconv.Quote(pattern), scenario.Glob(pattern, at.Title)}, err
	}, err
}

func (a *action) elementCheck(as *scenario.Assertion) (func(context.Context) (finding, error), error) {
	l, err := elements.NewLookup(scenario.Selectors{{as.Visible + as.Hidden + as.Count + as.Text}}, a.scope)
	if err != nil {
		return nil, err
	}
	if as.Text != "" {
		return func(ctx context.Context) (finding, error) {
			seen, err := a.look(ctx, elements.Read, elements.Options{}, l)
			if err != nil {
				return finding{}, err
			}
			return a.compared(as, seen.Text, seen.State == elements.Found, strconv.Quote(short(seen.Text)))
		}, nil
	}
	return func(ctx context.Context) (finding, error) {
		seen, err := a.look(ctx, elements.Count, elements.Options{}, l)
		if err != nil {
			return finding{}, err
		}
		got := fmt.Sprintf("%d visible of %d elements", seen.Visible, seen.Total)
		switch {
		case as.Hidden != "":
			return finding{got, "no visible " + strconv.Quote(l.String()), seen.Visible == 0}, nil
		case as.Visible != "":
			return finding{got, "a visible " + strconv.Quote(l.String()), seen.Visible > 0}, nil
		}
		return a.compared(as, strconv.Itoa(seen.Total), seen.Total > 0 || compares(as), strconv.Itoa(seen.Total))
	}, nil
}

func (a *action) expressionCheck(as *scenario.Assertion) (func(context.Context) (finding, error), error) {
	source, err := a.scope.Expand(as.Expression)
	return func(ctx context.Context) (finding, error) {
		value, err := a.player.elements.Expression(ctx, a.frame.ID, source)
		switch {
		case err != nil:
			return finding{}, err
		case value.Thrown != "":
			return a.compared(as, "", false, "an exception: "+short(value.Thrown))
		case compares(as):
			return a.compared(as, value.Text, value.Defined, strconv.Quote(short(value.Text)))
		}
		return finding{short(value.Text), "something truthy", value.Truthy}, nil
	}, err
}

// compares reports whether an assertion has a comparator.
func compares(as *scenario.Assertion) bool {
	return as.Equals != nil || as.Contains != "" || as.Matches != "" || as.AtLeast != nil || as.AtMost != nil
}

// compared applies the comparators of an assertion to a value; says names the value in words.
func (a *action) compared(as *scenario.Assertion, value string, found bool, says string) (finding, error) {
	plain := *as
	plain.Not = false // it is applied by who asks
	if !found && value == "" && as.Expression == "" {
		says = "nothing"
	}
	ok, want, err := plain.Check(value, found, a.scope)
	if err != nil {
		return finding{}, failf(scriptFault, "%s: %v", as.Subject(), err)
	}
	return finding{says, want, ok}, nil
}

// extract takes values out of the page into variables, each as soon as it is there.
func (a *action) extract(ctx context.Context) error {
	attempts, selector := a.out.Attempts, a.out.Selector
	defer func() { a.out.Attempts, a.out.Selector = attempts, selector }()
	for _, name := range slices.Sorted(maps.Keys(a.step.Extract)) {
		x := a.step.Extract[name]
		read, err := a.reader(&x)
		if err != nil {
			return failf(scriptFault, "extract %s: %v", name, err)
		}
		a.doing = "waiting to extract " + name + ": the page did not answer"
		err = a.poll(ctx, pollEvery, func() (bool, error) {
			text, missing, err := read(ctx)
			if err != nil {
				return false, err
			}
			if missing != "" {
				a.doing = fmt.Sprintf("waiting to extract %s: %s", name, missing)
				return false, nil
			}
			value, ok := x.Apply(text)
			if !ok {
				a.doing = fmt.Sprintf("waiting to extract %s: what was found does not match %s", name, x.Regex)
				return false, nil
			}
			a.scope.Set(name, value)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reader prepares an extractor's source: the returned function reads it once, or says what is missing.
func (a *action) reader(x *scenario.Extractor) (func(context.Context) (text, missing string, err error), error) {
	if x.Expression != "" {
		source, err := a.scope.Expand(x.Expression)
		return func(ctx context.Context) (string, string, error) {
			value, err := a.player.elements.Expression(ctx, a.frame.ID, source)
			switch {
			case value.Thrown != "":
				return "", "the expression throws " + short(value.Thrown), err
			case !value.Defined || value.Text == "null":
				return "", "the expression has no value", err
			}
			return value.Text, "", err
		}, err
	}
	l, err := elements.NewLookup(scenario.Selectors{{x.Selector}}, a.scope)
	return func(ctx context.Context) (string, string, error) {
		seen, err := a.look(ctx, elements.Read, elements.Options{Attribute: x.Attribute}, l)
		switch seen.State {
		case elements.Missing:
			return "", "there is no " + l.String(), err
		case elements.Bare:
			return "", l.String() + " has no attribute " + x.Attribute, err
		}
		return seen.Text, "", err
	}, err
}
