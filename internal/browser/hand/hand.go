// Package hand is a person's hand at a page: it moves the mouse or a pen, presses, touches and types, by real input events. Events are
// sent one after another without waiting for the page in between; who calls waits until the page has taken the last.
package hand

import (
	"context"
	"time"

	"github.com/chromedp/cdproto/input"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/keyboard"
)

// Hand is one person's. It remembers which keys are held down. The zero value holds none; it is not safe for concurrent use.
type Hand struct{ keys keyboard.Keyboard }

// Press is one or more presses of a point.
type Press struct {
	X, Y   float64 // CSS pixels from the corner of the page's viewport
	Device string  // mouse (or ""), pen, touch
	Button string  // primary (or ""), secondary, auxiliary, back, forward
	Times  int64
	Hold   time.Duration // how long the last one lasts
}

// buttonOf is a button of the mouse, and its bit in those held down.
func buttonOf(name string) (input.MouseButton, int64) {
	switch name {
	case "secondary":
		return input.MouseButtonRight, 2
	case "auxiliary":
		return input.MouseButtonMiddle, 4
	case "back":
		return input.MouseButtonBack, 8
	case "forward":
		return input.MouseButtonForward, 16
	}
	return input.MouseButtonLeft, 1
}

func (h *Hand) event(p Press, kind input.DispatchMouseEventType) input.DispatchMouseEventParams {
	event := input.DispatchMouseEventParams{Type: kind, X: p.X, Y: p.Y, Modifiers: h.keys.Modifiers()}
	if p.Device == "pen" {
		event.PointerType = input.DispatchMouseEventPointerTypePen
	}
	return event
}

// Move moves the mouse to a point.
func (h *Hand) Move(ctx context.Context, e chromium.Endpoint, to Press) error {
	return send(ctx, e, h.event(to, input.DispatchMouseEventTypeMouseMoved))
}

// Press presses a point: the pointer moves there, goes down and up, so many times.
func (h *Hand) Press(ctx context.Context, e chromium.Endpoint, p Press) error {
	if p.Device == "touch" {
		return h.tap(ctx, e, p)
	}
	button, bit := buttonOf(p.Button)
	events := []input.DispatchMouseEventParams{h.event(p, input.DispatchMouseEventTypeMouseMoved)}
	for n := int64(1); n <= p.Times; n++ {
		down, up := h.event(p, input.DispatchMouseEventTypeMousePressed), h.event(p, input.DispatchMouseEventTypeMouseReleased)
		down.Button, down.Buttons, down.ClickCount = button, bit, n
		up.Button, up.ClickCount = button, n
		events = append(events, down, up)
	}
	if p.Hold > 0 {
		last := len(events) - 1
		if err := send(ctx, e, events[:last]...); err != nil {
			return err
		}
		if err := pass(ctx, p.Hold); err != nil {
			return err
		}
		events = events[last:]
	}
	return send(ctx, e, events...)
}

func send(ctx context.Context, e chromium.Endpoint, events ...input.DispatchMouseEventParams) error {
	last := len(events) - 1
	for _, event := range events[:last] {
		chromium.Post(e, input.DispatchMouseEvent, event)
	}
	_, err := chromium.Call(ctx, e, input.DispatchMouseEvent, events[last])
	return err
}

func (h *Hand) tap(ctx context.Context, e chromium.Endpoint, p Press) error {
	for n := int64(1); n <= p.Times; n++ {
		_, err := chromium.Call(ctx, e, input.DispatchTouchEvent, input.DispatchTouchEventParams{
			Type: input.DispatchTouchEventTypeTouchStart, TouchPoints: []*input.TouchPoint{{X: p.X, Y: p.Y}}, Modifiers: h.keys.Modifiers(),
		})
		if err == nil && n == p.Times && p.Hold > 0 {
			err = pass(ctx, p.Hold)
		}
		if err == nil {
			_, err = chromium.Call(ctx, e, input.DispatchTouchEvent, input.DispatchTouchEventParams{
				Type: input.DispatchTouchEventTypeTouchEnd, TouchPoints: []*input.TouchPoint{}, Modifiers: h.keys.Modifiers(),
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Down returns the press of a key, for Send; an error where a keyboard has no such key.
func (h *Hand) Down(key string) (input.DispatchKeyEventParams, error) { return h.keys.Down(key) }

// Up returns the release of a key, as Down does its press.
func (h *Hand) Up(key string) (input.DispatchKeyEventParams, error) { return h.keys.Up(key) }

// Send sends what happens to a key to where the page has its focus.
func (h *Hand) Send(ctx context.Context, e chromium.Endpoint, event input.DispatchKeyEventParams) error {
	_, err := chromium.Call(ctx, e, input.DispatchKeyEvent, event)
	return err
}

// Type types a text key by key.
func (h *Hand) Type(ctx context.Context, e chromium.Endpoint, text string) error {
	strokes := h.keys.Type(text)
	for i, s := range strokes {
		last := i == len(strokes)-1
		switch {
		case s.Text != "" && last:
			return h.Paste(ctx, e, s.Text)
		case s.Text != "":
			chromium.Post(e, input.InsertText, input.InsertTextParams{Text: s.Text})
			continue
		}
		chromium.Post(e, input.DispatchKeyEvent, s.Down)
		if last {
			return h.Send(ctx, e, s.Up)
		}
		chromium.Post(e, input.DispatchKeyEvent, s.Up)
	}
	return nil
}

// Paste puts a text in at once.
func (h *Hand) Paste(ctx context.Context, e chromium.Endpoint, text string) error {
	_, err := chromium.Call(ctx, e, input.InsertText, input.InsertTextParams{Text: text})
	return err
}
