package elements

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
)

// Value is what an expression in the page came to.
type Value struct {
	Defined bool   `json:"defined"` // it is not undefined
	Truthy  bool   `json:"truthy"`
	Text    string `json:"text"`  // a string as it is, anything else as JSON
	Thrown  string `json:"error"` // what it threw instead; "" = nothing
}

// expressionStart and expressionEnd stand around an expression. What it throws is data: it may hold later. One that cannot be parsed
// is a *PageError.
const (
	expressionStart = `async function () {
	try {
		const value = await (function () { return (`
	expressionEnd = `
		); })();
		let text = typeof value === "string" ? value : undefined;
		try { text ??= JSON.stringify(value); } catch {}
		return { defined: value !== undefined, truthy: !!value, text: (text ?? String(value)).slice(0, 1 << 20) };
	} catch (error) {
		return { error: String(error) || "an exception" };
	}
}`
)

// Expression evaluates JavaScript among the page's own scripts in a frame, and awaits what it promises.
func (e *Engine) Expression(ctx context.Context, frame cdp.FrameID, source string) (Value, error) {
	document, at, err := e.document(ctx, frame)
	if err != nil {
		return Value{}, err
	}
	result, err := e.invoke(ctx, at, call{on: document, function: expressionStart + source + expressionEnd, byValue: true})
	if err != nil {
		return Value{}, err
	}
	return decode[Value](result)
}
