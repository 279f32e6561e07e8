package elements

import (
	"context"
	"strings"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"

	"lastmile/internal/browser/chromium"
)

// Operation is what a look does with what it finds.
type Operation string

// The operations. Locate makes the element ready for input and says where it is; Count counts matches; Read takes a text.
const (
	Locate Operation = "locate"
	Count  Operation = "count"
	Read   Operation = "read"
)

// The states of a sighting. Of Locate there are others, which say in words what stands in the way.
const (
	Ready   = "ready"   // Locate
	Covered = "covered" // Locate: by what By says
	Found   = "found"   // Count, Read
	Bare    = "bare"    // Read: the element has no such attribute
	Missing = "missing" // nothing matches
)

// Options tune an operation. The zero value wants nothing of an element but that it is visible and stands still.
type Options struct {
	Press   bool   `json:"press"`   // Locate: nothing may cover it
	Enabled bool   `json:"enabled"` // Locate: it may not be disabled
	Offset  Offset `json:"offset"`  // Locate

	Shown      bool              `json:"shown"`      // Count: visible ones
	Attributes map[string]string `json:"attributes"` // Count: that all of them must have
	Properties map[string]any    `json:"properties"` // Count: that all of them must have, as the page's own scripts see them

	Attribute string `json:"attribute"` // Read: this instead of the text
}

// Offset is a point from the corner of an element, CSS pixels; nil = the middle.
type Offset struct {
	X *float64 `json:"x"`
	Y *float64 `json:"y"`
}

// Sighting is what one look saw.
type Sighting struct {
	State   string        `json:"state"`
	Index   int           `json:"index"` // of the alternative that matched
	By      string        `json:"by"`    // what covers the element
	Kind    string        `json:"kind"`  // Locate: how the element is changed: select, text, toggle, value, none
	X       float64       `json:"x"`     // Locate: from the corner of the page's viewport
	Y       float64       `json:"y"`
	Total   int           `json:"total"` // Count
	Visible int           `json:"visible"`
	Every   bool          `json:"every"` // Count: all have the attributes and properties
	Text    string        `json:"text"`  // Read
	Cost    float64       `json:"cost"`  // ms of the page's time that we took
	Ours    time.Duration `json:"-"`     // all that a person would not have waited for
}

// The accessibility tree is asked where cheap alternatives match something that is not ready, too, but not at every look.
const (
	patience = 5 // looks
	again    = 10
)

// Look runs one operation over the selectors in a frame: the cheap alternatives first, the accessibility tree when they match
// nothing. A document that goes away meanwhile is ErrStale, what a selector throws a *PageError.
func (e *Engine) Look(ctx context.Context, frame cdp.FrameID, operation Operation, opts Options, l *Lookup) (Sighting, error) {
	seen := Sighting{State: Missing, Every: true}
	if len(l.cheap) > 0 {
		got, err := e.search(ctx, frame, operation, opts, l.cheap)
		if err != nil {
			return seen, err
		}
		seen = got
	}
	unready := seen.State != Missing && seen.State != Ready && operation == Locate
	if unready {
		l.tries++
	}
	if seen.State == Missing || unready && l.tries%again == patience {
		for _, alt := range l.aria {
			got, err := e.lookAria(ctx, frame, operation, opts, alt)
			if err != nil {
				return seen, err
			}
			got.Ours += seen.Ours
			if got.State == Ready || seen.State == Missing {
				seen = got
			}
			if seen.State != Missing && !unready || seen.State == Ready {
				break
			}
		}
	}
	if seen.State == Ready {
		return seen, e.climb(ctx, frame, opts.Press, &seen)
	}
	return seen, nil
}

// search runs an operation in the page. Where properties of elements count, it is done among the page's own scripts, whose properties
// they are; ours leave nothing behind there.
func (e *Engine) search(ctx context.Context, frame cdp.FrameID, operation Operation, opts Options, cheap []alternative) (Sighting, error) {
	if len(opts.Properties) == 0 {
		return timed(evaluate[Sighting](ctx, e, frame, `(values) => lastmile.act.search(...values)`, []any{operation, opts, cheap}))
	}
	return timed(e.amongPage(ctx, frame, `lastmile.act.search(...values)`, []any{operation, opts, cheap}))
}

// amongPage evaluates an expression over our scripts and the values and things among the page's own scripts.
func (e *Engine) amongPage(ctx context.Context, frame cdp.FrameID, expression string, values []any, things ...*object) (Sighting, error) {
	document, at, err := e.document(ctx, frame)
	if err != nil {
		return Sighting{}, err
	}
	result, err := e.invoke(ctx, at, call{
		on: document, function: "function (values, ...things) { const lastmile = {};" + findScript + actScript + "return " + expression + "}",
		values: values, objects: things, byValue: true,
	})
	if err != nil {
		return Sighting{}, err
	}
	return decode[Sighting](result)
}

func timed(s Sighting, err error) (Sighting, error) {
	s.Ours += milliseconds(s.Cost)
	return s, err
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// climb turns a point of a frame into one of its page, and looks whether it shows there.
func (e *Engine) climb(ctx context.Context, frame cdp.FrameID, press bool, s *Sighting) error {
	for {
		at, err := e.pages(frame)
		if err != nil || at.Parent == "" {
			return err
		}
		owner, err := e.owner(ctx, frame, at.Parent)
		if err != nil {
			return err
		}
		got, err := timed(evaluate[Sighting](ctx, e, at.Parent, `([x, y, press], owner) => lastmile.act.through(owner, x, y, press)`,
			[]any{s.X, s.Y, press}, owner))
		if err != nil {
			return err
		}
		s.X, s.Y, s.Ours = got.X, got.Y, s.Ours+got.Ours
		if got.State != Ready {
			s.State, s.By = got.State, got.By
			return nil
		}
		frame = at.Parent
	}
}

// lookAria runs an operation over a chain with aria parts: these are looked up in the whole document, and of what is found that counts
// which is below the matches of the part before.
func (e *Engine) lookAria(ctx context.Context, frame cdp.FrameID, operation Operation, opts Options, alt alternative) (Sighting, error) {
	missing := Sighting{State: Missing, Every: true}
	w, at, err := e.enter(ctx, frame)
	if err != nil {
		return missing, err
	}
	defer chromium.Post(at.Endpoint, runtime.ReleaseObjectGroup, runtime.ReleaseObjectGroupParams{ObjectGroup: e.name})
	// Also waits until the page has time, which is the page's own time.
	document, err := e.invoke(ctx, at, call{context: w.context, function: `() => document`})
	if err != nil {
		return missing, err
	}
	began := time.Now()
	roots, rest := []*object{{id: document.ObjectID}}, []part{}
	for i, p := range alt.Chain {
		if p.Kind != "aria" {
			rest = append(rest, p)
			continue
		}
		found, err := e.ariaQuery(ctx, at, w, document.ObjectID, p)
		if err == nil && i > 0 {
			found, err = e.below(ctx, frame, roots, rest, p.Via, found)
		}
		if err != nil || len(found) == 0 {
			return Sighting{State: Missing, Every: true, Ours: time.Since(began)}, err
		}
		roots, rest = found, nil
	}
	ours := time.Since(began)
	got, err := e.given(ctx, frame, at, []any{operation, opts, alt.Index, append([]part{}, rest...)}, roots, len(opts.Properties) > 0)
	got.Ours += ours
	return got, err
}

func (e *Engine) given(ctx context.Context, frame cdp.FrameID, at Place, values []any, roots []*object, properties bool) (Sighting, error) {
	if !properties {
		return timed(evaluate[Sighting](ctx, e, frame, `(values, ...roots) => lastmile.act.given(...values, ...roots)`, values, roots...))
	}
	theirs := make([]*object, len(roots))
	for i, root := range roots {
		var err error
		if theirs[i], err = e.across(ctx, at, root, e.name); err != nil {
			return Sighting{}, err
		}
	}
	return timed(e.amongPage(ctx, frame, `lastmile.act.given(...values, ...things)`, values, theirs...))
}

// below keeps the elements that are below the matches of the parts, shadow trees included, or, viaSame, are those. The accessibility
// tree cannot be asked for them: it leaves out elements that mean nothing to it, such as the host of a shadow root.
func (e *Engine) below(ctx context.Context, frame cdp.FrameID, roots []*object, parts []part, via via, elements []*object) ([]*object, error) {
	if len(elements) == 0 {
		return nil, nil
	}
	kept, err := evaluate[[]int](ctx, e, frame, `([parts, count, self], ...things) => {
		const roots = lastmile.find.chain(parts ?? [], things.slice(0, count));
		const below = (el) => roots.some((root) => (self || el !== root) && lastmile.find.within(el, root));
		return things.slice(count).flatMap((el, i) => (below(el) ? [i] : []));
	}`, []any{parts, len(roots), via == viaSame}, append(append([]*object{}, roots...), elements...)...)
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

func (e *Engine) ariaQuery(ctx context.Context, at Place, w *world, document runtime.RemoteObjectID, p part) ([]*object, error) {
	result, err := chromium.Call(ctx, at.Endpoint, accessibility.QueryAXTree,
		accessibility.QueryAXTreeParams{ObjectID: document, AccessibleName: p.Text, Role: p.role})
	if err != nil {
		return nil, Stale(err)
	}
	var found []*object
	for _, node := range result.Nodes {
		if node.Ignored || node.BackendDOMNodeID == 0 || len(found) == maxAria || isTextRole(node) {
			continue
		}
		o, err := e.resolve(ctx, at, node.BackendDOMNodeID, w.context, e.name)
		if err != nil {
			return nil, err
		}
		found = append(found, o)
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
