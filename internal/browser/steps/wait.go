package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/tab"
	"lastmile/internal/scenario"
)

// The pauses between two looks.
const (
	pollEvery    = 50 * time.Millisecond
	pollElements = 100 * time.Millisecond // waitForElement, as in Recorder
)

// poll calls try until it is done or fails, with a pause in between. A document replaced in mid-try is no failure, nor is a frame. What a
// try that was not done took of our own time is no longer ours: a person waited meanwhile.
func (a *action) poll(ctx context.Context, every time.Duration, try func() (bool, error)) error {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		a.out.Attempts++
		ours := a.ours
		done, err := try()
		if !done {
			a.ours = ours
		}
		if errors.Is(err, tab.ErrGone) {
			if err = a.relocate(ctx); err == nil {
				err = elements.ErrStale
			}
		}
		if err != nil && !errors.Is(err, elements.ErrStale) {
			return err
		}
		if err == nil && done {
			return nil
		}
		timer.Reset(every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.player.browser.Lost():
			return chromium.ErrLost
		}
	}
}

// lookup reads the step's selectors.
func (a *action) lookup() (*elements.Lookup, error) {
	if len(a.step.Selectors) == 0 {
		return nil, fmt.Errorf("%s: got no selectors, want one", a.step.Type)
	}
	l, err := elements.NewLookup(a.step.Selectors, a.scope)
	if err != nil {
		return nil, failf(scriptFault, "%v", err)
	}
	return l, nil
}

// look looks once at what the selectors match in the step's frame. Our own time goes to a.ours.
func (a *action) look(ctx context.Context, operation elements.Operation, opts elements.Options, l *elements.Lookup) (elements.Sighting, error) {
	seen, err := a.player.elements.Look(ctx, a.frame.ID, operation, opts, l)
	a.ours += seen.Ours
	if err == nil && seen.State != elements.Missing {
		a.out.Selector = l.Text(seen.Index)
	}
	return seen, err
}

// ready waits until the element of the selectors can take input, and returns where it is and what it is.
func (a *action) ready(ctx context.Context, l *elements.Lookup, opts elements.Options) (elements.Sighting, error) {
	var seen elements.Sighting
	a.doing = "waiting for element " + l.String()
	err := a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.look(ctx, elements.Locate, opts, l)
		if err != nil {
			return false, err
		}
		seen = got
		switch got.State {
		case elements.Missing:
			a.doing = "waiting for element " + l.String() + ": there is none"
		case elements.Covered:
			a.doing = "waiting for element " + l.Text(got.Index) + ": it is covered by " + got.By
		default:
			a.doing = "waiting for element " + l.Text(got.Index) + ": it is " + got.State
		}
		return got.State == elements.Ready, nil
	})
	return seen, err
}

// waitForElement polls until the number of elements is as wanted, and all of them have the attributes and properties. visible: true
// counts visible ones only; visible: false wants all that not to hold of the visible ones, which by default means that there is none.
func (a *action) waitForElement(ctx context.Context) error {
	l, err := a.lookup()
	if err != nil {
		return err
	}
	st := a.step
	want, operator := 1, st.Operator
	if st.Count != nil {
		want = *st.Count
	}
	if operator == "" {
		operator = ">="
	}
	opts := elements.Options{Shown: st.Visible != nil, Attributes: map[string]string{}, Properties: st.Properties}
	for name, template := range st.Attributes {
		if opts.Attributes[name], err = a.scope.Expand(template); err != nil {
			return failf(scriptFault, "attribute %s: %v", name, err)
		}
	}
	a.doing = "waiting for " + l.String()
	return a.poll(ctx, pollElements, func() (bool, error) {
		got, err := a.look(ctx, elements.Count, opts, l)
		if err != nil {
			return false, err
		}
		n, kind, inverted, with := got.Total, "", "", ""
		if opts.Shown {
			n, kind = got.Visible, "visible "
		}
		if len(opts.Attributes)+len(opts.Properties) > 0 {
			with = ", all with the attributes and properties"
		}
		holds := compare(n, operator, want) && got.Every
		if opts.Shown && !*st.Visible {
			holds, inverted = !holds, "not "
		}
		a.doing = fmt.Sprintf("waiting for %s: got %d %selements, want %s%s %d%s", l, n, kind, inverted, operator, want, with)
		return holds, nil
	})
}

func compare(n int, operator string, want int) bool {
	switch operator {
	case "==":
		return n == want
	case "<=":
		return n <= want
	}
	return n >= want
}

// waitForExpression evaluates JavaScript in the page until it is truthy. What it throws may be gone at the next look.
func (a *action) waitForExpression(ctx context.Context) error {
	source, err := a.scope.Expand(a.step.Expression)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	a.doing = "waiting for the expression: the page did not answer"
	return a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.player.elements.Expression(ctx, a.frame.ID, source)
		switch {
		case err != nil:
			return false, err
		case got.Thrown != "":
			a.doing = "waiting for the expression: it throws " + short(got.Thrown)
		case !got.Truthy:
			a.doing = "waiting for the expression: it is " + short(got.Text)
		}
		return got.Truthy, nil
	})
}

// short cuts a text that goes into a message.
func short(text string) string {
	const limit = 200
	runes := []rune(text)
	if len(runes) > limit {
		return string(runes[:limit]) + "..."
	}
	return text
}

// holds decides whether the step is to run: its condition is looked at until it holds or its time to do so is over. A target that is not
// there holds no condition.
func (a *action) holds(ctx context.Context) (bool, error) {
	c := a.step.When
	if c == nil || c.Var != "" { // variables are not the page's
		return true, nil
	}
	look, err := a.conditionCheck(c)
	if err != nil {
		return false, failf(scriptFault, "when: %v", err)
	}
	a.doing = "waiting for the page to answer about the step's condition"
	until := time.Now().Add(c.Within.D())
	within, cancel := context.WithDeadline(ctx, until.Add(lookOnce))
	defer cancel()
	if a.frame.ID == "" {
		if err := a.locate(within); err != nil {
			return false, a.unless(ctx, err)
		}
	}
	attempts, selector, met := a.out.Attempts, a.out.Selector, false
	defer func() { a.out.Attempts, a.out.Selector = attempts, selector }()
	err = a.poll(within, pollEvery, func() (bool, error) {
		holds, err := look(within)
		met = err == nil && holds != c.Not
		return err == nil && (met || !time.Now().Before(until)), err
	})
	if err != nil {
		return false, a.unless(ctx, err)
	}
	return met, nil
}

// lookOnce is what a page gets to answer about a condition.
const lookOnce = time.Second

// unless forgives an error that only says that the time for a condition is over.
func (a *action) unless(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// conditionCheck prepares the check of a condition, Not aside.
func (a *action) conditionCheck(c *scenario.Condition) (func(context.Context) (bool, error), error) {
	as := &scenario.Assertion{
		Visible: c.Visible, Hidden: c.Hidden, URL: c.URL, Title: c.Title, Expression: c.Expression,
		Equals: c.Equals, Contains: c.Contains, Matches: c.Matches,
	}
	look, err := a.pageCheck(as)
	return func(ctx context.Context) (bool, error) {
		seen, err := look(ctx)
		return seen.holds, err
	}, err
}
