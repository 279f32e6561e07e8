package steps

import (
	"context"
	"errors"
	"time"

	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/hand"
)

// click presses the element so many times. It does not wait for what that causes: see assertedEvents.
func (a *action) click(ctx context.Context, times int64) error {
	l, err := a.lookup()
	if err != nil {
		return err
	}
	at, err := a.ready(ctx, l, elements.Options{Press: true, Enabled: true, Offset: elements.Offset{X: a.step.OffsetX, Y: a.step.OffsetY}})
	if err != nil {
		return err
	}
	a.doing = "waiting for the page to take the click on " + a.out.Selector
	press := hand.Press{X: at.X, Y: at.Y, Device: a.step.DeviceType, Button: a.step.Button, Times: times}
	if a.step.Duration != nil {
		press.Hold = time.Duration(*a.step.Duration * float64(time.Millisecond))
	}
	err = a.player.hand.Press(ctx, a.frame.Input, press)
	if err == nil {
		a.ours += max(press.Hold, 0) // nobody waits for the page meanwhile
	}
	return taken(err)
}

// hover moves the mouse onto the element.
func (a *action) hover(ctx context.Context) error {
	l, err := a.lookup()
	if err != nil {
		return err
	}
	at, err := a.ready(ctx, l, elements.Options{Press: true})
	if err != nil {
		return err
	}
	a.doing = "waiting for the page to take the mouse on " + a.out.Selector
	return taken(a.player.hand.Move(ctx, a.frame.Input, hand.Press{X: at.X, Y: at.Y}))
}

// taken forgives input its page's going away: that is what it may be for.
func taken(err error) error {
	if errors.Is(elements.Stale(err), elements.ErrStale) {
		return nil
	}
	return err
}
