package steps

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
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
	e := a.frame.Endpoint
	got, err := chromium.Call(ctx, e, page.Navigate, page.NavigateParams{URL: url, FrameID: a.frame.ID})
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
	return a.loaded(ctx, func(d tab.Document) bool { return d.Frame == a.frame.ID && d.Commits > a.frame.Document.Commits })
}

// loaded waits until the step's frame, or the main frame of its page, shows a complete document that is as wanted, then looks at how
// it was answered.
func (a *action) loaded(ctx context.Context, wanted func(tab.Document) bool) error {
	t := a.player.tab
	a.doing = "waiting for the page to load"
	doc, err := t.WaitAny(ctx, []cdp.FrameID{a.frame.ID, a.frame.Page}, func(d tab.Document) bool {
		return d.Complete() && d.Loader != a.player.failed && wanted(d)
	})
	if err != nil {
		if ctx.Err() != nil {
			chromium.Post(a.frame.Input, page.StopLoading, cdp.Empty{})
		}
		return err
	}
	return a.answered(doc)
}

// answered fails where a document is an error: Chromium's own page for a network error, or one of the server's.
func (a *action) answered(doc tab.Document) error {
	response, _ := a.player.tab.Response(doc.Loader)
	if doc.Failed && response.PageStatus < 400 {
		return a.notLoaded(doc.Loader, doc.URL, cmp.Or(response.Error, "Chromium shows an error page"))
	}
	return a.httpStatus(response.PageStatus)
}

// netFailure is the failure of a navigation that Chromium gave up. An error status without a body counts as the status.
func (a *action) netFailure(url, text string, loader cdp.LoaderID) error {
	a.player.failed = loader
	response, _ := a.player.tab.Response(loader)
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
	cause := a.player.tab.Explain(loader, url, text)
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

// assertedEvents waits for the navigations that the step must cause. A navigate step's own navigation is the first.
func (a *action) assertedEvents(ctx context.Context) error {
	for _, event := range a.step.AssertedEvents {
		if err := a.navigated(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

// navigated waits until the step's frame, or its page, has moved since the step began, to a complete document with the wanted URL and
// title. Moves within a document (history.pushState) count.
func (a *action) navigated(ctx context.Context, event scenario.AssertedEvent) error {
	pattern, err := a.scope.Expand(event.URL)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	last := tab.Document{}
	err = a.loaded(ctx, func(d tab.Document) bool {
		if !a.moved(d) {
			return false
		}
		last = d
		return pattern == "" || d.Failed || scenario.Glob(pattern, d.URL)
	})
	switch {
	case err == nil && event.Title != "":
		return a.titled(ctx, last.Frame, event.Title)
	case err == nil || ctx.Err() == nil:
		return err
	case last.Frame != "":
		return failf(runs.ClassAssertion, "navigation: got %s, want %s", traffic.PlainURL(last.URL), pattern)
	}
	if doc := a.document(); !a.moved(doc) {
		a.doing = "waiting for a navigation: there was none"
	}
	return err
}

// moved reports whether a document is the result of a move since the step began.
func (a *action) moved(d tab.Document) bool {
	if d.Frame == a.frame.ID {
		return d.Moves > a.frame.Document.Moves
	}
	return d.Moves > a.page.Moves
}

// titled waits until the document that was navigated to has the title.
func (a *action) titled(ctx context.Context, frame cdp.FrameID, template string) error {
	pattern, err := a.scope.Expand(template)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	var got string
	err = a.poll(ctx, pollEvery, func() (bool, error) {
		got, err = elements.Evaluate[string](ctx, a.player.elements, frame, `() => document.title`)
		return scenario.Glob(pattern, got), err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return failf(runs.ClassAssertion, "navigation: got title %s, want %s", strconv.Quote(got), strconv.Quote(pattern))
	}
	return err
}
