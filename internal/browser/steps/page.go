package steps

import (
	"context"
	"errors"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/tab"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/scenario"
)

// locate waits for the frame in which the step takes place, and notes what it and its page show.
func (a *action) locate(ctx context.Context) error {
	name, err := a.scope.Expand(a.step.Target)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	frame, missing, err := a.player.tab.Find(ctx, name, a.step.Frame)
	if err != nil {
		a.doing = "waiting for the step's target: " + missing
		return err
	}
	a.frame, a.page = frame, frame.Document
	if frame.Page != frame.ID {
		if page, ok := a.player.tab.Frame(frame.Page); ok {
			a.page = page.Document
		}
	}
	return nil
}

// document is what the step's frame shows now.
func (a *action) document() tab.Document {
	f, _ := a.player.tab.Frame(a.frame.ID)
	return f.Document
}

// relocate finds the step's frame anew: the page may have replaced it by another in the same place, of which all is new.
func (a *action) relocate(ctx context.Context) error {
	frame, page, doing := a.frame, a.page, a.doing
	if err := a.locate(ctx); err != nil {
		return err
	}
	a.doing = doing
	if a.frame.ID != frame.ID {
		a.frame.Document.Moves, a.frame.Document.Commits = 0, 0
	}
	if a.page.Moves = 0; a.frame.Page == frame.Page {
		a.page = page
	}
	return nil
}

func (a *action) setViewport(ctx context.Context) error {
	a.doing = "setting the viewport"
	st, e := a.step, a.frame.Input
	scale := st.DeviceScaleFactor
	if scale == 0 {
		scale = a.player.opts.Scale
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

// networkConditions only says why they are as they are.
func (a *action) networkConditions() {
	a.out.Warnings = append(a.out.Warnings,
		"emulateNetworkConditions was not applied: the network is that of the run, the same from its first step to its last")
}

// key presses or releases a key, wherever the page has its focus.
func (a *action) key(ctx context.Context, press func(name string) (input.DispatchKeyEventParams, error)) error {
	name, err := a.scope.Expand(a.step.Key)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	event, err := press(name)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	a.doing = "waiting for the page to take the key " + name
	return taken(a.player.hand.Send(ctx, a.frame.Input, event))
}

// scroll moves the frame, or what is inside an element, to a place. The page is told when the next frame is drawn, which is waited for:
// the next step may move it on.
func (a *action) scroll(ctx context.Context) error {
	var x, y float64
	if a.step.X != nil {
		x = *a.step.X
	}
	if a.step.Y != nil {
		y = *a.step.Y
	}
	if len(a.step.Selectors) == 0 {
		a.doing = "waiting for the page to scroll"
		return a.poll(ctx, pollEvery, func() (bool, error) {
			return elements.Evaluate[bool](ctx, a.player.elements, a.frame.ID,
				`async ([left, top]) => { scrollTo({ left, top, behavior: "instant" }); await lastmile.act.frame(); return true; }`, x, y)
		})
	}
	l, err := a.lookup()
	if err != nil {
		return err
	}
	for {
		_, err := a.ready(ctx, l, elements.Options{})
		if err == nil {
			_, err = a.edit(ctx, "scroll", "", x, y)
		}
		if !errors.Is(err, elements.ErrStale) || ctx.Err() != nil {
			return err
		}
	}
}

// closePage closes the page of the step's target. A target that is a frame is left alone, as Recorder's own runner does.
func (a *action) closePage(ctx context.Context) error {
	if a.frame.Parent != "" && len(a.step.Frame) == 0 {
		return nil
	}
	a.doing = "waiting for the page to close"
	if err := a.player.tab.ClosePage(ctx, a.frame); err != nil {
		return err
	}
	if main, _ := a.player.tab.Document(); a.frame.Page == main.Frame {
		a.player.shut = a.step.ID
		return nil
	}
	// What is asserted from here on is about the run's page.
	frame, _, err := a.player.tab.Find(ctx, scenario.MainTarget, nil)
	if errors.Is(err, tab.ErrGone) {
		return nil
	}
	a.frame, a.page = frame, frame.Document
	a.step = withoutTarget(a.step)
	return err
}

// withoutTarget returns the step as one of the run's page.
func withoutTarget(step *scenario.Step) *scenario.Step {
	here := *step
	here.Target, here.Frame = "", nil
	return &here
}

// gone says why the run's page is not there.
func (a *action) gone() string {
	switch {
	case a.player.shut != "":
		return "the page was closed by step " + a.player.shut
	case a.frame.ID != "" && a.frame.Page != a.frame.ID:
		return "the frame " + traffic.PlainURL(a.frame.Document.URL) + " went away"
	}
	return "the page closed its own window"
}
