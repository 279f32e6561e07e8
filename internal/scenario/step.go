package scenario

import "slices"

// StepType names what a step does. The browser types and their keys are those of Chrome DevTools Recorder.
type StepType string

// The step types.
const (
	StepNavigate       StepType = "navigate"
	StepSetViewport    StepType = "setViewport"
	StepClick          StepType = "click"
	StepChange         StepType = "change"
	StepWaitForElement StepType = "waitForElement"
	StepHTTP           StepType = "http"
)

// Browser reports whether the step runs in Chromium.
func (t StepType) Browser() bool { return t != StepHTTP }

// commonKeys may stand on any step.
var commonKeys = []string{"id", "type", "timeout", "assert", "extract", "budget", "always", "optional"}

// StepKeys returns the keys that a step of the type may have beyond the common ones, and those that it must have.
// ok is false for an unknown type.
func StepKeys(t StepType) (allowed, required []string, ok bool) {
	switch t {
	case StepNavigate:
		return []string{"url", "assertedEvents"}, []string{"url"}, true
	case StepSetViewport:
		return []string{"width", "height", "deviceScaleFactor", "isMobile", "hasTouch", "isLandscape"}, []string{"width", "height"}, true
	case StepClick:
		return []string{"selectors", "offsetX", "offsetY", "assertedEvents"}, []string{"selectors"}, true
	case StepChange:
		return []string{"selectors", "value", "assertedEvents"}, []string{"selectors", "value"}, true
	case StepWaitForElement:
		return []string{"selectors", "operator", "count", "visible", "assertedEvents"}, []string{"selectors"}, true
	case StepHTTP:
		return []string{"method", "url", "headers", "body", "json", "form", "followRedirects", "protocol", "poll"}, []string{"url"}, true
	}
	return nil, nil, false
}

// StepTypes lists the step types in documentation order.
func StepTypes() []StepType {
	return []StepType{StepNavigate, StepSetViewport, StepClick, StepChange, StepWaitForElement, StepHTTP}
}

// CommonKeys returns the keys that any step may have.
func CommonKeys() []string { return slices.Clone(commonKeys) }

// Step is one step of a journey. Which fields may be set depends on Type: see StepKeys.
type Step struct {
	ID       string               `json:"id,omitempty"`
	Type     StepType             `json:"type"`
	Timeout  Duration             `json:"timeout,omitempty"` // of this step; zero = 5 s for browser steps, 10 s for http
	Assert   []Assertion          `json:"assert,omitempty"`
	Extract  map[string]Extractor `json:"extract,omitempty"`
	Budget   *Budget              `json:"budget,omitempty"`
	Always   bool                 `json:"always,omitempty"`   // runs after a failure too
	Optional bool                 `json:"optional,omitempty"` // its failure does not fail the run

	URL               string            `json:"url,omitempty"` // navigate, http
	AssertedEvents    []AssertedEvent   `json:"assertedEvents,omitempty"`
	Selectors         Selectors         `json:"selectors,omitempty"`
	OffsetX           *float64          `json:"offsetX,omitempty"` // CSS pixels from the element's left edge; absent = its centre
	OffsetY           *float64          `json:"offsetY,omitempty"`
	Value             string            `json:"value,omitempty"`    // change
	Operator          string            `json:"operator,omitempty"` // waitForElement: ">=" (default), "==", "<="
	Count             *int              `json:"count,omitempty"`    // waitForElement: how many; default 1
	Visible           *bool             `json:"visible,omitempty"`  // waitForElement: absent = do not care
	Width             int               `json:"width,omitempty"`    // setViewport, CSS pixels
	Height            int               `json:"height,omitempty"`
	DeviceScaleFactor float64           `json:"deviceScaleFactor,omitempty"`
	IsMobile          bool              `json:"isMobile,omitempty"`
	HasTouch          bool              `json:"hasTouch,omitempty"`
	IsLandscape       bool              `json:"isLandscape,omitempty"`
	Method            string            `json:"method,omitempty"` // http; default GET
	Headers           map[string]string `json:"headers,omitempty"`
	Body              string            `json:"body,omitempty"` // raw body; at most one of body, json, form
	JSON              any               `json:"json,omitempty"` // any YAML value; strings inside are templates
	Form              map[string]string `json:"form,omitempty"`
	FollowRedirects   *bool             `json:"followRedirects,omitempty"` // default true
	Protocol          Protocol          `json:"protocol,omitempty"`        // http; "" = as an app does: HTTP/2 where the server has it, else HTTP/1.1
	Poll              *Poll             `json:"poll,omitempty"`
}

// Protocol is the version of HTTP that an http step insists on, by its ALPN name.
type Protocol string

// The protocols. HTTP/2 and HTTP/3 are over TLS only.
const (
	ProtocolHTTP1 Protocol = "http/1.1"
	ProtocolHTTP2 Protocol = "h2"
	ProtocolHTTP3 Protocol = "h3"
)

// Protocols lists the names of the protocols in documentation order.
func Protocols() []string {
	return []string{string(ProtocolHTTP3), string(ProtocolHTTP2), string(ProtocolHTTP1)}
}

// Secure reports whether the protocol needs an https URL.
func (p Protocol) Secure() bool { return p == ProtocolHTTP2 || p == ProtocolHTTP3 }

// Poll repeats an http step until its assertions hold or For has passed. The step's duration is the time until they held, so
// a poll after a write measures how long the write took to become visible.
type Poll struct {
	Every Duration `json:"every"`
	For   Duration `json:"for"`
}

// AssertedEvent is an event that a step must cause, in Recorder's form. Only navigation exists; URL is a glob, checked when set.
type AssertedEvent struct {
	Type  string `json:"type"`
	URL   string `json:"url,omitempty"`
	Title string `json:"title,omitempty"`
}

// Budget bounds what a step may cost. A breach degrades the run; it does not fail it. A zero field is no bound.
type Budget struct {
	Duration Duration `json:"duration,omitempty"`
	LCP      Duration `json:"lcp,omitempty"`
	Bytes    Bytes    `json:"bytes,omitempty"`
}

// Extractor takes a value out of a response or a page into a variable. Exactly one source is set; Regex, where set, is applied
// to what the source gave and its first group (or the whole match) is the value.
type Extractor struct {
	Selector string `json:"selector,omitempty"` // browser: text of the element, or the value of an input
	JSON     string `json:"json,omitempty"`     // http: JSONPath (RFC 9535) into the body
	Header   string `json:"header,omitempty"`   // http
	Regex    string `json:"regex,omitempty"`    // alone on an http step: applied to the body
}

// Assertion is one check. Exactly one subject is set; the comparators apply to header and json only, and without one of them
// the subject must merely be there.
type Assertion struct {
	Status  StatusSet `json:"status,omitempty"`  // the response's (navigate: the document's) status
	Header  string    `json:"header,omitempty"`  // name of a response header
	JSON    string    `json:"json,omitempty"`    // JSONPath into the body
	Body    string    `json:"body,omitempty"`    // text that the body contains
	Cache   Strings   `json:"cache,omitempty"`   // CDN cache state, one of those listed
	Title   string    `json:"title,omitempty"`   // glob over the page's title
	URL     string    `json:"url,omitempty"`     // glob over the page's URL
	Visible string    `json:"visible,omitempty"` // selector with at least one visible match
	Hidden  string    `json:"hidden,omitempty"`  // selector with no visible match

	Equals   *Text  `json:"equals,omitempty"`
	Contains string `json:"contains,omitempty"`
	Matches  string `json:"matches,omitempty"` // regular expression (RE2)
	Not      bool   `json:"not,omitempty"`     // inverts the check
}

// Subject names the assertion's subject by its key, "" where none is set.
func (a *Assertion) Subject() string {
	if s := a.subjects(); len(s) > 0 {
		return s[0]
	}
	return ""
}

// subjects lists the keys of all subjects that are set.
func (a *Assertion) subjects() []string {
	var out []string
	add := func(set bool, key string) {
		if set {
			out = append(out, key)
		}
	}
	add(len(a.Status) > 0, "status")
	add(a.Header != "", "header")
	add(a.JSON != "", "json")
	add(a.Body != "", "body")
	add(len(a.Cache) > 0, "cache")
	add(a.Title != "", "title")
	add(a.URL != "", "url")
	add(a.Visible != "", "visible")
	add(a.Hidden != "", "hidden")
	return out
}
