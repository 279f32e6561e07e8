package elements

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"lastmile/internal/browser/chromium"
)

// Our scripts, one per purpose.
var (
	//go:embed js/find.js
	findScript string
	//go:embed js/act.js
	actScript string
	//go:embed js/change.js
	changeScript string
)

// Place is where the document of a frame is at a moment.
type Place struct {
	Endpoint chromium.Endpoint // the process that draws it
	Frame    cdp.FrameID
	Parent   cdp.FrameID  // "" = it is the main frame of a page
	Loader   cdp.LoaderID // names the document
}

// Pages tells where a frame is; its error, where the frame has gone, is passed on.
type Pages func(cdp.FrameID) (Place, error)

// Engine looks at the frames of a run's pages. It is not safe for concurrent use.
type Engine struct {
	pages  Pages
	name   string // of our isolated world, and of the group of our handles
	worlds map[cdp.FrameID]*world
}

// New returns an engine whose scripts live in the isolated world with the name.
func New(pages Pages, name string) *Engine {
	return &Engine{pages: pages, name: name, worlds: map[cdp.FrameID]*world{}}
}

// world is what we have in one document.
type world struct {
	loader  cdp.LoaderID
	context runtime.ExecutionContextID // of our scripts
	page    *object                    // the document, as the page's own scripts see it; nil until needed
	owner   *object                    // the element of the frame, in the document above; nil until needed
	above   runtime.ExecutionContextID // in which owner lives
}

// ErrStale is the error of a script whose document went away under it: the caller tries again in the next one.
var ErrStale = errors.New("the document went away")

// PageError is an exception of a script in the page.
type PageError struct{ Text string }

// Error implements error.
func (e *PageError) Error() string { return e.Text }

// enter returns our world in the current document of a frame, made and filled with our scripts when it is first needed.
func (e *Engine) enter(ctx context.Context, frame cdp.FrameID) (*world, Place, error) {
	at, err := e.pages(frame)
	if err != nil {
		return nil, at, err
	}
	if w := e.worlds[frame]; w != nil && w.loader == at.Loader {
		return w, at, nil
	}
	made, err := chromium.Call(ctx, at.Endpoint, page.CreateIsolatedWorld,
		page.CreateIsolatedWorldParams{FrameID: at.Frame, WorldName: e.name})
	if err != nil {
		return nil, at, Stale(err)
	}
	filled, err := chromium.Call(ctx, at.Endpoint, runtime.Evaluate, runtime.EvaluateParams{
		Expression: "globalThis.lastmile ??= {};" + findScript + actScript + changeScript + "true",
		ContextID:  made.ExecutionContextID, ReturnByValue: new(true),
	})
	if err != nil {
		return nil, at, Stale(err)
	}
	if filled.ExceptionDetails != nil {
		return nil, at, fmt.Errorf("load scripts: %s", exceptionText(filled.ExceptionDetails))
	}
	w := &world{loader: at.Loader, context: made.ExecutionContextID}
	e.worlds[frame] = w
	return w, at, nil
}

// Evaluate calls a function of ours in the current document of a frame and decodes what it returns. The function gets the values as
// one array, and has lastmile.find, lastmile.act and lastmile.change.
func Evaluate[T any](ctx context.Context, e *Engine, frame cdp.FrameID, function string, values ...any) (T, error) {
	return evaluate[T](ctx, e, frame, function, values)
}

// evaluate is Evaluate with objects, which the function gets after the values.
func evaluate[T any](ctx context.Context, e *Engine, frame cdp.FrameID, function string, values []any, objects ...*object) (T, error) {
	var value T
	w, at, err := e.enter(ctx, frame)
	if err != nil {
		return value, err
	}
	result, err := e.invoke(ctx, at, call{context: w.context, function: function, values: values, objects: objects, byValue: true})
	if err != nil {
		return value, err
	}
	return decode[T](result)
}

func decode[T any](result *runtime.RemoteObject) (value T, err error) {
	if err := jsonv2.Unmarshal(result.Value, &value, chromedp.DefaultUnmarshalOptions); err != nil {
		return value, fmt.Errorf("decode result of script: %w", err)
	}
	return value, nil
}

// object is a thing in the page.
type object struct{ id runtime.RemoteObjectID }

// call is one call of a function, in a context or, where on is set, in that of an object, which is the function's this.
type call struct {
	context  runtime.ExecutionContextID
	on       *object
	function string
	values   []any
	objects  []*object
	byValue  bool
}

func (e *Engine) invoke(ctx context.Context, at Place, c call) (*runtime.RemoteObject, error) {
	// One array for all values: the protocol's encoder leaves out an argument that is "", {} or [].
	body, err := jsonv2.Marshal(c.values, chromedp.DefaultMarshalOptions)
	if err != nil {
		return nil, fmt.Errorf("encode arguments of script: %w", err)
	}
	params := runtime.CallFunctionOnParams{
		FunctionDeclaration: c.function, Silent: new(true), ReturnByValue: &c.byValue, AwaitPromise: new(true),
		Arguments: []*runtime.CallArgument{{Value: body}},
	}
	if c.on != nil {
		params.ObjectID = c.on.id
	} else {
		params.ExecutionContextID, params.ObjectGroup = c.context, e.name
	}
	for _, o := range c.objects {
		params.Arguments = append(params.Arguments, &runtime.CallArgument{ObjectID: o.id})
	}
	result, err := chromium.Call(ctx, at.Endpoint, runtime.CallFunctionOn, params)
	if err != nil {
		delete(e.worlds, at.Frame) // whatever it was, the next attempt starts afresh
		return nil, Stale(err)
	}
	if result.ExceptionDetails != nil {
		return nil, &PageError{Text: exceptionText(result.ExceptionDetails)}
	}
	return result.Result, nil
}

// resolve returns a handle on a node in a context; 0 is that of the page's own scripts.
func (e *Engine) resolve(ctx context.Context, at Place, node cdp.BackendNodeID, in runtime.ExecutionContextID, group string) (*object, error) {
	resolved, err := chromium.Call(ctx, at.Endpoint, dom.ResolveNode,
		dom.ResolveNodeParams{BackendNodeID: node, ExecutionContextID: in, ObjectGroup: group})
	if err != nil {
		return nil, Stale(err)
	}
	return &object{id: resolved.Object.ObjectID}, nil
}

// across returns a handle on the node of a handle, as the page's own scripts see it.
func (e *Engine) across(ctx context.Context, at Place, o *object, group string) (*object, error) {
	described, err := chromium.Call(ctx, at.Endpoint, dom.DescribeNode, dom.DescribeNodeParams{ObjectID: o.id})
	if err != nil {
		return nil, Stale(err)
	}
	return e.resolve(ctx, at, described.Node.BackendNodeID, 0, group)
}

// document returns the document of a frame, as the page's own scripts see it: what is called on it runs among them.
func (e *Engine) document(ctx context.Context, frame cdp.FrameID) (*object, Place, error) {
	w, at, err := e.enter(ctx, frame)
	if err != nil || w.page != nil {
		return w.document(), at, err
	}
	ours, err := e.invoke(ctx, at, call{context: w.context, function: `() => document`})
	if err == nil {
		w.page, err = e.across(ctx, at, &object{id: ours.ObjectID}, "")
	}
	return w.page, at, err
}

func (w *world) document() *object {
	if w == nil {
		return nil
	}
	return w.page
}

// owner returns the element of a frame in the document above it.
func (e *Engine) owner(ctx context.Context, frame cdp.FrameID, parent cdp.FrameID) (*object, error) {
	w, _, err := e.enter(ctx, frame)
	if err != nil {
		return nil, err
	}
	above, at, err := e.enter(ctx, parent)
	if err != nil || w.owner != nil && w.above == above.context {
		return w.owner, err
	}
	found, err := chromium.Call(ctx, at.Endpoint, dom.GetFrameOwner, dom.GetFrameOwnerParams{FrameID: frame})
	if err != nil {
		return nil, Stale(err)
	}
	if w.owner, err = e.resolve(ctx, at, found.BackendNodeID, above.context, ""); err == nil {
		w.above = above.context
	}
	return w.owner, err
}

// Stale recognises the errors with which Chromium answers when a document has been replaced, or a frame has moved to another process.
func Stale(err error) error {
	var protocol *cdproto.Error
	if !errors.As(err, &protocol) {
		return err
	}
	for _, sign := range []string{"context", "navigated", "collected", "No frame", "Frame", "find object", "find node", "with given id", "Session"} {
		if strings.Contains(protocol.Message, sign) {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
	}
	return err
}

// exceptionText is the first line of what was thrown.
func exceptionText(details *runtime.ExceptionDetails) string {
	text := details.Text
	if details.Exception != nil && details.Exception.Description != "" {
		text = details.Exception.Description
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}
