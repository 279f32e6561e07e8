package tab

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"golang.org/x/sys/unix"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/scenario"
)

// opened is a tab in a browser of its own.
type opened struct {
	*Tab
	t       testing.TB
	browser *chromium.Browser
}

// open starts a browser for the scenario, on the network of this machine.
func open(t testing.TB, sc *scenario.Scenario) *opened {
	t.Helper()
	in, err := chromium.New(slog.New(slog.DiscardHandler), chromium.Options{NoSandbox: os.Getuid() == 0})
	if errors.Is(err, chromium.ErrNotFound) {
		t.Fatalf("these tests need Chromium: %s", chromium.InstallCommand)
	}
	if err != nil {
		t.Fatal(err)
	}
	user, err := UserOf(sc)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		t.Fatal(err)
	}
	account := traffic.New(sc, time.Now, traffic.Clock{Now: now, Monotonic: time.Duration(clock.Nano())}, nil)
	o := &opened{Tab: New(user, account, traceOf(sc)), t: t}
	o.browser, err = in.Start(chromium.Spec{
		Engine: sc.Engine, Width: user.Width, Height: user.Height, Locale: user.Locale, Languages: user.Languages(), UserAgent: user.UserAgent, Network: chromium.Network{Start: (*exec.Cmd).Start},
	}, o.Event)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.browser.Close)
	ctx, cancel := contextOf(t)
	defer cancel()
	if err := o.Open(ctx, o.browser); err != nil {
		t.Fatal(err)
	}
	return o
}

// traceOf is the trace of tests whose scenario says who takes part.
func traceOf(sc *scenario.Scenario) Trace {
	if len(sc.AllowHosts) == 0 {
		return Trace{}
	}
	return Trace{ID: testTrace, Allows: sc.AllowsHost}
}

const testTrace = "0123456789abcdef0123456789abcdef"

// navigate opens a URL and waits for its load event.
func (o *opened) navigate(url string) {
	o.t.Helper()
	ctx, cancel := contextOf(o.t)
	defer cancel()
	before, _ := o.Document()
	if _, err := chromium.Call(ctx, o.Endpoint(), page.Navigate, page.NavigateParams{URL: url}); err != nil {
		o.t.Fatal(err)
	}
	if err := o.Wait(ctx, func(d Document) bool { return d.Complete() && d.Commits > before.Commits }); err != nil {
		o.t.Fatalf("load %s: %v: %v", url, err, o.browser.Fault(err))
	}
}

// eval returns the value of an expression in the page, awaited, as text.
func (o *opened) eval(expression string) string {
	o.t.Helper()
	ctx, cancel := contextOf(o.t)
	defer cancel()
	got, err := chromium.Call(ctx, o.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{
		Expression: "(async () => String(await (" + expression + ")))()", AwaitPromise: new(true), ReturnByValue: new(true), UserGesture: new(true),
	})
	if err != nil || got.ExceptionDetails != nil {
		o.t.Fatalf("evaluate %s: %v %+v", expression, err, got.ExceptionDetails)
	}
	return strings.Trim(string(got.Result.Value), `"`)
}

// titled waits until the page has the title.
func (o *opened) titled(title string) {
	o.t.Helper()
	o.eval(`new Promise((done) => { const look = () => document.title === "` + title + `" ? done() : setTimeout(look, 20); look(); })`)
}

// contextOf bounds what a test waits for.
func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 30*time.Second)
}

// json returns the value of an expression in the page as JSON.
func (o *opened) json(expression string) string {
	o.t.Helper()
	ctx, cancel := contextOf(o.t)
	defer cancel()
	got, err := chromium.Call(ctx, o.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{Expression: expression, ReturnByValue: new(true)})
	if err != nil || got.ExceptionDetails != nil {
		o.t.Fatalf("evaluate %s: %v %+v", expression, err, got.ExceptionDetails)
	}
	return string(got.Result.Value)
}
