package browser

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/dom"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/tab"
)

// sighting is what one operation of act.js saw.
type sighting struct {
	State   string  `json:"state"` // locate: ready, or what stands in the way; count and read: found or missing
	Index   int     `json:"index"`
	Cost    float64 `json:"cost"` // ms of the page's time that we took
	By      string  `json:"by"`   // what covers the element
	Kind    string  `json:"kind"` // how the element is changed
	X       float64 `json:"x"`
	Y       float64 `json:"y"`
	Total   int     `json:"total"`
	Visible int     `json:"visible"`
	Text    string  `json:"text"`
}

// options tune the operation locate.
type options struct {
	Press  bool   `json:"press"` // the element is to be pressed, so nothing may cover it
	Offset offset `json:"offset"`
}

type offset struct {
	X *float64 `json:"x"`
	Y *float64 `json:"y"`
}

// look runs one operation over the selectors: the cheap alternatives first, the accessibility tree when they match nothing. A
// document that goes away meanwhile is one in which nothing was found. Our own time goes to a.ours.
func (a *action) look(ctx context.Context, operation string, opts options, l *lookup) (sighting, error) {
	seen := sighting{State: "missing"}
	if len(l.cheap) > 0 {
		got, err := evaluate[sighting](ctx, a.session, `(values) => lastmile.act.search(...values)`,
			[]any{operation, opts, l.cheap})
		if err != nil {
			return seen, err
		}
		a.ours += milliseconds(got.Cost)
		seen = got
	}
	for _, alt := range l.aria {
		if seen.State != "missing" {
			break
		}
		got, err := a.lookAria(ctx, operation, opts, alt)
		if err != nil {
			return seen, err
		}
		seen = got
	}
	if seen.State != "missing" {
		a.out.Selector = l.texts[seen.Index]
	}
	return seen, nil
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func (a *action) lookAria(ctx context.Context, operation string, opts options, alt alternative) (sighting, error) {
	elements, err := a.ariaChain(ctx, alt.Chain)
	if err != nil || len(elements) == 0 {
		return sighting{State: "missing"}, err
	}
	got, err := evaluate[sighting](ctx, a.session, `(values, ...elements) => lastmile.act.given(...values, ...elements)`,
		[]any{operation, opts, alt.Index}, elements...)
	a.ours += milliseconds(got.Cost)
	return got, err
}

// ariaChain finds the elements of a chain with aria parts: all matches of the last part below the first match of each before.
func (a *action) ariaChain(ctx context.Context, chain []part) ([]*object, error) {
	document, err := a.session.thing(ctx, `() => document`, nil) // also waits until the page has time, which is the page's own time
	if err != nil {
		return nil, err
	}
	root := document
	for i, p := range chain {
		var found []*object
		if p.Kind == "aria" {
			found, err = a.ariaQuery(ctx, document, p)
			if err == nil && i > 0 {
				found, err = a.inside(ctx, root, found)
			}
		} else {
			var one *object
			if one, err = a.session.thing(ctx, `([part], root) => lastmile.find.one(root, part)`, []any{p}, root); one != nil {
				found = []*object{one}
			}
		}
		if err != nil || len(found) == 0 || i == len(chain)-1 {
			return found, err
		}
		root = found[0]
	}
	return nil, nil
}

// inside keeps the elements below the root, shadow trees included. The accessibility tree cannot be asked for them: it leaves out
// elements that mean nothing to it, such as the host of a shadow root.
func (a *action) inside(ctx context.Context, root *object, elements []*object) ([]*object, error) {
	if len(elements) == 0 {
		return nil, nil
	}
	kept, err := evaluate[[]int](ctx, a.session, `(_, root, ...elements) =>
		elements.flatMap((el, i) => el !== root && lastmile.find.within(el, root) ? [i] : [])`, nil, append([]*object{root}, elements...)...)
	if err != nil {
		return nil, err
	}
	found := make([]*object, 0, len(kept))
	for _, i := range kept {
		found = append(found, elements[i])
	}
	return found, nil
}

// maxAria bounds the matches of one accessibility query that are looked at.
const maxAria = 50

func (a *action) ariaQuery(ctx context.Context, document *object, p part) ([]*object, error) {
	started := time.Now()
	defer func() { a.ours += time.Since(started) }()
	e := a.session.tab.Endpoint()
	result, err := chromium.Call(ctx, e, accessibility.QueryAXTree,
		accessibility.QueryAXTreeParams{ObjectID: document.id, AccessibleName: p.Text, Role: p.role})
	if err != nil {
		return nil, stale(err)
	}
	var found []*object
	for _, node := range result.Nodes {
		if node.Ignored || node.BackendDOMNodeID == 0 || len(found) == maxAria || isTextRole(node) {
			continue
		}
		id, err := a.session.enter(ctx)
		if err != nil {
			return nil, err
		}
		resolved, err := chromium.Call(ctx, e, dom.ResolveNode,
			dom.ResolveNodeParams{BackendNodeID: node.BackendDOMNodeID, ExecutionContextID: id, ObjectGroup: tab.WorldName})
		if err != nil {
			return nil, stale(err)
		}
		found = append(found, &object{id: resolved.Object.ObjectID})
	}
	return found, nil
}

// isTextRole tells the pieces of text below an element, which bear its name too.
func isTextRole(node *accessibility.Node) bool {
	if node.Role == nil {
		return false
	}
	role := strings.Trim(string(node.Role.Value), `"`)
	return role == "StaticText" || role == "InlineTextBox"
}

// The pauses between two looks.
const (
	pollEvery    = 50 * time.Millisecond
	pollElements = 100 * time.Millisecond // waitForElement, as in Recorder
)

// poll calls try until it is done or fails, with a pause in between. A document replaced in mid-try is no failure. What a try that was
// not done took of our own time is no longer ours: a person waited meanwhile.
func (a *action) poll(ctx context.Context, every time.Duration, try func() (bool, error)) error {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		a.out.Attempts++
		ours := a.ours
		done, err := try()
		if !done {
			a.ours = ours
		}
		if err != nil && !errors.Is(err, errStale) {
			return err
		}
		if err == nil && done {
			return nil
		}
		timer.Reset(every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.session.browser.Lost():
			return chromium.ErrLost
		}
	}
}

// ready waits until the element of the selectors can take input, and returns where it is and what it is.
func (a *action) ready(ctx context.Context, l *lookup, opts options) (sighting, error) {
	var seen sighting
	a.doing = "waiting for element " + l.String()
	err := a.poll(ctx, pollEvery, func() (bool, error) {
		got, err := a.look(ctx, "locate", opts, l)
		if err != nil {
			return false, err
		}
		seen = got
		switch got.State {
		case "missing":
			a.doing = "waiting for element " + l.String() + ": there is none"
		case "covered":
			a.doing = "waiting for element " + l.texts[got.Index] + ": it is covered by " + got.By
		default:
			a.doing = "waiting for element " + l.texts[got.Index] + ": it is " + got.State
		}
		return got.State == "ready", nil
	})
	return seen, err
}
