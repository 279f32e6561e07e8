package chromium

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/runs"
)

// Browser is one running Chromium. It is safe for concurrent use.
type Browser struct {
	log     *slog.Logger
	opts    Options
	dir     *runDir
	meter   *meter
	proxy   string // host:port, "" = none
	proc    *process
	wire    *wire
	tasks   sync.WaitGroup // read, await, Check, Ping, Crashed
	closing chan struct{}
	closed  sync.Once
	crashed atomic.Bool // a renderer has; what broke the browser is known in a moment

	mu     sync.Mutex
	fault  *runs.Fault   // the first thing that broke the browser,
	excess *runs.Cause   // or why it was ended for what its pages did
	broken chan struct{} // closed when one of the two is set
}

func newBrowser(in *Installation, proc *process, dir *runDir, proxy string, onEvent func(*cdproto.Message)) *Browser {
	b := &Browser{
		log: in.log, opts: in.opts, dir: dir, proxy: proxy, proc: proc, wire: newWire(proc.pipe, onEvent),
		meter: &meter{group: proc.pid}, closing: make(chan struct{}), broken: make(chan struct{}),
	}
	b.tasks.Go(b.wire.run)
	b.tasks.Go(b.await)
	b.tasks.Go(func() { b.every(sampleEvery, b.Check) })
	return b
}

// Endpoint returns the protocol session with the id; "" is the browser's own.
func (b *Browser) Endpoint(id target.SessionID) Endpoint { return Endpoint{wire: b.wire, id: id} }

// Proxy returns the proxy server and the bypass list that the run's context must be created with. Other contexts reach nobody.
func (b *Browser) Proxy() (server, bypass string) {
	if b.proxy == "" {
		return "direct://", ""
	}
	return "socks5://" + b.proxy, "<-loopback>" // which goes through the proxy like all else
}

// Lost is closed when no reply and no event can be expected any more.
func (b *Browser) Lost() <-chan struct{} { return b.wire.lost }

// Close kills the browser, waits until no process of it is left, and removes its directory.
func (b *Browser) Close() {
	b.closed.Do(func() {
		b.mu.Lock()
		close(b.closing) // what breaks it from now on is this
		b.mu.Unlock()
		b.meter.sample()
		if err := b.proc.stop(b.dir.path); err != nil {
			b.log.Error("browser did not stop", "err", err)
		}
		b.wire.lose()
		b.tasks.Wait()
		if err := b.dir.remove(); err != nil {
			b.log.Error("run directory not removed", "err", err)
		}
	})
}

// Usage returns what the browser has taken of the machine: as of the last Check, or of the last time that it was sampled; after Close, in
// all.
func (b *Browser) Usage() Usage {
	used := b.meter.most()
	select {
	case <-b.proc.exited:
		// What was reaped counts to the microsecond, but a process that died together with its parent is in no such count: either is at
		// most the truth.
		used.CPU = max(used.CPU, b.proc.spent)
	default:
	}
	return used
}

// Fail records what broke the browser and ends every call under way. Only the first fault counts: the others follow from it.
func (b *Browser) Fail(class runs.Class, err error) { b.end(&runs.Fault{Class: class, Err: err}, nil) }

func (b *Browser) end(fault *runs.Fault, excess *runs.Cause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil || b.excess != nil {
		return
	}
	select {
	case <-b.closing:
		return
	default:
	}
	b.fault, b.excess = fault, excess
	close(b.broken)
	b.wire.lose()
	if excess != nil {
		b.proc.kill()
	}
}

// await turns the end of the process into a fault.
func (b *Browser) await() {
	select {
	case <-b.closing:
	case <-b.proc.exited:
		b.proc.kill() // whatever of the group is left
		select {
		case <-b.proc.drained: // its last words have come
		case <-time.After(lastWordsLimit):
		}
		b.Fail(b.proc.obituary())
	}
}

// lastWordsLimit bounds the wait for what a dead browser had to say.
const lastWordsLimit = 500 * time.Millisecond

// Started ends the start, for which whoever started the browser sets the limit: it may take ten times as long on a busy machine. From now
// on its processes are known, and it is asked for signs of life.
func (b *Browser) Started() {
	b.Check()
	b.tasks.Go(func() { b.every(b.opts.PingEvery, b.Ping) })
}

// every does something at intervals for as long as the browser lives.
func (b *Browser) every(interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-b.closing:
			return
		case <-b.wire.lost:
			return
		case <-ticker.C:
			do()
		}
	}
}

// Ping asks the browser for a sign of life and waits for it. Where none comes in time, the browser is killed: see Fault. The time is
// kept apart from the call, which cannot even be sent to a browser that no longer reads a full pipe: it ends with the browser.
func (b *Browser) Ping() {
	killed := make(chan struct{})
	timer := time.AfterFunc(b.opts.PingLimit, func() {
		defer close(killed)
		b.Fail(runs.ClassBrowserHang, fmt.Errorf("chromium gave no answer for %s", b.opts.PingLimit))
		b.proc.kill()
	})
	// Whatever the answer, it is a sign of life; a lost connection has its own reason.
	_, _ = Call(context.Background(), b.Endpoint(""), browser.GetVersion, cdp.Empty{})
	if !timer.Stop() {
		<-killed
	}
}

// Fault returns what broke the browser, nil while nothing has. Where the connection was lost, as err may be the first to say, Fault
// waits for the reason, which may come a moment later.
func (b *Browser) Fault(err error) *runs.Fault {
	lost := errors.Is(err, ErrLost)
	select {
	case <-b.Lost():
		lost = true
	default:
	}
	if lost {
		select {
		case <-b.broken:
		case <-b.closing:
		case <-time.After(2 * lastWordsLimit):
			b.Fail(runs.ClassBrowserCrash, errors.Join(err, ErrLost))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}
