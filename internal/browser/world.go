package browser

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/tab"
)

// Our scripts, one per purpose. They live in an isolated world: they share the document with the page but none of its variables.
var (
	//go:embed js/find.js
	findScript string
	//go:embed js/act.js
	actScript string
	//go:embed js/change.js
	changeScript string
)

// world is the isolated world of one document.
type world struct {
	loader  cdp.LoaderID
	context runtime.ExecutionContextID
}

// errStale is the error of a script whose document went away under it: the caller tries again in the next one.
var errStale = errors.New("the document went away")

// enter returns the world of the current document, made and filled with our scripts when it is first needed.
func (s *Session) enter(ctx context.Context) (runtime.ExecutionContextID, error) {
	doc, gone := s.tab.Document()
	if gone {
		return 0, tab.ErrGone
	}
	if s.world.context != 0 && s.world.loader == doc.Loader {
		return s.world.context, nil
	}
	made, err := chromium.Call(ctx, s.tab.Endpoint(), page.CreateIsolatedWorld,
		page.CreateIsolatedWorldParams{FrameID: doc.Frame, WorldName: tab.WorldName})
	if err != nil {
		return 0, stale(err)
	}
	filled, err := chromium.Call(ctx, s.tab.Endpoint(), runtime.Evaluate, runtime.EvaluateParams{
		Expression: findScript + actScript + changeScript + "true", ContextID: made.ExecutionContextID, ReturnByValue: new(true),
	})
	if err != nil {
		return 0, stale(err)
	}
	if filled.ExceptionDetails != nil {
		return 0, fmt.Errorf("load scripts: %s", exceptionText(filled.ExceptionDetails))
	}
	s.world = world{loader: doc.Loader, context: made.ExecutionContextID}
	return s.world.context, nil
}

// evaluate calls a function of ours in the current document and decodes what it returns. The function gets the values as one
// array, then the objects.
func evaluate[T any](ctx context.Context, s *Session, function string, values []any, objects ...*object) (T, error) {
	var value T
	result, err := s.invoke(ctx, function, true, values, objects)
	if err != nil {
		return value, err
	}
	if err := jsonv2.Unmarshal(result.Value, &value, chromedp.DefaultUnmarshalOptions); err != nil {
		return value, fmt.Errorf("decode result of script: %w", err)
	}
	return value, nil
}

// object is a thing in the page.
type object struct{ id runtime.RemoteObjectID }

// thing calls a function of ours, as evaluate does, and returns a handle on its result; nil where that is null.
func (s *Session) thing(ctx context.Context, function string, values []any, objects ...*object) (*object, error) {
	result, err := s.invoke(ctx, function, false, values, objects)
	if err != nil || result.ObjectID == "" {
		return nil, err
	}
	return &object{id: result.ObjectID}, nil
}

func (s *Session) invoke(ctx context.Context, function string, byValue bool, values []any, objects []*object) (*runtime.RemoteObject, error) {
	id, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	// One array for all values: the protocol's encoder leaves out an argument that is "", {} or [].
	body, err := jsonv2.Marshal(values, chromedp.DefaultMarshalOptions)
	if err != nil {
		return nil, fmt.Errorf("encode arguments of script: %w", err)
	}
	params := runtime.CallFunctionOnParams{
		FunctionDeclaration: function, ExecutionContextID: id, ObjectGroup: tab.WorldName,
		Silent: new(true), ReturnByValue: &byValue, AwaitPromise: new(true),
		Arguments: []*runtime.CallArgument{{Value: body}},
	}
	for _, o := range objects {
		params.Arguments = append(params.Arguments, &runtime.CallArgument{ObjectID: o.id})
	}
	result, err := chromium.Call(ctx, s.tab.Endpoint(), runtime.CallFunctionOn, params)
	if err != nil {
		s.world = world{} // whatever it was, the next attempt starts afresh
		return nil, stale(err)
	}
	if result.ExceptionDetails != nil {
		return nil, &failure{class: scriptFault, detail: exceptionText(result.ExceptionDetails)}
	}
	return result.Result, nil
}

// stale recognises the errors with which Chromium answers when a document has been replaced.
func stale(err error) error {
	var protocol *cdproto.Error
	if !errors.As(err, &protocol) {
		return err
	}
	for _, sign := range []string{"context", "navigated", "collected", "No frame", "Frame", "find object", "find node"} {
		if strings.Contains(protocol.Message, sign) {
			return fmt.Errorf("%w: %w", errStale, err)
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
