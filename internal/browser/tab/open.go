package tab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/vitals"
)

// WorldName names the isolated world in which our scripts run: they share the document with the page, but none of its variables.
const WorldName = "lastmile"

// primer is loaded before the run, in a context of its own: the first page of a process is slow for reasons that are not the
// target's.
const primer = "data:text/html,<!doctype html><title>primer</title><style>p{font:16px sans-serif}</style><p>primer</p>" +
	"<script>document.title+=JSON.stringify([1,2,3].map(n=>n*n))</script>"

// Open warms the process up and opens the run's page in a fresh browser context, as the device.
func (t *Tab) Open(ctx context.Context, b *chromium.Browser) error {
	t.browser = b
	root := t.browser.Endpoint("")
	version, err := chromium.Call(ctx, root, browser.GetVersion, cdp.Empty{})
	if err != nil {
		return fmt.Errorf("open browser: %w", err)
	}
	_, number, _ := strings.Cut(version.Product, "/")
	t.mu.Lock()
	t.identity = t.user.userAgent(number)
	t.mu.Unlock()
	if _, err := chromium.Call(ctx, root, target.SetAutoAttach, autoAttach(roots())); err != nil {
		return fmt.Errorf("open browser: %w", err)
	}
	var start target.SessionID
	if err := t.wait(ctx, func() bool { start = t.anyPage(); return start != "" }); err != nil {
		return fmt.Errorf("open browser: wait for the first window: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	primed := make(chan error, 1)
	go func() { primed <- t.prime(ctx, start) }()
	err = t.openPage(ctx)
	if err != nil {
		cancel()
		err = fmt.Errorf("open page: %w", err)
	}
	if failed := <-primed; failed != nil && err == nil {
		err = fmt.Errorf("prime browser: %w", failed)
	}
	return err
}

// roots are the targets that belong to no page, branches those that do. A service worker belongs to each page that it serves, which
// would all tell of it.
//
// While Chromium opens a window that is to be attached, its opener stands still for some milliseconds, and events that come to it then
// (messages of other windows, news of service workers) can be lost. Not to attach would be to miss the window's first requests.
func roots() target.Filter {
	return target.Filter{{Type: "page"}, {Type: "shared_worker"}, {Type: "service_worker"}}
}

func branches() target.Filter {
	return target.Filter{{Type: "browser", Exclude: true}, {Type: "tab", Exclude: true}, {Type: "service_worker", Exclude: true}, {}}
}

// autoAttach makes Chromium open a session for every target that appears, and hold the target until it is set up.
func autoAttach(filter target.Filter) target.SetAutoAttachParams {
	return target.SetAutoAttachParams{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true), Filter: filter}
}

// prime loads the primer in the window that the browser starts with.
func (t *Tab) prime(ctx context.Context, start target.SessionID) error {
	e := t.browser.Endpoint(start)
	if _, err := chromium.Call(ctx, e, page.Navigate, page.NavigateParams{URL: primer}); err != nil {
		return err
	}
	_, err := chromium.Call(ctx, e, runtime.Evaluate, runtime.EvaluateParams{
		Expression: `new Promise(done => document.readyState === "complete" ? done() : addEventListener("load", done))
			.then(() => Promise.race([new Promise(requestAnimationFrame), new Promise(done => setTimeout(done, 200))])).then(() => 1)`,
		AwaitPromise: new(true), ReturnByValue: new(true),
	})
	return err
}

// openPage creates the run's context and page and makes the page the device.
func (t *Tab) openPage(ctx context.Context) error {
	root := t.browser.Endpoint("")
	server, bypass := t.browser.Proxy()
	fresh, err := chromium.Call(ctx, root, target.CreateBrowserContext, target.CreateBrowserContextParams{
		DisposeOnDetach: new(true), ProxyServer: server, ProxyBypassList: bypass,
	})
	if err != nil {
		return err
	}
	t.context = fresh.BrowserContextID
	if _, err := chromium.Call(ctx, root, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorDeny, BrowserContextID: fresh.BrowserContextID, EventsEnabled: new(true),
	}); err != nil {
		return err
	}
	if t.user.Place != nil {
		if _, err := chromium.Call(ctx, root, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: "geolocation"}, Setting: browser.PermissionSettingGranted,
			BrowserContextID: fresh.BrowserContextID,
		}); err != nil {
			return err
		}
	}
	made, err := chromium.Call(ctx, root, target.CreateTarget, target.CreateTargetParams{
		URL: "about:blank", BrowserContextID: fresh.BrowserContextID, Width: int64(t.user.Width), Height: int64(t.user.Height),
	})
	if err != nil {
		return err
	}
	if err := t.wait(ctx, func() bool { return t.adopt(made.TargetID) }); err != nil {
		return err
	}
	return t.setUp(ctx, t.Endpoint())
}

// setUp makes the page the device and prepares what the steps rely on. Network, Page and auto-attach were enabled on attach.
func (t *Tab) setUp(ctx context.Context, e chromium.Endpoint) error {
	var failed error
	check := func(_ cdp.Empty, err error) {
		if failed == nil {
			failed = err
		}
	}
	check(chromium.Call(ctx, e, inspector.Enable, cdp.Empty{}))
	check(chromium.Call(ctx, e, emulation.SetDeviceMetricsOverride, t.user.metrics()))
	check(chromium.Call(ctx, e, emulation.SetTouchEmulationEnabled, TouchScreen(t.user.Touch)))
	check(chromium.Call(ctx, e, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	// A prerendered page would replace the page whose session we hold.
	check(chromium.Call(ctx, e, page.SetPrerenderingAllowed, page.SetPrerenderingAllowedParams{}))
	check(chromium.Call(ctx, e, runtime.AddBinding, runtime.AddBindingParams{Name: vitals.Binding, ExecutionContextName: WorldName}))
	_, err := chromium.Call(ctx, e, page.AddScriptToEvaluateOnNewDocument,
		page.AddScriptToEvaluateOnNewDocumentParams{Source: vitals.Script, WorldName: WorldName})
	return errors.Join(failed, err)
}
