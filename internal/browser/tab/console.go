package tab

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/browser/traffic"
	"lastmile/internal/runs"
)

// Pages say what they like on their consoles, as often as they like.
const (
	maxMessages = 100  // kept of a run
	maxText     = 2000 // bytes kept of a message, of which a result has fewer: a secret that is cut in two would not be redacted
	maxURL      = 1000 // bytes kept of where it came from
	maxCalls    = 5000 // events of a session's console, whatever their level; after that nobody listens to it any more
)

// console keeps what the run's pages, frames and workers say on their consoles. The zero value is an empty one.
type console struct {
	step   string
	errors int // of the step
	kept   []runs.ConsoleMessage
	calls  map[target.SessionID]int
}

func (c *console) begin(step string) { c.step, c.errors = step, 0 }

// add keeps a message; counts says whether an error counts as one of the step's.
func (c *console) add(m runs.ConsoleMessage, counts bool) {
	if counts && m.Level != "warning" {
		c.errors++
	}
	if len(c.kept) < maxMessages {
		m.Step, m.Text, m.URL = c.step, cut(m.Text, maxText), cut(traffic.PlainURL(m.URL), maxURL)
		c.kept = append(c.kept, m)
	}
}

// cut shortens a text to so many bytes, and makes it valid.
func cut(text string, limit int) string {
	if len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "�")
}

// consoleEvent takes what a console says. Chromium's own remarks come from the Log domain, those of scripts from Runtime.
func (t *Tab) consoleEvent(msg *cdproto.Message) {
	switch msg.Method {
	case cdproto.EventLogEntryAdded:
		if ev, ok := traffic.Decode[log.EventEntryAdded](msg); ok && ev.Entry != nil && !t.deaf(msg.SessionID) {
			t.remark(ev.Entry)
		}
	case cdproto.EventRuntimeExceptionThrown:
		if ev, ok := traffic.Decode[runtime.EventExceptionThrown](msg); ok && ev.ExceptionDetails != nil && !t.deaf(msg.SessionID) {
			t.thrown(ev.ExceptionDetails)
		}
	case cdproto.EventRuntimeConsoleAPICalled:
		if t.deaf(msg.SessionID) || !loud(msg.Params) {
			return
		}
		if ev, ok := traffic.Decode[runtime.EventConsoleAPICalled](msg); ok {
			t.called(&ev)
		}
	}
}

// deaf counts an event of a session's console and reports whether it has had too many. Then the console is turned off: a page that
// logs in an endless loop would keep the browser busy with telling us.
func (t *Tab) deaf(session target.SessionID) bool {
	if t.console.calls == nil {
		t.console.calls = map[target.SessionID]int{}
	}
	t.console.calls[session]++
	n := t.console.calls[session]
	if n == maxCalls {
		e := t.browser.Endpoint(session)
		chromium.Post(e, log.Disable, cdp.Empty{})
		chromium.Post(e, runtime.Disable, cdp.Empty{})
	}
	return n > maxCalls
}

// loud reports whether a call is of a level that is kept, without decoding its arguments. Chromium writes the type first.
func loud(params []byte) bool {
	head := params[:min(len(params), 64)]
	for _, level := range []string{`"warning"`, `"error"`, `"assert"`} {
		if bytes.Contains(head, []byte(level)) {
			return true
		}
	}
	return false
}

// remark keeps what Chromium itself has to say: requests that failed, policies that were violated, features that will go.
func (t *Tab) remark(entry *log.Entry) {
	if entry.Level != log.EntryLevelError && entry.Level != log.EntryLevelWarning || entry.Source == log.EntrySourceWorker || entry.WorkerID != "" {
		return // what a worker says comes from its own session, too
	}
	m := runs.ConsoleMessage{Level: string(entry.Level), Text: entry.Text, URL: entry.URL, Line: int(entry.LineNumber)}
	if entry.LineNumber > 0 || entry.StackTrace != nil {
		m.Line++ // the protocol counts from 0
	}
	t.console.add(m, entry.Source != log.EntrySourceNetwork)
}

func (t *Tab) thrown(d *runtime.ExceptionDetails) {
	m := runs.ConsoleMessage{Level: "exception", Text: d.Text, URL: d.URL, Line: int(d.LineNumber) + 1}
	if d.Exception != nil {
		what := d.Exception.Description
		if what == "" {
			what = string(d.Exception.Value)
		}
		first, _, _ := strings.Cut(what, "\n") // the rest is the stack
		m.Text = strings.TrimSpace(d.Text + " " + first)
	}
	if url, line, ok := place(d.StackTrace); ok && m.URL == "" {
		m.URL, m.Line = url, line
	}
	t.console.add(m, true)
}

func (t *Tab) called(ev *runtime.EventConsoleAPICalled) {
	m := runs.ConsoleMessage{Level: "error"}
	if ev.Type == runtime.ConsoleAPICalledTypeWarning {
		m.Level = "warning"
	}
	var said strings.Builder
	for _, arg := range ev.Args {
		if said.Len() > maxText {
			break
		}
		if said.Len() > 0 {
			said.WriteByte(' ')
		}
		said.WriteString(spoken(arg))
	}
	m.Text = said.String()
	if ev.Type == runtime.ConsoleAPICalledTypeAssert {
		m.Text = strings.TrimSpace("assertion failed: " + m.Text)
	}
	m.URL, m.Line, _ = place(ev.StackTrace)
	t.console.add(m, true)
}

// spoken is an argument as a console shows it.
func spoken(arg *runtime.RemoteObject) string {
	switch {
	case arg == nil:
		return ""
	case arg.Description != "" && arg.Type != runtime.RemoteObjectTypeString:
		return arg.Description
	case arg.UnserializableValue != "":
		return string(arg.UnserializableValue)
	case len(arg.Value) == 0:
		return string(arg.Type) // undefined
	}
	var text string
	if err := jsonv2.Unmarshal(arg.Value, &text); err != nil || arg.Type != runtime.RemoteObjectTypeString {
		return string(arg.Value) // a number, a boolean, null
	}
	return text
}

// place is where the innermost call of a stack was made.
func place(stack *runtime.StackTrace) (url string, line int, ok bool) {
	if stack == nil || len(stack.CallFrames) == 0 {
		return "", 0, false
	}
	f := stack.CallFrames[0]
	return f.URL, int(f.LineNumber) + 1, true
}

// Console returns what was said on the consoles of the run's pages, frames and workers.
func (t *Tab) Console() []runs.ConsoleMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.console.kept)
}
