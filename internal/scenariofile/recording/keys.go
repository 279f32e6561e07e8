package recording

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// key is one key of a recorded step and the field that holds it. read returns what it wants where the value is not that, and leaves the
// field alone where Recorder ignores the value. write returns nil for what is not set.
type key struct {
	name  string
	read  func(st *scenario.Step, value any) (want string)
	write func(st *scenario.Step) any
}

// kind is one type of step in a recording: its keys beyond type, in the order in which they are written, and those that it cannot do
// without although our steps can.
type kind struct {
	stepType scenario.StepType
	keys     []string
	required []string
}

// The keys that several types share, by what @puppeteer/replay calls them.
var (
	withTarget    = []string{"timeout", "target", "assertedEvents"}
	withFrame     = append([]string{"frame"}, withTarget...)
	withSelectors = append([]string{"selectors"}, withFrame...)
	withPointer   = append([]string{"offsetY", "offsetX", "button", "deviceType", "duration"}, withSelectors...)
)

// kinds lists the types of steps that a recording may have.
var kinds = []kind{
	{scenario.StepNavigate, append([]string{"url"}, withTarget...), nil},
	{
		scenario.StepSetViewport, append([]string{"width", "height", "deviceScaleFactor", "isMobile", "hasTouch", "isLandscape"}, withTarget...),
		[]string{"deviceScaleFactor", "isMobile", "hasTouch", "isLandscape"},
	},
	{scenario.StepNetworkConditions, append([]string{"download", "upload", "latency"}, withTarget...), nil},
	{scenario.StepClick, withPointer, nil},
	{scenario.StepDoubleClick, withPointer, nil},
	{scenario.StepHover, withSelectors, nil},
	{scenario.StepChange, append([]string{"value"}, withSelectors...), nil},
	{scenario.StepKeyDown, append([]string{"key"}, withTarget...), nil},
	{scenario.StepKeyUp, append([]string{"key"}, withTarget...), nil},
	{scenario.StepScroll, append([]string{"x", "y"}, withSelectors...), nil},
	{scenario.StepClose, withTarget, nil},
	{scenario.StepWaitForElement, append([]string{"operator", "count", "visible", "attributes", "properties"}, withSelectors...), nil},
	{scenario.StepWaitForExpression, append([]string{"expression"}, withFrame...), nil},
	{scenario.StepCustom, append([]string{"name", "parameters"}, withFrame...), nil},
}

// kindOf returns what a recording's step of the type may have; ok is false where it may have no such step.
func kindOf(t scenario.StepType) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.stepType == t })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// The kinds of values.
const (
	wantText   = "text"
	wantNumber = "a number"
	wantSwitch = "true or false"
)

// fields lists every key in the order in which steps are written; asserted events come last, as Recorder writes them.
func fields() []key {
	return []key{
		timeoutKey(),
		text("url", true, func(st *scenario.Step) *string { return &st.URL }),
		text("name", false, func(st *scenario.Step) *string { return &st.Name }),
		{"parameters", func(st *scenario.Step, v any) string { st.Parameters = v; return "" }, func(st *scenario.Step) any { return st.Parameters }},
		whole("width", func(st *scenario.Step) *int { return &st.Width }),
		whole("height", func(st *scenario.Step) *int { return &st.Height }),
		scaleKey(),
		toggle("isMobile", func(st *scenario.Step) *bool { return &st.IsMobile }),
		toggle("hasTouch", func(st *scenario.Step) *bool { return &st.HasTouch }),
		toggle("isLandscape", func(st *scenario.Step) *bool { return &st.IsLandscape }),
		number("download", func(st *scenario.Step) **float64 { return &st.Download }),
		number("upload", func(st *scenario.Step) **float64 { return &st.Upload }),
		number("latency", func(st *scenario.Step) **float64 { return &st.Latency }),
		ignorable("target", func(st *scenario.Step) *string { return &st.Target }),
		frameKey(),
		selectorsKey(),
		number("offsetY", func(st *scenario.Step) **float64 { return &st.OffsetY }),
		number("offsetX", func(st *scenario.Step) **float64 { return &st.OffsetX }),
		text("button", false, func(st *scenario.Step) *string { return &st.Button }),
		text("deviceType", false, func(st *scenario.Step) *string { return &st.DeviceType }),
		number("duration", func(st *scenario.Step) **float64 { return &st.Duration }),
		valueKey(),
		text("key", true, func(st *scenario.Step) *string { return &st.Key }),
		number("x", func(st *scenario.Step) **float64 { return &st.X }),
		number("y", func(st *scenario.Step) **float64 { return &st.Y }),
		text("operator", false, func(st *scenario.Step) *string { return &st.Operator }),
		countKey(),
		visibleKey(),
		attributesKey(),
		propertiesKey(),
		text("expression", true, func(st *scenario.Step) *string { return &st.Expression }),
		eventsKey(),
	}
}

// text is a key whose value must be text; template says whether it is a template here.
func text(name string, template bool, field func(*scenario.Step) *string) key {
	return key{name, func(st *scenario.Step, v any) string {
		s, ok := v.(string)
		if !ok {
			return wantText
		}
		if template {
			s = escape(s)
		}
		*field(st) = s
		return ""
	}, func(st *scenario.Step) any { return unlessEmpty(*field(st)) }}
}

// ignorable is a template that Recorder ignores where it is no text.
func ignorable(name string, field func(*scenario.Step) *string) key {
	k := text(name, true, field)
	read := k.read
	k.read = func(st *scenario.Step, v any) string { _ = read(st, v); return "" }
	return k
}

func unlessEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func number(name string, field func(*scenario.Step) **float64) key {
	return key{name, func(st *scenario.Step, v any) string {
		n, ok := v.(float64)
		if !ok {
			return wantNumber
		}
		*field(st) = &n
		return ""
	}, func(st *scenario.Step) any {
		if n := *field(st); n != nil {
			return *n
		}
		return nil
	}}
}

// maxPixels bounds what Chromium takes as a side of its viewport.
const maxPixels = 10_000_000

// whole is a number of pixels; parts of one are rounded.
func whole(name string, field func(*scenario.Step) *int) key {
	return key{name, func(st *scenario.Step, v any) string {
		n, ok := v.(float64)
		if n = math.Round(n); !ok || n < 1 || n > maxPixels {
			return "a number of pixels from 1"
		}
		*field(st) = int(n)
		return ""
	}, func(st *scenario.Step) any {
		if n := *field(st); n != 0 {
			return float64(n)
		}
		return nil
	}}
}

// toggle is a switch that is always written.
func toggle(name string, field func(*scenario.Step) *bool) key {
	return key{name, func(st *scenario.Step, v any) string {
		on, ok := v.(bool)
		if !ok {
			return wantSwitch
		}
		*field(st) = on
		return ""
	}, func(st *scenario.Step) any { return *field(st) }}
}

// scaleKey is always written: 1 where the step says nothing.
func scaleKey() key {
	return key{"deviceScaleFactor", func(st *scenario.Step, v any) string {
		n, ok := v.(float64)
		if !ok || n < 0 {
			return "a number from 0"
		}
		st.DeviceScaleFactor = n
		return ""
	}, func(st *scenario.Step) any {
		if st.DeviceScaleFactor == 0 {
			return 1.0
		}
		return st.DeviceScaleFactor
	}}
}

// The bounds that a recording's timeouts have, in milliseconds.
const (
	minTimeout  = 1
	maxTimeout  = 30_000
	wantTimeout = "a time from 1 to 30000 milliseconds"
)

// timeoutOf reads a timeout. ok is false where there is none.
func timeoutOf(v any) (d scenario.Duration, ok bool, want string) {
	ms, ok := v.(float64)
	if ok && (ms < minTimeout || ms > maxTimeout) {
		return 0, false, wantTimeout
	}
	return scenario.Duration(math.Round(ms * float64(time.Millisecond))), ok, ""
}

// milliseconds is how a recording writes a duration: at most maxTimeout.
func milliseconds(d scenario.Duration) any {
	if d == 0 {
		return nil
	}
	return min(max(float64(d)/float64(time.Millisecond), minTimeout), maxTimeout)
}

func timeoutKey() key {
	return key{"timeout", func(st *scenario.Step, v any) (want string) {
		st.Timeout, _, want = timeoutOf(v)
		return want
	}, func(st *scenario.Step) any { return milliseconds(st.Timeout) }}
}

// wholeNumber reads a number that may be a frame or a count.
func wholeNumber(v any) (int, bool) {
	n, ok := v.(float64)
	if !ok || n != math.Trunc(n) || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}

func frameKey() key {
	return key{"frame", func(st *scenario.Step, v any) string {
		list, ok := v.([]any)
		var frame []int
		for _, item := range list {
			n, whole := wholeNumber(item)
			frame, ok = append(frame, n), ok && whole
		}
		if !ok {
			return "a list of the numbers of child frames, from 0"
		}
		st.Frame = frame
		return ""
	}, func(st *scenario.Step) any {
		if len(st.Frame) == 0 {
			return nil
		}
		list := make([]any, len(st.Frame))
		for i, n := range st.Frame {
			list[i] = float64(n)
		}
		return list
	}}
}

// selectorsKey: an alternative is text or a list of texts. One of no texts at all never matches, and is left out.
func selectorsKey() key {
	const want = "a list of selectors such as [[\"aria/Sign in\"], [\"#submit\"]]"
	return key{"selectors", func(st *scenario.Step, v any) string {
		list, ok := v.([]any)
		var selectors scenario.Selectors
		for _, item := range list {
			links, isList := item.([]any)
			if !isList {
				links = []any{item}
			}
			var chain []string
			for _, link := range links {
				s, isText := link.(string)
				chain, ok = append(chain, escape(s)), ok && isText
			}
			if len(chain) > 0 {
				selectors = append(selectors, chain)
			}
		}
		if !ok || len(selectors) == 0 {
			return want
		}
		st.Selectors = selectors
		return ""
	}, func(st *scenario.Step) any {
		if len(st.Selectors) == 0 {
			return nil
		}
		list := make([]any, len(st.Selectors))
		for i, chain := range st.Selectors {
			links := make([]any, len(chain))
			for j, link := range chain {
				links[j] = link
			}
			list[i] = links
		}
		return list
	}}
}

func valueKey() key {
	return key{"value", func(st *scenario.Step, v any) string {
		s, ok := v.(string)
		if !ok {
			return wantText
		}
		st.Value = new(escape(s))
		return ""
	}, func(st *scenario.Step) any {
		if st.Value == nil {
			return nil
		}
		return *st.Value
	}}
}

func countKey() key {
	return key{"count", func(st *scenario.Step, v any) string {
		n, ok := wholeNumber(v)
		if !ok {
			return "a whole number from 0"
		}
		st.Count = &n
		return ""
	}, func(st *scenario.Step) any {
		if st.Count == nil {
			return nil
		}
		return float64(*st.Count)
	}}
}

func visibleKey() key {
	return key{"visible", func(st *scenario.Step, v any) string {
		on, ok := v.(bool)
		if !ok {
			return wantSwitch
		}
		st.Visible = &on
		return ""
	}, func(st *scenario.Step) any {
		if st.Visible == nil {
			return nil
		}
		return *st.Visible
	}}
}

func attributesKey() key {
	return key{"attributes", func(st *scenario.Step, v any) string {
		object, ok := v.(map[string]any)
		attributes := map[string]string{}
		for name, value := range object {
			s, isText := value.(string)
			attributes[name], ok = escape(s), ok && isText
		}
		if !ok {
			return "an object whose values are texts"
		}
		st.Attributes = attributes
		if len(attributes) == 0 {
			st.Attributes = nil
		}
		return ""
	}, func(st *scenario.Step) any {
		if len(st.Attributes) == 0 {
			return nil
		}
		object := map[string]any{}
		for name, value := range st.Attributes {
			object[name] = value
		}
		return object
	}}
}

func propertiesKey() key {
	return key{"properties", func(st *scenario.Step, v any) string {
		object, ok := v.(map[string]any)
		if !ok {
			return "an object"
		}
		st.Properties = nil
		if len(object) > 0 {
			st.Properties, _ = mapTexts(object, escape).(map[string]any)
		}
		return ""
	}, func(st *scenario.Step) any {
		if len(st.Properties) == 0 {
			return nil
		}
		return mapTexts(st.Properties, func(s string) string { return s })
	}}
}

// escape makes a template of a text that stands for itself.
func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// unescape is the way back.
func unescape(s string) string { return strings.ReplaceAll(s, "$${", "${") }

// changeTexts copies a step with each of its templates changed.
func changeTexts(st *scenario.Step, change func(string) string) scenario.Step {
	out := *st
	for _, text := range []*string{&out.URL, &out.Target, &out.Key, &out.Expression} {
		*text = change(*text)
	}
	if st.Value != nil {
		out.Value = new(change(*st.Value))
	}
	out.Selectors = nil
	for _, chain := range st.Selectors {
		links := make([]string, len(chain))
		for i, link := range chain {
			links[i] = change(link)
		}
		out.Selectors = append(out.Selectors, links)
	}
	out.Attributes = maps.Clone(st.Attributes)
	for name, value := range st.Attributes {
		out.Attributes[name] = change(value)
	}
	if st.Properties != nil {
		out.Properties, _ = mapTexts(st.Properties, change).(map[string]any)
	}
	out.AssertedEvents = slices.Clone(st.AssertedEvents)
	for i, event := range st.AssertedEvents {
		out.AssertedEvents[i].URL, out.AssertedEvents[i].Title = change(event.URL), change(event.Title)
	}
	return out
}

// mapTexts copies a JSON value with each of its texts changed.
func mapTexts(value any, change func(string) string) any {
	switch v := value.(type) {
	case string:
		return change(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mapTexts(item, change)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = mapTexts(item, change)
		}
		return out
	}
	return value
}

// unresolved lists the names in a template that have no value outside a run.
func unresolved(template string, values map[string]string) []string {
	names, err := vars.References(template)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(names, func(name string) bool { _, ok := values[name]; return ok })
}
