package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Session is one run's browser. Step must not be called concurrently; Close may be called at any time, also more than once.
type Session struct {
	log    *slog.Logger
	runner *Runner
	device device
	dir    string
	proc   *process
	wire   *wire
	tab    *tab
	world  world // where our scripts live in the current document

	tasks    sync.WaitGroup // read, watch, await
	closing  chan struct{}
	closed   sync.Once
	requests []runs.Request

	mu     sync.Mutex
	fault  *runs.Fault   // the first thing that broke the browser
	broken chan struct{} // closed when fault is set
}

// newSession takes over the process and starts to listen to it.
func newSession(r *Runner, sc *scenario.Scenario, dev device, proc *process, dir string) *Session {
	s := &Session{
		log: r.log, runner: r, device: dev, dir: dir, proc: proc,
		closing: make(chan struct{}), broken: make(chan struct{}),
	}
	s.tab = newTab(sc, s.fail)
	s.wire = newWire(proc.pipe, s.tab.handle)
	s.tab.wire = s.wire
	s.tasks.Go(s.wire.run)
	s.tasks.Go(s.await)
	s.tasks.Go(s.watch)
	return s
}

// Close kills the browser, waits until no process of it is left, removes its directory and returns the run's requests in order of
// start.
func (s *Session) Close() []runs.Request {
	s.closed.Do(func() {
		close(s.closing)
		if err := s.proc.stop(); err != nil {
			s.log.Error("browser did not stop", "err", err)
		}
		s.wire.lose()
		s.tasks.Wait()
		if err := os.RemoveAll(s.dir); err != nil {
			s.log.Error("run directory not removed", "err", err)
		}
		var dropped int
		s.requests, dropped = s.tab.requests()
		if dropped > 0 {
			s.log.Warn("requests over the limit were only counted", "kept", len(s.requests), "dropped", dropped)
		}
	})
	return s.requests
}

// fail records what broke the browser and ends every call under way. Only the first fault counts: the others follow from it.
func (s *Session) fail(class runs.Class, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return
	}
	select {
	case <-s.closing:
		return
	default:
	}
	s.fault = &runs.Fault{Class: class, Err: err}
	close(s.broken)
	s.wire.lose()
}

// await turns the end of the process into a fault.
func (s *Session) await() {
	select {
	case <-s.closing:
	case <-s.proc.exited:
		s.fail(runs.ClassBrowserCrash, fmt.Errorf("chromium ended: %w; it last said %q", orExit(s.proc.err), s.proc.stderr.lastLine()))
		s.proc.kill() // whatever of the group is left
	}
}

func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// watch pings the browser and kills it when it does not answer: a stopped or dead-locked process would otherwise hold the run until
// its deadline and be taken for a slow target.
func (s *Session) watch() {
	ticker := time.NewTicker(s.runner.pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-s.wire.lost:
			return
		case <-ticker.C:
			s.ping(context.Background())
		}
	}
}

// ping asks the browser for a sign of life. Where none comes in time, the browser is killed and ping returns the fault.
func (s *Session) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.runner.pingLimit)
	defer cancel()
	_, err := call(ctx, endpoint{wire: s.wire}, browser.GetVersion, cdp.Empty{})
	if errors.Is(err, context.DeadlineExceeded) {
		s.fail(runs.ClassBrowserHang, fmt.Errorf("chromium gave no answer for %s", s.runner.pingLimit))
		s.proc.kill()
	}
}

// faultOf makes a fault of an error: what broke the browser if something did, else a fault of the probe's.
func (s *Session) faultOf(ctx context.Context, err error) error {
	if errors.Is(err, errLost) {
		select { // the pipe may end a moment before the process does
		case <-s.broken:
		case <-time.After(time.Second):
			s.fail(runs.ClassBrowserCrash, err)
		}
	}
	if ctx.Err() != nil {
		s.ping(context.WithoutCancel(ctx))
	}
	if fault := s.broke(); fault != nil {
		return fault
	}
	return &runs.Fault{Class: runs.ClassProbe, Err: err}
}

// broke returns what broke the browser, nil while nothing has.
func (s *Session) broke() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		return nil
	}
	return s.fault
}

// primer is loaded before the run, in a context of its own: the first page of a process is slow for reasons that are not the
// target's.
const primer = "data:text/html,<!doctype html><title>primer</title><style>p{font:16px sans-serif}</style><p>primer</p>" +
	"<script>document.title+=JSON.stringify([1,2,3].map(n=>n*n))</script>"

// prepare warms the process up and opens the run's page in a fresh browser context.
func (s *Session) prepare(ctx context.Context) error {
	root := endpoint{wire: s.wire}
	version, err := call(ctx, root, browser.GetVersion, cdp.Empty{})
	if err != nil {
		return fmt.Errorf("open browser: %w", err)
	}
	_, number, _ := strings.Cut(version.Product, "/")
	identity := s.device.userAgent(number)
	s.tab.mu.Lock()
	s.tab.identity, s.tab.slowdown = identity, s.device.slowdown
	s.tab.mu.Unlock()
	if _, err := call(ctx, root, target.SetAutoAttach, autoAttach(target.Filter{{Type: "page"}})); err != nil {
		return fmt.Errorf("open browser: %w", err)
	}
	if err := s.prime(ctx); err != nil {
		return fmt.Errorf("prime browser: %w", err)
	}
	if err := s.openPage(ctx); err != nil {
		return fmt.Errorf("open page: %w", err)
	}
	return nil
}

// autoAttach makes Chromium open a session for every target that appears, and hold the target until it is set up.
func autoAttach(filter target.Filter) target.SetAutoAttachParams {
	return target.SetAutoAttachParams{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true), Filter: filter}
}

func (s *Session) prime(ctx context.Context) error {
	var e endpoint
	err := s.tab.wait(ctx, func() bool { e = endpoint{s.wire, s.tab.anyPage()}; return e.id != "" })
	if err != nil {
		return fmt.Errorf("wait for the first window: %w", err)
	}
	if _, err := call(ctx, e, page.Navigate, page.NavigateParams{URL: primer}); err != nil {
		return err
	}
	_, err = call(ctx, e, runtime.Evaluate, runtime.EvaluateParams{
		Expression: `new Promise(done => document.readyState === "complete" ? done() : addEventListener("load", done))
			.then(() => Promise.race([new Promise(requestAnimationFrame), new Promise(done => setTimeout(done, 200))])).then(() => 1)`,
		AwaitPromise: new(true), ReturnByValue: new(true),
	})
	return err
}

// openPage creates the run's context and page and makes the page the device.
func (s *Session) openPage(ctx context.Context) error {
	root := endpoint{wire: s.wire}
	fresh, err := call(ctx, root, target.CreateBrowserContext, target.CreateBrowserContextParams{DisposeOnDetach: new(true)})
	if err != nil {
		return err
	}
	if _, err := call(ctx, root, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorDeny, BrowserContextID: fresh.BrowserContextID,
	}); err != nil {
		return err
	}
	made, err := call(ctx, root, target.CreateTarget, target.CreateTargetParams{
		URL: "about:blank", BrowserContextID: fresh.BrowserContextID, Width: s.device.width, Height: s.device.height,
	})
	if err != nil {
		return err
	}
	if err := s.tab.wait(ctx, func() bool { return s.tab.adopt(made.TargetID) }); err != nil {
		return err
	}
	return s.setUp(ctx, s.tab.endpoint())
}

// setUp makes the page the device and prepares what the steps rely on. Network, Page and auto-attach were enabled on attach.
func (s *Session) setUp(ctx context.Context, e endpoint) error {
	_, err := call(ctx, e, page.SetLifecycleEventsEnabled, page.SetLifecycleEventsEnabledParams{Enabled: true})
	if err == nil {
		_, err = call(ctx, e, inspector.Enable, cdp.Empty{})
	}
	if err == nil {
		_, err = call(ctx, e, emulation.SetDeviceMetricsOverride, s.device.metrics())
	}
	if err == nil {
		_, err = call(ctx, e, emulation.SetTouchEmulationEnabled, s.device.fingers())
	}
	if err == nil {
		_, err = call(ctx, e, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	}
	if err == nil { // a prerendered page would replace the page whose session we hold
		_, err = call(ctx, e, page.SetPrerenderingAllowed, page.SetPrerenderingAllowedParams{})
	}
	if err == nil {
		_, err = call(ctx, e, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: vitalsScript, WorldName: worldName,
		})
	}
	return err
}
