package steps

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"lastmile/internal/browser/elements"
	"lastmile/internal/browser/hand"
	"lastmile/internal/browser/picture"
)

// change gives the element a value. The value may be a secret: it goes into the page and nowhere else.
func (a *action) change(ctx context.Context) error {
	if a.step.Value == nil { // an assignment of another version's coordinator may lack what rules ask for
		return fmt.Errorf("change %v: got no value, want one", a.step.Selectors)
	}
	value, err := a.scope.Expand(*a.step.Value)
	if err != nil {
		return failf(scriptFault, "%v", err)
	}
	l, err := a.lookup()
	if err != nil {
		return err
	}
	for {
		at, err := a.ready(ctx, l, elements.Options{Enabled: true})
		if err == nil {
			err = a.hide(ctx)
		}
		if err == nil {
			err = a.put(ctx, l, at.Kind, value)
		}
		if !errors.Is(err, elements.ErrStale) || ctx.Err() != nil {
			return err
		}
		// The document was replaced before anything was put into it: the element is looked for again.
	}
}

// put gives the element that ready found the value, as its kind asks for.
func (a *action) put(ctx context.Context, l *elements.Lookup, kind, value string) error {
	switch kind {
	case "select":
		return a.choose(ctx, l, value)
	case "toggle":
		return a.toggle(ctx, l, value)
	case "text":
		return a.typeText(ctx, value)
	case "value":
		got, err := a.edit(ctx, "set", value)
		if err == nil && got.State != "done" {
			err = failf(scriptFault, "change %s: the field refused the value", a.out.Selector)
		}
		return err
	}
	return failf(scriptFault, "change %s: the element is not a form field", a.out.Selector)
}

// edited is what an edit of change.js came to.
type edited struct {
	State string `json:"state"`
	Got   int    `json:"got"`
	Rest  int    `json:"rest"`
}

// edit calls a function of change.js on the element that ready found. The error is elements.ErrStale when its document has gone.
func (a *action) edit(ctx context.Context, function string, values ...any) (edited, error) {
	got, err := elements.Evaluate[edited](ctx, a.player.elements, a.frame.ID,
		`(values) => lastmile.change(...values)`, append([]any{function}, values...)...)
	if err == nil && got.State == "gone" {
		err = elements.ErrStale
	}
	return got, err
}

// choose selects an option, which may come late.
func (a *action) choose(ctx context.Context, l *elements.Lookup, value string) error {
	return a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.edit(ctx, "select", value)
		if err == nil && got.State == "done" {
			return true, nil
		}
		if err != nil && !errors.Is(err, elements.ErrStale) {
			return false, err
		}
		_, err = a.ready(ctx, l, elements.Options{Enabled: true}) // the select may have been replaced with its options
		a.doing = "waiting for the option in " + a.out.Selector
		return false, err
	})
}

// toggle presses a checkbox, radio button or switch where it is not as wanted, and waits until it is.
func (a *action) toggle(ctx context.Context, l *elements.Lookup, value string) error {
	got, err := a.edit(ctx, "toggle", value)
	if err != nil || got.State == "done" {
		return err
	}
	at, err := a.ready(ctx, l, elements.Options{Press: true, Enabled: true})
	if err != nil {
		return err
	}
	if err := taken(a.player.hand.Press(ctx, a.frame.Input, hand.Press{X: at.X, Y: at.Y, Times: 1})); err != nil {
		return err
	}
	return a.kept(ctx, func() (bool, error) {
		got, err := a.edit(ctx, "toggle", value)
		return err == nil && got.State == "done", err
	}, func() error {
		return failf(scriptFault, "change %s: the control did not change when it was pressed", a.out.Selector)
	})
}

const (
	// keepLimit is how long a page may take to show what was typed or pressed (frameworks write it back).
	keepLimit = time.Second
	// typingLimit is from how many characters on a text is pasted.
	typingLimit = 100
)

// kept polls until the page shows what was put into it, and gives up with the failure after keepLimit. A page that goes away
// meanwhile took it and moved on.
func (a *action) kept(ctx context.Context, holds func() (bool, error), failure func() error) error {
	limit := time.Now().Add(keepLimit)
	return a.poll(ctx, pollEvery, func() (bool, error) {
		ok, err := holds()
		switch {
		case errors.Is(err, elements.ErrStale):
			return true, nil
		case err == nil && !ok && time.Now().After(limit):
			return true, failure()
		}
		return ok, err
	})
}

// typeText gives a field a text as if typed: what goes on from its present text is typed at its end, anything else replaces it. Then
// it looks whether the field kept it.
func (a *action) typeText(ctx context.Context, value string) error {
	got, err := a.edit(ctx, "begin", value)
	if err != nil || got.State == "done" {
		return err
	}
	a.doing = "waiting for the page to take the text for " + a.out.Selector
	runes := []rune(value)
	rest := string(runes[max(len(runes)-got.Rest, 0):])
	if len(utf16.Encode(runes)) < typingLimit {
		err = taken(a.player.hand.Type(ctx, a.frame.Input, rest))
	} else {
		err = a.paste(ctx, rest)
	}
	if err != nil {
		return err
	}
	var last edited
	return a.kept(ctx, func() (bool, error) {
		got, err := a.edit(ctx, "holds", value)
		last = got
		return err == nil && (got.State == "done" || got.State == "left"), err
	}, func() error {
		if last.State == "emptied" {
			a.out.Warnings = append(a.out.Warnings, fmt.Sprintf("change %s: the page emptied the field", a.out.Selector))
			return nil
		}
		return failf(scriptFault, "change %s: the field did not keep the text: got %d characters that differ, want %d",
			a.out.Selector, last.Got, len(runes))
	})
}

// paste puts a text in at once.
func (a *action) paste(ctx context.Context, text string) error {
	if err := a.player.hand.Paste(ctx, a.frame.Input, text); err != nil {
		return taken(err)
	}
	_, err := a.edit(ctx, "changed")
	if errors.Is(err, elements.ErrStale) {
		return nil
	}
	return err
}

// hide keeps the element that is about to be filled with a secret off every picture, whatever the page makes of its value.
func (a *action) hide(ctx context.Context) error {
	if !picture.Secretive(a.step) {
		return nil
	}
	began := time.Now()
	_, err := elements.Evaluate[bool](ctx, a.player.elements, a.frame.ID,
		`() => { (lastmile.secret ??= new WeakSet()).add(lastmile.act.current()); return true; }`)
	a.ours += time.Since(began)
	return err
}
