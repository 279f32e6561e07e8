package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/tab"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// navigate opens a URL and waits for its load event; a page that sends itself on before that is followed.
func (a *action) navigate(ctx context.Context) error {
	url, err := a.scope.Expand(a.step.URL)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	a.doing = "waiting for the response of " + traffic.PlainURL(url)
	e := a.session.tab.Endpoint()
	got, err := chromium.Call(ctx, e, page.Navigate, page.NavigateParams{URL: url})
	switch {
	case ctx.Err() != nil && err != nil:
		chromium.Post(e, page.StopLoading, cdp.Empty{})
		return err
	case errors.As(err, new(*cdproto.Error)): // not a URL, for one
		return failf(scriptFault, "navigate to %s: %v", traffic.PlainURL(url), err)
	case err != nil:
		return err
	case got.ErrorText != "":
		return a.netFailure(url, got.ErrorText, got.LoaderID)
	case got.LoaderID == "": // within the document
		return nil
	}
	return a.loaded(ctx, func(d tab.Document) bool { return d.Commits > a.before.Commits })
}

// loaded waits until the main frame shows a complete document that is as wanted, then looks at how it was answered.
func (a *action) loaded(ctx context.Context, wanted func(tab.Document) bool) error {
	t := a.session.tab
	a.doing = "waiting for the page to load"
	err := t.Wait(ctx, func(d tab.Document) bool { return d.Complete() && d.Loader != a.session.failed && wanted(d) })
	if err != nil {
		if ctx.Err() != nil {
			chromium.Post(t.Endpoint(), page.StopLoading, cdp.Empty{})
		}
		return err
	}
	return a.answered()
}

// answered fails where the main document is an error: Chromium's own page for a network error, or one of the server's.
func (a *action) answered() error {
	doc, _ := a.session.tab.Document()
	response, _ := a.session.tab.Response(doc.Loader)
	if doc.Failed && response.PageStatus < 400 {
		return a.notLoaded(doc.Loader, doc.URL, cmp.Or(response.Error, "Chromium shows an error page"))
	}
	return a.httpStatus(response.PageStatus)
}

// netFailure is the failure of a navigation that Chromium gave up. An error status without a body counts as the status.
func (a *action) netFailure(url, text string, loader cdp.LoaderID) error {
	a.session.failed = loader
	response, _ := a.session.tab.Response(loader)
	status := response.PageStatus
	if err := a.httpStatus(status); err != nil {
		return err
	}
	if status >= 400 { // and the step asks for that status
		return nil
	}
	return a.notLoaded(loader, url, text)
}

// notLoaded is the failure of the network to bring a document. Where that is this machine's own, it is a fault.
func (a *action) notLoaded(loader cdp.LoaderID, url, text string) error {
	cause := a.session.tab.Explain(loader, url, text)
	if cause.Class == runs.ClassProbe {
		return &runs.Fault{Class: cause.Class, Err: errors.New(cause.Detail)}
	}
	return &failure{class: cause.Class, detail: cause.Detail}
}

// httpStatus fails on 4xx and 5xx, unless an assertion asks for that very status.
func (a *action) httpStatus(status int) error {
	if status < 400 {
		return nil
	}
	want := "2xx or 3xx"
	for _, as := range a.step.Assert {
		if len(as.Status) == 0 || as.Not {
			continue
		}
		if as.Status.Has(status) {
			return nil
		}
		want = as.Status.String()
	}
	class := runs.ClassHTTP4xx
	if status >= 500 {
		class = runs.ClassHTTP5xx
	}
	return failf(class, "status: got %d, want %s", status, want)
}

func (a *action) setViewport(ctx context.Context) error {
	a.doing = "setting the viewport"
	st, e := a.step, a.session.tab.Endpoint()
	scale := st.DeviceScaleFactor
	if scale == 0 {
		scale = a.session.device.Scale
	}
	params := emulation.SetDeviceMetricsOverrideParams{
		Width: int64(st.Width), Height: int64(st.Height), DeviceScaleFactor: scale, Mobile: st.IsMobile,
		ScreenWidth: int64(st.Width), ScreenHeight: int64(st.Height),
	}
	if st.IsLandscape {
		params.ScreenOrientation = &emulation.ScreenOrientation{Type: emulation.ScreenOrientationTypeLandscapePrimary, Angle: 90}
	}
	if _, err := chromium.Call(ctx, e, emulation.SetDeviceMetricsOverride, params); err != nil {
		return err
	}
	_, err := chromium.Call(ctx, e, emulation.SetTouchEmulationEnabled, tab.TouchScreen(st.HasTouch))
	return err
}

// click presses the element with the mouse. It does not wait for what the press causes: see assertedEvents.
func (a *action) click(ctx context.Context) error {
	l, err := newLookup(a.step.Selectors, a.scope)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	at, err := a.ready(ctx, l, options{Press: true, Offset: offset{a.step.OffsetX, a.step.OffsetY}})
	if err != nil {
		return err
	}
	return a.press(ctx, at)
}

// press sends a click at a point: the pointer moves there, goes down and up.
func (a *action) press(ctx context.Context, at sighting) error {
	a.doing = "waiting for the page to take the click on " + a.out.Selector
	e := a.session.tab.Endpoint()
	for _, event := range []input.DispatchMouseEventParams{
		{Type: input.DispatchMouseEventTypeMouseMoved},
		{Type: input.DispatchMouseEventTypeMousePressed, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
		{Type: input.DispatchMouseEventTypeMouseReleased, Button: input.MouseButtonLeft, ClickCount: 1},
	} {
		event.X, event.Y = at.X, at.Y
		if _, err := chromium.Call(ctx, e, input.DispatchMouseEvent, event); err != nil && !errors.Is(stale(err), errStale) {
			return err
		}
	}
	return nil
}

// change gives the element a value. The value may be a secret: it goes into the page and nowhere else.
func (a *action) change(ctx context.Context) error {
	value, err := a.scope.Expand(*a.step.Value)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	l, err := newLookup(a.step.Selectors, a.scope)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	for {
		at, err := a.ready(ctx, l, options{})
		if err == nil {
			err = a.put(ctx, l, at.Kind, value)
		}
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return err
		}
		// The document was replaced before anything was put into it: the element is looked for again.
	}
}

// put gives the element that ready found the value, as its kind asks for.
func (a *action) put(ctx context.Context, l *lookup, kind, value string) error {
	switch kind {
	case "select":
		return a.choose(ctx, l, value)
	case "toggle":
		return a.toggle(ctx, l, value)
	case "text":
		return a.typeText(ctx, value)
	case "value":
		got, err := a.edit(ctx, "set", value)
		if err == nil && got.State != "done" {
			err = failf(scriptFault, "change %s: the field refused the value", a.out.Selector)
		}
		return err
	}
	return failf(scriptFault, "change %s: the element is not a form field", a.out.Selector)
}

// edit calls a function of change.js on the element that ready found. The error is errStale when its document has gone.
func (a *action) edit(ctx context.Context, function, value string) (edited, error) {
	got, err := evaluate[edited](ctx, a.session,
		`([f, value]) => lastmile.current ? lastmile.change[f](value) : { state: "gone" }`, []any{function, value})
	if err == nil && got.State == "gone" {
		err = errStale
	}
	return got, err
}

type edited struct {
	State string `json:"state"`
	Got   int    `json:"got"`
}

// choose selects an option, which may come late.
func (a *action) choose(ctx context.Context, l *lookup, value string) error {
	return a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.edit(ctx, "select", value)
		if err == nil && got.State == "done" {
			return true, nil
		}
		if err != nil && !errors.Is(err, errStale) {
			return false, err
		}
		_, err = a.ready(ctx, l, options{}) // the select may have been replaced with its options
		a.doing = "waiting for the option in " + a.out.Selector
		return false, err
	})
}

func (a *action) toggle(ctx context.Context, l *lookup, value string) error {
	got, err := a.edit(ctx, "toggle", value)
	switch {
	case err != nil || got.State == "done":
		return err
	case got.State == "refused":
		return failf(scriptFault, "change %s: the value is not one that the control can have", a.out.Selector)
	}
	at, err := a.ready(ctx, l, options{Press: true})
	if err != nil {
		return err
	}
	if err := a.press(ctx, at); err != nil {
		return err
	}
	got, err = a.edit(ctx, "toggle", value)
	if errors.Is(err, errStale) {
		return nil // the page took the press and moved on
	}
	if err == nil && got.State != "done" {
		err = failf(scriptFault, "change %s: the control did not change when it was pressed", a.out.Selector)
	}
	return err
}

// keepLimit is how long a page may take to show what was typed (frameworks write it back).
const keepLimit = time.Second

// typeText replaces the text of a field as if typed, and checks that the field kept it.
func (a *action) typeText(ctx context.Context, value string) error {
	got, err := a.edit(ctx, "begin", value)
	if err != nil || got.State == "done" {
		return err
	}
	a.doing = "waiting for the page to take the text for " + a.out.Selector
	if _, err := chromium.Call(ctx, a.session.tab.Endpoint(), input.InsertText, input.InsertTextParams{Text: value}); err != nil {
		return err
	}
	limit := time.Now().Add(keepLimit)
	return a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.edit(ctx, "holds", value)
		if errors.Is(err, errStale) {
			return true, nil // the page took the text and moved on
		}
		if err == nil && got.State != "done" && time.Now().After(limit) {
			err = failf(scriptFault, "change %s: the field did not keep the text: got %d characters that differ, want %d",
				a.out.Selector, got.Got, len([]rune(value)))
		}
		return got.State == "done", err
	})
}

// waitForElement polls until the number of elements is as wanted. visible: true counts visible ones only; visible: false wants the
// comparison with the visible ones not to hold, which by default means that there is none.
func (a *action) waitForElement(ctx context.Context) error {
	l, err := newLookup(a.step.Selectors, a.scope)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	want, operator := 1, a.step.Operator
	if a.step.Count != nil {
		want = *a.step.Count
	}
	if operator == "" {
		operator = ">="
	}
	return a.poll(ctx, pollElements, func() (bool, error) {
		got, err := a.look(ctx, "count", options{}, l)
		if err != nil {
			return false, err
		}
		n, kind, inverted := got.Total, "", ""
		if a.step.Visible != nil {
			n, kind = got.Visible, "visible "
		}
		holds := compare(n, operator, want)
		if a.step.Visible != nil && !*a.step.Visible {
			holds, inverted = !holds, "not "
		}
		a.doing = fmt.Sprintf("waiting for %s: got %d %selements, want %s%s %d", l, n, kind, inverted, operator, want)
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

// assertedEvents waits for the navigations that the step must cause. A navigate step's own navigation is the first.
func (a *action) assertedEvents(ctx context.Context) error {
	for _, event := range a.step.AssertedEvents {
		if err := a.navigated(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// navigated waits until the main frame has moved since the step began, to a complete document with the wanted URL. Moves within a
// document (history.pushState) count.
func (a *action) navigated(ctx context.Context, event scenario.AssertedEvent) error {
	pattern, err := a.scope.Expand(event.URL)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	moved := func(d tab.Document) bool {
		return d.Moves > a.before.Moves && (pattern == "" || d.Failed || scenario.Glob(pattern, d.URL))
	}
	err = a.loaded(ctx, moved)
	if err != nil && ctx.Err() != nil {
		d, _ := a.session.tab.Document()
		switch {
		case d.Moves == a.before.Moves:
			a.doing = "waiting for a navigation: there was none"
		case pattern != "" && !scenario.Glob(pattern, d.URL):
			return failf(runs.ClassAssertion, "navigation: got %s, want %s", traffic.PlainURL(d.URL), pattern)
		}
	}
	return err
}
