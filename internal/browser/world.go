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
)

// Our scripts, one per purpose. They live in an isolated world: they share the document with the page but none of its variables.
var (
	//go:embed js/vitals.js
	vitalsScript string
	//go:embed js/find.js
	findScript string
	//go:embed js/act.js
	actScript string
	//go:embed js/change.js
	changeScript string
)

const worldName = "lastmile"

// world is the isolated world of one document.
type world struct {
	loader  cdp.LoaderID
	context runtime.ExecutionContextID
}

// errStale is the error of a script whose document went away under it: the caller tries again in the next one.
var errStale = errors.New("the document went away")

// enter returns the world of the current document, made and filled with our scripts when it is first needed.
func (s *Session) enter(ctx context.Context) (runtime.ExecutionContextID, error) {
	s.tab.mu.Lock()
	loader, frame, gone := s.tab.doc.loader, s.tab.frame, s.tab.gone
	s.tab.mu.Unlock()
	if gone {
		return 0, errGone
	}
	if s.world.context != 0 && s.world.loader == loader {
		return s.world.context, nil
	}
	made, err := call(ctx, s.tab.endpoint(), page.CreateIsolatedWorld,
		page.CreateIsolatedWorldParams{FrameID: frame, WorldName: worldName})
	if err != nil {
		return 0, stale(err)
	}
	filled, err := call(ctx, s.tab.endpoint(), runtime.Evaluate, runtime.EvaluateParams{
		Expression: findScript + actScript + changeScript + "true", ContextID: made.ExecutionContextID, ReturnByValue: new(true),
	})
	if err != nil {
		return 0, stale(err)
	}
	if filled.ExceptionDetails != nil {
		return 0, fmt.Errorf("load scripts: %s", exceptionText(filled.ExceptionDetails))
	}
	s.world = world{loader: loader, context: made.ExecutionContextID}
	return s.world.context, nil
}

// evaluate calls a function of ours in the current document and decodes what it returns. Arguments are values, or *object.
func evaluate[T any](ctx context.Context, s *Session, function string, args ...any) (T, error) {
	var value T
	result, err := s.invoke(ctx, function, true, args...)
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

// thing calls a function of ours and returns a handle on its result; nil where that is null.
func (s *Session) thing(ctx context.Context, function string, args ...any) (*object, error) {
	result, err := s.invoke(ctx, function, false, args...)
	if err != nil || result.ObjectID == "" {
		return nil, err
	}
	return &object{id: result.ObjectID}, nil
}

func (s *Session) invoke(ctx context.Context, function string, byValue bool, args ...any) (*runtime.RemoteObject, error) {
	id, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	params := runtime.CallFunctionOnParams{
		FunctionDeclaration: function, ExecutionContextID: id, ObjectGroup: worldName,
		Silent: new(true), ReturnByValue: &byValue, AwaitPromise: new(true),
	}
	for _, arg := range args {
		if o, ok := arg.(*object); ok {
			params.Arguments = append(params.Arguments, &runtime.CallArgument{ObjectID: o.id})
			continue
		}
		body, err := jsonv2.Marshal(arg, chromedp.DefaultMarshalOptions)
		if err != nil {
			return nil, fmt.Errorf("encode argument of script: %w", err)
		}
		params.Arguments = append(params.Arguments, &runtime.CallArgument{Value: body})
	}
	result, err := call(ctx, s.tab.endpoint(), runtime.CallFunctionOn, params)
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
