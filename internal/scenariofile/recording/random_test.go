package recording

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
)

// recorder makes valid recordings, likely and unlikely ones, with keys that no version of Recorder has.
type recorder struct{ *rand.Rand }

func (r recorder) one(of ...any) any { return of[r.IntN(len(of))] }

// text is not empty.
func (r recorder) text() string {
	words := []string{
		"main", "Sign in", "aria/Pay[role=\"button\"]", "#a > b", "text/${price}", "${", "$${", "${x}", "$", "null", "true", "1", "1.5s", "~", " ", "\n", "a\nb", "a\n b\n\nc\n", "\t", "\u0000", "é", "日本", "😀", "\u2028", "\ufeff", "'", `"`, `\`,
		": ", " #", "- a", "[a", "{a", "&a", "*a", "!a", "%", "@", "`", "|", ">", "https://shop.example.com/a?b=c#d", "<<", "=", "...", "---", "0x1f", "2026-01-01", "y", "No", "a: b", "it's",
	}
	out := words[r.IntN(len(words))]
	for r.IntN(4) == 0 {
		out += words[r.IntN(len(words))]
	}
	return out
}

func (r recorder) anyText() string { return r.one("", r.text()).(string) }

func (r recorder) number() float64 {
	return r.one(0.0, 1.0, 5000.0, -1.0, 0.5, 139.34375, 1e-7, 1e21, 9007199254740993.0, 123456789.123, r.NormFloat64()*1e4).(float64)
}

// anything is any JSON value.
func (r recorder) anything(depth int) any {
	switch n := r.IntN(7); {
	case n == 0:
		return nil
	case n == 1:
		return r.IntN(2) == 0
	case n == 2:
		return r.number()
	case n <= 4 || depth > 4:
		return r.anyText()
	case n == 5:
		list := []any{}
		for range r.IntN(4) {
			list = append(list, r.anything(depth+1))
		}
		return list
	}
	object := map[string]any{}
	for range r.IntN(4) {
		object[r.anyText()] = r.anything(depth + 1)
	}
	return object
}

// some returns the value or, as often as not, nothing: the key is not there then.
func (r recorder) some(object map[string]any, key string, value any) {
	if r.IntN(2) == 0 {
		object[key] = value
	}
}

// foreign adds keys that the object has no use for.
func (r recorder) foreign(object map[string]any) {
	for r.IntN(3) == 0 {
		key := r.one("", "id", "when", "assert", "recorder", "extract", "settle", "always", "budget", "optional", "method", "headers", "version", r.text()).(string)
		if _, there := object[key]; !there {
			object[key] = r.anything(0)
		}
	}
}

func (r recorder) frame() any {
	frame := []any{}
	for range r.IntN(3) {
		frame = append(frame, float64(r.IntN(9)))
	}
	return frame
}

func (r recorder) selectors() any {
	// A notation of another tool is an error of the author's: none of the texts may begin with one.
	link := func() any {
		return r.one("", ".a", "#b", "aria/", "text/", "xpath///", "pierce/", "css/", "x").(string) + r.anyText() + "!"
	}
	list := []any{r.one(link(), []any{link()}, []any{link(), link()})}
	for range r.IntN(3) {
		list = append(list, r.one(link(), []any{link()}, []any{link(), link(), link()}, []any{}))
	}
	return list
}

func (r recorder) timeout() any {
	return r.one(1.0, 5000.0, 30000.0, 1500.5, 1.23456789012, 29999.9999999999, 1+r.Float64()*29998)
}

func (r recorder) events() any {
	events := []any{}
	for range r.IntN(3) {
		event := map[string]any{"type": "navigation"}
		r.some(event, "url", r.anyText())
		r.some(event, "title", r.anyText())
		r.foreign(event)
		events = append(events, event)
	}
	return events
}

func (r recorder) step() map[string]any {
	types := typeNames()
	st := map[string]any{"type": types[r.IntN(len(types))]}
	r.some(st, "timeout", r.one(r.timeout(), r.timeout(), nil, "5000", true, []any{}))
	r.some(st, "assertedEvents", r.one(r.events(), r.events(), nil, "navigation", map[string]any{}, 5.0))
	r.some(st, "target", r.one("main", "main", r.anyText(), nil, 7.0, []any{"main"}))
	k, _ := kindOf(scenario.StepType(st["type"].(string)))
	has := map[string]bool{}
	for _, key := range k.keys {
		has[key] = true
	}
	if has["frame"] {
		r.some(st, "frame", r.frame())
	}
	if has["selectors"] && (st["type"] != "scroll" || r.IntN(2) == 0) {
		st["selectors"] = r.selectors()
	}
	if has["offsetX"] {
		st["offsetX"], st["offsetY"] = r.number(), r.number()
		r.some(st, "button", r.one("primary", "auxiliary", "secondary", "back", "forward", ""))
		r.some(st, "deviceType", r.one("mouse", "pen", "touch", ""))
		r.some(st, "duration", r.number())
	}
	r.particular(st)
	r.foreign(st)
	return st
}

// particular adds the keys that only the step's own type has.
func (r recorder) particular(st map[string]any) {
	switch st["type"] {
	case "navigate":
		st["url"] = r.text()
	case "setViewport":
		st["width"], st["height"], st["deviceScaleFactor"] = 1+1000*r.Float64(), r.one(1.0, 800.0, 1e6), r.one(0.0, 1.0, 2.625)
		st["isMobile"], st["hasTouch"], st["isLandscape"] = r.one(true, false), r.one(true, false), r.one(true, false)
	case "emulateNetworkConditions":
		st["download"], st["upload"], st["latency"] = r.number(), r.number(), r.number()
	case "change":
		st["value"] = r.anyText()
	case "keyDown", "keyUp":
		st["key"] = r.text()
	case "scroll":
		r.some(st, "x", r.number())
		r.some(st, "y", r.number())
	case "waitForElement":
		r.some(st, "operator", r.one(">=", "==", "<=", ""))
		r.some(st, "count", float64(r.IntN(5)))
		r.some(st, "visible", r.one(true, false))
		r.some(st, "attributes", r.one(map[string]any{}, map[string]any{r.anyText(): r.anyText(), "class": "a"}))
		r.some(st, "properties", map[string]any{r.anyText(): r.anything(0), "value": r.anyText()})
	case "waitForExpression":
		st["expression"] = r.text()
	case "customStep":
		st["name"] = r.text()
		r.some(st, "parameters", r.anything(0))
	}
}

func (r recorder) recording() map[string]any {
	flow := map[string]any{"title": r.anyText()}
	r.some(flow, "timeout", r.timeout())
	r.some(flow, "selectorAttribute", r.one("data-test", nil, 5.0))
	r.foreign(flow)
	steps := []any{}
	for range 1 + r.IntN(6) {
		steps = append(steps, r.step())
	}
	flow["steps"] = steps
	return flow
}

// Any valid recording comes back as it was.
func TestRoundTrip(t *testing.T) {
	r := recorder{rand.New(rand.NewPCG(20261, 4))}
	for range 800 {
		flow := r.recording()
		data, err := json.MarshalIndent(flow, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		yaml, back := travel(t, "random.json", data)
		if got, want := decode(t, back), decode(t, data); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ncame back as\n%s\nby\n%s", data, back, yaml)
		}
	}
}

// Nothing makes it panic or slow, its errors say where they are, and what it takes comes back as it was.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	r := recorder{rand.New(rand.NewPCG(1, 1))}
	for range 20 {
		data, err := json.Marshal(r.recording())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		_, _, err := Read("fuzz.json", data, Options{})
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("read %d bytes: took %s", len(data), took)
		}
		if err != nil {
			for _, e := range document.All(err) {
				if e.File != "fuzz.json" || e.Line < 1 || e.Column < 1 || e.Got == "" || e.Want == "" || strings.ContainsAny(e.Error(), "\r\n") {
					t.Errorf("read: got %+v, want an error with a place, got and want", e)
				}
			}
			if len(document.All(err)) == 0 {
				t.Errorf("read: got %v, want errors with places", err)
			}
			return
		}
		_, back := travel(t, "fuzz.json", data)
		if got, want := decode(t, back), decode(t, withoutSourceMap([]byte(strings.TrimPrefix(string(data), "\ufeff")))); !reflect.DeepEqual(got, want) {
			t.Errorf("%s came back as %s", data, back)
		}
	})
}

// Files made to exhaust a reader get an error in bounded time.
func TestHostile(t *testing.T) {
	for _, unit := range []string{"[", "{", `{"a":`, `[{"a":`, `"a",`, "1,", `\u0000`, " ", "\n", "é", `{"type":"click","selectors":["//a"],"x":null},`, `"\ud800",`} {
		for _, prefix := range []string{"", `{"title":"a","steps":[`, `{"title":"`} {
			text := prefix + strings.Repeat(unit, (document.MaxSize-len(prefix))/len(unit))
			for _, suffix := range []string{"", "]}", "null]}", `"}`} {
				start := time.Now()
				_, _, err := Read("hostile.json", []byte(text+suffix), Options{})
				if took := time.Since(start); took > 5*time.Second || err == nil {
					t.Errorf("read %q and %q repeated: took %s, got %v", prefix, unit, took, fmt.Sprintf("%.100v", err))
				}
			}
		}
	}
}
