package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

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
	doc, _ := a.session.tab.Document()
	response, _ := a.session.tab.Response(doc.Loader)
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

// checkPage polls an assertion about what the page shows.
func (a *action) checkPage(ctx context.Context, as *scenario.Assertion) error {
	look, err := a.pageCheck(ctx, as)
	if err != nil {
		return failf(scriptFault, "%s: %v", as.Subject(), err)
	}
	var last error // why it does not hold, from the last look that the page answered
	a.doing = "waiting for the page to answer about assertion " + as.Subject()
	attempts := a.out.Attempts
	defer func() { a.out.Attempts = attempts }() // of the step, not of its assertions
	selector := a.out.Selector
	defer func() { a.out.Selector = selector }()
	err = a.poll(ctx, pollEvery, func() (bool, error) {
		got, want, holds, err := look()
		if err != nil {
			return false, err
		}
		last = verdict(as, as.Subject(), got, want, holds != as.Not)
		return last == nil, nil
	})
	if last != nil && errors.Is(err, context.DeadlineExceeded) {
		return last
	}
	return err
}

// pageCheck prepares the check of one assertion; the returned function looks once and says what it got, what was wanted, and
// whether that holds, as.Not aside.
func (a *action) pageCheck(ctx context.Context, as *scenario.Assertion) (func() (got, want string, holds bool, err error), error) {
	if as.Visible != "" || as.Hidden != "" {
		l, err := newLookup(scenario.Selectors{{as.Visible + as.Hidden}}, a.scope)
		return func() (string, string, bool, error) {
			seen, err := a.look(ctx, "count", options{}, l)
			got := fmt.Sprintf("%d visible of %d elements", seen.Visible, seen.Total)
			if as.Hidden != "" {
				return got, "no visible " + strconv.Quote(l.texts[0]), seen.Visible == 0, err
			}
			return got, "a visible " + strconv.Quote(l.texts[0]), seen.Visible > 0, err
		}, err
	}
	pattern, err := a.scope.Expand(as.Title + as.URL)
	return func() (string, string, bool, error) {
		at, err := evaluate[struct{ Title, URL string }](ctx, a.session, `() => ({Title: document.title, URL: location.href})`, nil)
		if as.URL != "" {
			return traffic.PlainURL(at.URL), pattern, scenario.Glob(pattern, at.URL), err
		}
		return strconv.Quote(at.Title), strconv.Quote(pattern), scenario.Glob(pattern, at.Title), err
	}, err
}

// extract takes values out of the page into variables, each as soon as its element is there.
func (a *action) extract(ctx context.Context) error {
	names := make([]string, 0, len(a.step.Extract))
	for name := range a.step.Extract {
		names = append(names, name)
	}
	slices.Sort(names)
	attempts, selector := a.out.Attempts, a.out.Selector
	defer func() { a.out.Attempts, a.out.Selector = attempts, selector }()
	for _, name := range names {
		x := a.step.Extract[name]
		l, err := newLookup(scenario.Selectors{{x.Selector}}, a.scope)
		if err != nil {
			return failf(scriptFault, "extract %s: %v", name, err)
		}
		err = a.poll(ctx, pollEvery, func() (bool, error) {
			a.doing = fmt.Sprintf("waiting to extract %s: there is no %s", name, l)
			seen, err := a.look(ctx, "read", options{}, l)
			if err != nil || seen.State == "missing" {
				return false, err
			}
			value, ok := x.Apply(seen.Text)
			if !ok {
				a.doing = fmt.Sprintf("waiting to extract %s: the text of %s does not match %s", name, l, x.Regex)
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
