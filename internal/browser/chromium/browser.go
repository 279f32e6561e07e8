package chromium

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
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
	dir     string
	proc    *process
	wire    *wire
	tasks   sync.WaitGroup // read, await, watch
	closing chan struct{}
	closed  sync.Once

	mu     sync.Mutex
	fault  *runs.Fault   // the first thing that broke the browser
	broken chan struct{} // closed when fault is set
}

func newBrowser(in *Installation, proc *process, dir string, onEvent func(*cdproto.Message)) *Browser {
	b := &Browser{
		log: in.log, opts: in.opts, dir: dir, proc: proc, wire: newWire(proc.pipe, onEvent),
		closing: make(chan struct{}), broken: make(chan struct{}),
	}
	b.tasks.Go(b.wire.run)
	b.tasks.Go(b.await)
	b.tasks.Go(b.watch)
	return b
}

// Endpoint returns the protocol session with the id; "" is the browser's own.
func (b *Browser) Endpoint(id target.SessionID) Endpoint { return Endpoint{wire: b.wire, id: id} }

// Lost is closed when no reply and no event can be expected any more.
func (b *Browser) Lost() <-chan struct{} { return b.wire.lost }

// Close kills the browser, waits until no process of it is left, and removes its directory.
func (b *Browser) Close() {
	b.closed.Do(func() {
		close(b.closing)
		if err := b.proc.stop(b.dir); err != nil {
			b.log.Error("browser did not stop", "err", err)
		}
		b.wire.lose()
		b.tasks.Wait()
		if err := os.RemoveAll(b.dir); err != nil {
			b.log.Error("run directory not removed", "err", err)
		}
	})
}

// Fail records what broke the browser and ends every call under way. Only the first fault counts: the others follow from it.
func (b *Browser) Fail(class runs.Class, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		return
	}
	select {
	case <-b.closing:
		return
	default:
	}
	b.fault = &runs.Fault{Class: class, Err: err}
	close(b.broken)
	b.wire.lose()
}

// await turns the end of the process into a fault.
func (b *Browser) await() {
	select {
	case <-b.closing:
	case <-b.proc.exited:
		how := b.proc.err
		if how == nil {
			how = errors.New("exit status 0")
		}
		b.Fail(runs.ClassBrowserCrash, fmt.Errorf("chromium ended: %w; it last said %q", how, b.proc.stderr.lastWords()))
		b.proc.kill() // whatever of the group is left
	}
}

// watch pings the browser: a stopped or dead-locked process would otherwise hold the run until its deadline and be taken for a
// slow target.
func (b *Browser) watch() {
	ticker := time.NewTicker(b.opts.PingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.closing:
			return
		case <-b.wire.lost:
			return
		case <-ticker.C:
			b.Ping()
		}
	}
}

// Ping asks the browser for a sign of life and waits for it. Where none comes in time, the browser is killed: see Fault.
func (b *Browser) Ping() {
	ctx, cancel := context.WithTimeout(context.Background(), b.opts.PingLimit)
	defer cancel()
	_, err := Call(ctx, b.Endpoint(""), browser.GetVersion, cdp.Empty{})
	if errors.Is(err, context.DeadlineExceeded) {
		b.Fail(runs.ClassBrowserHang, fmt.Errorf("chromium gave no answer for %s", b.opts.PingLimit))
		b.proc.kill()
	}
}

// Fault returns what broke the browser, nil while nothing has. Where err says that the connection was lost, Fault waits for the
// reason, which may come a moment later.
func (b *Browser) Fault(err error) *runs.Fault {
	if errors.Is(err, ErrLost) {
		select {
		case <-b.broken:
		case <-time.After(time.Second):
			b.Fail(runs.ClassBrowserCrash, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}
