package steps

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/cdp"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/hand"
	"lastmile/internal/browser/tab"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Player plays the steps of one run. It is not safe for concurrent use.
type Player struct {
	browser  *chromium.Browser
	tab      *tab.Tab
	elements *elements.Engine
	opts     Options
	hand     hand.Hand
	failed   cdp.LoaderID // the last navigation that failed: its error page may come late, in the next step
	shut     string       // the step that closed the run's page
}

// Options are what the pages of a run are given.
type Options struct {
	Scale float64       // device pixels per CSS pixel, where a step names none
	Quiet time.Duration // how long without a request makes a page quiet

	Settle *scenario.Duration // what a page gets to become quiet after a navigation; nil = 2 s
}

// SettleTime is what a page gets to become quiet after a navigation.
func (o Options) SettleTime() time.Duration {
	if o.Settle != nil {
		return o.Settle.D()
	}
	return settleCap
}

// New returns a player on the pages of a tab. The engine must find them there: see Places.
func New(b *chromium.Browser, t *tab.Tab, engine *elements.Engine, opts Options) *Player {
	return &Player{browser: b, tab: t, elements: engine, opts: opts}
}

// Places tells an element engine where the frames of a tab are.
func Places(t *tab.Tab) elements.Pages {
	return func(id cdp.FrameID) (elements.Place, error) {
		f, ok := t.Frame(id)
		if !ok {
			return elements.Place{}, tab.ErrGone
		}
		return elements.Place{Endpoint: f.Endpoint, Frame: f.ID, Parent: f.Parent, Loader: f.Document.Loader}, nil
	}
}

// Fault makes a fault of an error: what broke the browser if something did, else a fault of the probe's.
func (p *Player) Fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		p.browser.Ping()
	}
	if fault := p.browser.Fault(err); fault != nil {
		return fault
	}
	return &runs.Fault{Class: runs.ClassProbe, Err: err}
}
