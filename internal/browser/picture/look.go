package picture

import (
	"context"
	_ "embed" // mask.js
	"errors"
	"fmt"
	"image"
	"math"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"lastmile/internal/browser/chromium"
)

//go:embed mask.js
var maskScript string

// ownerScript says where the content of a frame is in its parent, and whether it is drawn there at its own size: moved, but neither
// turned nor mirrored.
const ownerScript = `(el) => {
	const moved = (node) => {
		const { transform, rotate, scale, offsetPath } = getComputedStyle(node);
		if (rotate !== "none" || scale !== "none" || offsetPath !== "none") return false;
		if (transform === "none") return true;
		const m = new DOMMatrix(transform);
		return m.m11 === 1 && m.m22 === 1 && m.m44 === 1 && [m.m12, m.m13, m.m14, m.m21, m.m23, m.m24, m.m31, m.m32, m.m34].every((v) => v === 0);
	};
	const box = el.getBoundingClientRect(), style = getComputedStyle(el);
	const left = el.clientLeft + parseFloat(style.paddingLeft), top = el.clientTop + parseFloat(style.paddingTop);
	let plain = Math.abs(box.width - el.offsetWidth) < 1 && Math.abs(box.height - el.offsetHeight) < 1;
	for (let node = el; plain && node; node = node.assignedSlot ?? node.parentNode ?? node.host) plain = !(node instanceof Element) || moved(node);
	return { x: box.x, y: box.y, width: box.width, height: box.height, left, top, plain };
}`

// The bounds of one look at a page.
const (
	maxFrames  = 100
	frameLimit = 500 * time.Millisecond // for an answer of a process other than the main frame's: the frames of one that gives none are covered
)

// box is a part of a page in CSS pixels.
type box struct{ x, y, w, h float64 }

// sight is what one look at a page saw.
type sight struct {
	boxes     []box // in the layout viewport of the main frame
	sightings int   // of secrets that came since the frames are watched
	view      box   // the visible part of the main frame
}

// same reports whether the same is to be covered in both sights.
func (s *sight) same(as *sight) bool {
	if len(s.boxes) != len(as.boxes) || s.sightings != as.sightings {
		return false
	}
	for i := range s.boxes {
		if s.boxes[i].distance(as.boxes[i]) > 1 {
			return false
		}
	}
	return s.view.distance(as.view) < 0.5
}

// distance is the furthest that a side of the box is from the other's.
func (b box) distance(from box) float64 {
	return max(math.Abs(b.x-from.x), math.Abs(b.y-from.y), math.Abs(b.x+b.w-from.x-from.w), math.Abs(b.y+b.h-from.y-from.h))
}

// found is what mask.js returns.
type found struct {
	Boxes     [][4]float64 `json:"boxes"`
	All       bool         `json:"all"`
	Sightings int          `json:"sightings"`
	Left      float64      `json:"left"`
	Top       float64      `json:"top"`
	Width     float64      `json:"width"`
	Height    float64      `json:"height"`
}

// owner is what ownerScript returns.
type owner struct {
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	Left   float64 `json:"left"`
	Top    float64 `json:"top"`
	Plain  bool    `json:"plain"`
}

// silent are the processes that have not answered, and why. They are not asked again: what they draw is covered.
type silent map[chromium.Endpoint]error

// look finds what is to be covered on a page. It is sure of every frame, or it covers the frame.
func look(ctx context.Context, p Page, m *Mask, mute silent) (*sight, error) {
	frames := p.Frames()
	if len(frames) == 0 || len(frames) > maxFrames {
		return nil, fmt.Errorf("look at the page: got %d frames, want 1 to %d", len(frames), maxFrames)
	}
	l := &looker{mask: m, mute: mute, main: frames[0].Endpoint, frames: map[cdp.FrameID]*Frame{}, worlds: map[cdp.FrameID]runtime.ExecutionContextID{}}
	for i := range frames {
		l.frames[frames[i].ID] = &frames[i]
	}
	l.findClosed(ctx, frames)
	s := &sight{}
	for i := range frames {
		f := &frames[i]
		limited, cancel := l.limit(ctx, f)
		got, err := l.frame(limited, f)
		cancel()
		if i == 0 {
			if err != nil {
				return nil, fmt.Errorf("look at the page: %w", err)
			}
			s.view = box{got.Left, got.Top, got.Width, got.Height}
		}
		s.sightings += got.Sightings
		if err := l.place(ctx, s, f, got, err != nil || got.All); err != nil {
			return nil, fmt.Errorf("look at the page: %w", err)
		}
	}
	return s, nil
}

// looker is one look under way.
type looker struct {
	mask   *Mask
	mute   silent
	main   chromium.Endpoint
	frames map[cdp.FrameID]*Frame
	worlds map[cdp.FrameID]runtime.ExecutionContextID
	closed map[cdp.FrameID][]cdp.BackendNodeID // the closed shadow roots
	owners map[cdp.FrameID]*owner
}

// limit bounds a question to the process that draws a frame. Without the main frame's answer there is no picture, so that one has all the
// time that there is.
func (l *looker) limit(ctx context.Context, f *Frame) (context.Context, context.CancelFunc) {
	if f.Endpoint == l.main {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, frameLimit)
}

// frame runs the mask's script in a frame.
func (l *looker) frame(ctx context.Context, f *Frame) (found, error) {
	var out found
	if err := l.mute[f.Endpoint]; err != nil {
		return out, err
	}
	arguments := []*runtime.CallArgument{}
	body, err := jsonv2.Marshal(map[string]any{"secrets": l.mask.texts(), "selectors": l.mask.chains(), "beginnings": l.mask.Beginnings}, chromedp.DefaultMarshalOptions)
	if err != nil {
		return out, fmt.Errorf("encode mask: %w", err)
	}
	arguments = append(arguments, &runtime.CallArgument{Value: body})
	for _, id := range l.closed[f.ID] {
		root, err := l.resolve(ctx, f, id)
		if err != nil {
			return out, err
		}
		arguments = append(arguments, &runtime.CallArgument{ObjectID: root})
	}
	return out, l.call(ctx, f, maskScript, arguments, &out)
}

// world returns our isolated world in a frame.
func (l *looker) world(ctx context.Context, f *Frame) (runtime.ExecutionContextID, error) {
	if id, ok := l.worlds[f.ID]; ok {
		return id, nil
	}
	made, err := chromium.Call(ctx, f.Endpoint, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: f.ID, WorldName: WorldName})
	if err != nil {
		return 0, err
	}
	l.worlds[f.ID] = made.ExecutionContextID
	return made.ExecutionContextID, nil
}

// resolve returns a handle on a node in our world of the frame.
func (l *looker) resolve(ctx context.Context, f *Frame, id cdp.BackendNodeID) (runtime.RemoteObjectID, error) {
	world, err := l.world(ctx, f)
	if err != nil {
		return "", err
	}
	resolved, err := chromium.Call(ctx, f.Endpoint, dom.ResolveNode,
		dom.ResolveNodeParams{BackendNodeID: id, ExecutionContextID: world, ObjectGroup: l.group()})
	if err != nil {
		return "", err
	}
	return resolved.Object.ObjectID, nil
}

// group names what holds the handles of this look. Several looks may be under way, for the film and for a screenshot, and each lets go
// of its own.
func (l *looker) group() string { return fmt.Sprintf("%s-%p", WorldName, l) }

// call runs a function in our world of the frame and decodes what it returns.
func (l *looker) call(ctx context.Context, f *Frame, function string, arguments []*runtime.CallArgument, into any) error {
	world, err := l.world(ctx, f)
	if err != nil {
		return err
	}
	result, err := chromium.Call(ctx, f.Endpoint, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
		FunctionDeclaration: function, ExecutionContextID: world, Arguments: arguments, Silent: new(true), ReturnByValue: new(true),
	})
	chromium.Post(f.Endpoint, runtime.ReleaseObjectGroup, runtime.ReleaseObjectGroupParams{ObjectGroup: l.group()})
	if err != nil {
		return err
	}
	if d := result.ExceptionDetails; d != nil {
		if d.Exception != nil {
			return fmt.Errorf("look for what is to be covered: %.200s", d.Exception.Description)
		}
		return fmt.Errorf("look for what is to be covered: %.200s", d.Text)
	}
	return jsonv2.Unmarshal(result.Result.Value, into, chromedp.DefaultUnmarshalOptions)
}

// place adds a frame's boxes to the sight, in the coordinates of the main frame. whole covers the frame, and so does a frame that is not
// drawn at its own size, where there is something in it.
func (l *looker) place(ctx context.Context, s *sight, f *Frame, got found, whole bool) error {
	boxes := make([]box, 0, len(got.Boxes))
	for _, b := range got.Boxes {
		boxes = append(boxes, box{b[0], b[1], b[2], b[3]})
	}
	for f.Parent != "" && (whole || len(boxes) > 0) {
		o, err := l.owner(ctx, f)
		if err != nil && (l.frames[f.Parent] == nil || l.frames[f.Parent].Parent == "") {
			return err
		}
		if err != nil { // the parent is covered for that
			boxes, whole = nil, true
		} else if whole || !o.Plain {
			boxes = []box{{o.X, o.Y, o.Width, o.Height}}
			whole = false
		} else {
			for i, b := range boxes {
				boxes[i] = box{b.x + o.X + o.Left, b.y + o.Y + o.Top, b.w, b.h}.within(box{o.X, o.Y, o.Width, o.Height})
			}
		}
		if f = l.frames[f.Parent]; f == nil {
			return errGone
		}
	}
	if whole {
		boxes = []box{s.view}
	}
	s.boxes = append(s.boxes, boxes...)
	return nil
}

// errGone is the error of a page that changes while it is looked at.
var errGone = errors.New("a frame's parent is gone")

// within cuts off what is outside.
func (b box) within(outer box) box {
	x, y := max(b.x, outer.x), max(b.y, outer.y)
	return box{x, y, max(min(b.x+b.w, outer.x+outer.w)-x, 0), max(min(b.y+b.h, outer.y+outer.h)-y, 0)}
}

// owner asks the parent of a frame where it has it.
func (l *looker) owner(ctx context.Context, f *Frame) (*owner, error) {
	if o, ok := l.owners[f.ID]; ok {
		return o, nil
	}
	parent := l.frames[f.Parent]
	if parent == nil {
		return nil, errGone
	}
	if err := l.mute[parent.Endpoint]; err != nil {
		return nil, err
	}
	ctx, cancel := l.limit(ctx, parent)
	defer cancel()
	at, err := chromium.Call(ctx, parent.Endpoint, dom.GetFrameOwner, dom.GetFrameOwnerParams{FrameID: f.ID})
	if err != nil {
		return nil, err
	}
	id, err := l.resolve(ctx, parent, at.BackendNodeID)
	if err != nil {
		return nil, err
	}
	o := new(owner)
	if err := l.call(ctx, parent, ownerScript, []*runtime.CallArgument{{ObjectID: id}}, o); err != nil {
		return nil, err
	}
	if l.owners == nil {
		l.owners = map[cdp.FrameID]*owner{}
	}
	l.owners[f.ID] = o
	return o, nil
}

// findClosed lists the closed shadow roots, which scripts cannot enter by themselves. Where a process does not answer, none of its frames
// is asked.
func (l *looker) findClosed(ctx context.Context, frames []Frame) {
	l.closed = map[cdp.FrameID][]cdp.BackendNodeID{}
	asked := map[chromium.Endpoint]bool{}
	for i := range frames {
		f := &frames[i]
		if asked[f.Endpoint] || l.mute[f.Endpoint] != nil { // the uppermost frame of a process has told of those below it
			continue
		}
		asked[f.Endpoint] = true
		limited, cancel := l.limit(ctx, f)
		root, err := l.tree(limited, f)
		if err != nil {
			l.mute[f.Endpoint] = err
		} else {
			l.collect(root, f.ID)
		}
		cancel()
	}
}

// tree reads the nodes of a frame and of those below it in the same process.
func (l *looker) tree(ctx context.Context, f *Frame) (*cdp.Node, error) {
	world, err := l.world(ctx, f)
	if err != nil {
		return nil, err
	}
	document, err := chromium.Call(ctx, f.Endpoint, runtime.Evaluate, runtime.EvaluateParams{Expression: "document", ContextID: world, ObjectGroup: l.group()})
	if err != nil {
		return nil, err
	}
	if document.Result == nil || document.Result.ObjectID == "" {
		return nil, errors.New("no document")
	}
	described, err := chromium.Call(ctx, f.Endpoint, dom.DescribeNode,
		dom.DescribeNodeParams{ObjectID: document.Result.ObjectID, Depth: new(int64(-1)), Pierce: new(true)})
	return described.Node, err
}

// collect notes the closed shadow roots below a node of a frame.
func (l *looker) collect(node *cdp.Node, in cdp.FrameID) {
	for _, root := range node.ShadowRoots {
		if root.ShadowRootType == cdp.ShadowRootTypeClosed {
			l.closed[in] = append(l.closed[in], root.BackendNodeID)
		}
		l.collect(root, in)
	}
	for _, child := range node.Children {
		l.collect(child, in)
	}
	if node.ContentDocument != nil {
		l.collect(node.ContentDocument, node.FrameID)
	}
}

// pixels is the box in a picture of the visible part of the page, with a margin for what glyphs and shadows take beyond it.
func (b box) pixels(view box, size image.Point) image.Rectangle {
	const margin = 3 // CSS pixels
	sx, sy := float64(size.X)/view.w, float64(size.Y)/view.h
	return image.Rect(
		int(math.Floor((b.x-margin-view.x)*sx)), int(math.Floor((b.y-margin-view.y)*sy)),
		int(math.Ceil((b.x+b.w+margin-view.x)*sx)), int(math.Ceil((b.y+b.h+margin-view.y)*sy)),
	).Intersect(image.Rectangle{Max: size})
}
