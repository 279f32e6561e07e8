package chromium

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Limits bound what the pages of one run may do to the machine. A page that goes beyond is the target's doing: its browser is ended,
// and the run is failed with class script (see Browser.Condemn), where a browser that dies for reasons of its own makes it invalid.
type Limits struct {
	Memory   scenario.Bytes // in use by all processes of the browser; zero = 1.5 GB
	Bytes    scenario.Bytes // of responses, decoded; zero = 200 MB
	Requests int            // zero = 10,000
	Windows  int            // open at once, the run's page included: more are closed; zero = 10
	Dialogs  int            // zero = 100
	Targets  int            // windows, frames and workers opened in the whole run; zero = 1000
}

// filled returns the limits with the defaults in place of zeros.
func (l Limits) filled() Limits {
	return Limits{
		Memory: cmp.Or(l.Memory, 1500*1000*1000), Bytes: cmp.Or(l.Bytes, 200*1000*1000), Requests: cmp.Or(l.Requests, 10_000),
		Windows: cmp.Or(l.Windows, 10), Dialogs: cmp.Or(l.Dialogs, 100), Targets: cmp.Or(l.Targets, 1000),
	}
}

// maxProcesses is more than any page needs: Chromium has one for each site on it, and a handful of its own.
const maxProcesses = 300

// Limits returns what the pages may do.
func (b *Browser) Limits() Limits { return b.opts.Limits }

// Condemn ends the browser for what its pages did. Every call under way and to come fails with ErrLost, and Condemned says why. A
// browser that has already failed by itself is not condemned.
func (b *Browser) Condemn(format string, args ...any) {
	b.end(nil, &runs.Cause{Class: runs.ClassScript, Detail: fmt.Sprintf(format, args...)})
}

// Condemned returns why the browser was ended for what its pages did; nil where it was not. Where a renderer has just crashed, it
// waits until it is known why.
func (b *Browser) Condemned() *runs.Cause {
	if b.crashed.Load() {
		select {
		case <-b.broken:
		case <-b.closing:
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.excess
}

// sampleEvery is how often the browser's processes are looked at: about 0.1 % of a processor.
const sampleEvery = 500 * time.Millisecond

// Check looks at the browser's processes: whether they are within the limits, and whether those that the run relies on are there and
// work. A network process that died is started again, and a stopped renderer looks like a page that is busy: nobody else would tell
// that it is not the target that does not answer.
func (b *Browser) Check() {
	now := b.meter.sample()
	limit := b.opts.Limits.Memory
	switch {
	case now.stopped != "":
		b.Fail(runs.ClassBrowserHang, fmt.Errorf("chromium's %s process was stopped", now.stopped))
		b.proc.kill() // who writes to its full pipe would wait for ever
	case now.severed:
		b.Fail(runs.ClassBrowserCrash, errors.New("chromium's network process ended"))
	case now.memory > int64(limit):
		b.Condemn("memory: the pages made the browser use %d MB, want at most %d", now.memory/1e6, limit/1e6)
	case now.processes > maxProcesses:
		b.Condemn("processes: the pages made the browser start %d, want at most %d", now.processes, maxProcesses)
	}
}

// Crashed records that a renderer has crashed. It is called from an event handler, and returns at once.
//
// A script that has used up the memory that V8 allows it is the target's fault. It is told from other crashes by what the renderer
// says on its way out, which may take a moment to arrive.
func (b *Browser) Crashed(what string) {
	b.crashed.Store(true)
	b.tasks.Go(func() {
		ticker := time.NewTicker(lastWordsLimit / 50)
		defer ticker.Stop()
		for deadline := time.Now().Add(lastWordsLimit / 5); time.Now().Before(deadline); {
			if strings.Contains(b.proc.stderr.String(), outOfHeap) {
				b.Condemn("memory: %s crashed: its scripts used more than V8 allows", what)
				return
			}
			select {
			case <-ticker.C:
			case <-b.closing:
				return
			}
		}
		b.Fail(runs.ClassBrowserCrash, fmt.Errorf("%s crashed", what))
	})
}

// outOfHeap is what a renderer says when V8 ends it.
const outOfHeap = "V8 javascript OOM"
