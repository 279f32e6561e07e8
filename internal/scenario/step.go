package scenario

import "slices"

// StepType names what a step does. The browser types and their keys are those of Chrome DevTools Recorder.
type StepType string

// The step types.
const (
	StepNavigate          StepType = "navigate"
	StepSetViewport       StepType = "setViewport"
	StepNetworkConditions StepType = "emulateNetworkConditions"
	StepClick             StepType = "click"
	StepDoubleClick       StepType = "doubleClick"
	StepHover             StepType = "hover"
	StepChange            StepType = "change"
	StepKeyDown           StepType = "keyDown"
	StepKeyUp             StepType = "keyUp"
	StepScroll            StepType = "scroll"
	StepClose             StepType = "close"
	StepWaitForElement    StepType = "waitForElement"
	StepWaitForExpression StepType = "waitForExpression"
	StepCustom            StepType = "customStep"
	StepHTTP              StepType = "http"
	StepTCP               StepType = "tcp"
	StepTLS               StepType = "tls"
	StepDNS               StepType = "dns"
	StepGRPC              StepType = "grpc"
	StepWebSocket         StepType = "websocket"
)

// Browser reports whether the step runs in Chromium.
func (t StepType) Browser() bool { return t != StepHTTP && !t.Bare() }

// Bare reports whether the step speaks a protocol other than HTTP, without a browser.
func (t StepType) Bare() bool {
	return t == StepTCP || t == StepTLS || t == StepDNS || t == StepGRPC || t == StepWebSocket
}

// stepKeys are the keys of a type beyond those that any step may have.
type stepKeys struct {
	stepType          StepType
	required, allowed []string
}

// The keys that several types share.
var (
	anyStep     = []string{"id", "type", "timeout", "when", "assert", "extract", "budget", "always", "optional", "recorder"}
	browserStep = []string{"target", "frame", "assertedEvents", "settle"}
	pointerKeys = append([]string{"offsetX", "offsetY", "button", "deviceType", "duration"}, browserStep...)
)

// keysOfSteps lists the types in documentation order.
var keysOfSteps = []stepKeys{
	{StepNavigate, []string{"url"}, browserStep},
	{StepSetViewport, []string{"width", "height"}, append([]string{"deviceScaleFactor", "isMobile", "hasTouch", "isLandscape"}, browserStep...)},
	{StepNetworkConditions, []string{"download", "upload", "latency"}, browserStep},
	{StepClick, []string{"selectors"}, pointerKeys},
	{StepDoubleClick, []string{"selectors"}, pointerKeys},
	{StepHover, []string{"selectors"}, browserStep},
	{StepChange, []string{"selectors", "value"}, browserStep},
	{StepKeyDown, []string{"key"}, browserStep},
	{StepKeyUp, []string{"key"}, browserStep},
	{StepScroll, nil, append([]string{"selectors", "x", "y"}, browserStep...)},
	{StepClose, nil, browserStep},
	{StepWaitForElement, []string{"selectors"}, append([]string{"operator", "count", "visible", "attributes", "properties"}, browserStep...)},
	{StepWaitForExpression, []string{"expression"}, browserStep},
	{StepCustom, []string{"name"}, append([]string{"parameters"}, browserStep...)},
	{StepHTTP, []string{"url"}, []string{
		"method", "headers", "body", "bodyBase64", "json", "form", "multipart", "auth", "clientCert", "followRedirects", "protocol", "ipVersion", "connection",
		"retries", "poll",
	}},
	{StepTCP, []string{"address"}, []string{"send", "ipVersion"}},
	{StepTLS, []string{"address"}, []string{"serverName", "clientCert", "ipVersion"}},
	{StepDNS, []string{"name"}, []string{"record", "server"}},
	{StepGRPC, []string{"address"}, []string{"service", "tls", "serverName", "clientCert", "headers", "ipVersion"}},
	{StepWebSocket, []string{"url"}, []string{"headers", "send", "auth", "clientCert", "ipVersion"}},
}

// StepKeys returns the keys that a step of the type may have beyond the common ones, and those among them that it must have.
// ok is false for an unknown type.
func StepKeys(t StepType) (allowed, required []string, ok bool) {
	for _, k := range keysOfSteps {
		if k.stepType == t {
			return slices.Concat(k.required, k.allowed), slices.Clone(k.required), true
		}
	}
	return nil, nil, false
}

// StepTypes lists the step types in documentation order.
func StepTypes() []StepType {
	types := make([]StepType, len(keysOfSteps))
	for i, k := range keysOfSteps {
		types[i] = k.stepType
	}
	return types
}

// CommonKeys returns the keys that any step may have.
func CommonKeys() []string { return slices.Clone(anyStep) }

// Step is one step of a journey. Which fields may be set depends on Type: see StepKeys. The names and meanings of browser steps' fields
// are those of Chrome DevTools Recorder, but for those that are said to be ours.
type Step struct {
	ID       string               `json:"id,omitempty"` // ours, as all down to Recorder
	Type     StepType             `json:"type"`
	Timeout  Duration             `json:"timeout,omitempty"` // of this step; zero = the scenario's stepTimeout, else 5 s for browser steps, 10 s for http
	When     *Condition           `json:"when,omitempty"`    // where it does not hold, the step is skipped
	Assert   []Assertion          `json:"assert,omitempty"`
	Extract  map[string]Extractor `json:"extract,omitempty"`
	Budget   *Budget              `json:"budget,omitempty"`
	Always   bool                 `json:"always,omitempty"`   // runs after a failure too
	Optional bool                 `json:"optional,omitempty"` // its failure does not fail the run
	Settle   *Duration            `json:"settle,omitempty"`   // what the page gets to become quiet; absent = the scenario's settle after a navigation, else nothing
	Recorder map[string]any       `json:"recorder,omitempty"` // what a recording had that is nothing here: kept for export

	Target         string          `json:"target,omitempty"` // "main" (default), or the URL of a popup or of a frame of another site
	Frame          []int           `json:"frame,omitempty"`  // the way from the target's main frame down: which child, and so on
	URL            string          `json:"url,omitempty"`    // navigate, http, websocket
	AssertedEvents []AssertedEvent `json:"assertedEvents,omitempty"`
	Selectors      Selectors       `json:"selectors,omitempty"`

	OffsetX           *float64          `json:"offsetX,omitempty"` // CSS pixels from the element's left edge; absent = its centre
	OffsetY           *float64          `json:"offsetY,omitempty"`
	Button            string            `json:"button,omitempty"`     // primary (default), secondary, auxiliary, back, forward
	DeviceType        string            `json:"deviceType,omitempty"` // mouse (default), pen, touch
	Duration          *float64          `json:"duration,omitempty"`   // how long the button is held, ms
	Value             *string           `json:"value,omitempty"`      // change
	Key               string            `json:"key,omitempty"`        // keyDown, keyUp: as in KeyboardEvent.key
	X                 *float64          `json:"x,omitempty"`          // scroll: to this place, CSS pixels
	Y                 *float64          `json:"y,omitempty"`
	Operator          string            `json:"operator,omitempty"`   // waitForElement: ">=" (default), "==", "<="
	Count             *int              `json:"count,omitempty"`      // waitForElement: how many; default 1
	Visible           *bool             `json:"visible,omitempty"`    // waitForElement: absent = do not care
	Attributes        map[string]string `json:"attributes,omitempty"` // waitForElement: all of those counted must have these
	Properties        map[string]any    `json:"properties,omitempty"` // waitForElement: all of those counted must have these DOM properties
	Expression        string            `json:"expression,omitempty"` // waitForExpression: JavaScript, until it is truthy
	Width             int               `json:"width,omitempty"`      // setViewport, CSS pixels
	Height            int               `json:"height,omitempty"`
	DeviceScaleFactor float64           `json:"deviceScaleFactor,omitempty"`
	IsMobile          bool              `json:"isMobile,omitempty"`
	HasTouch          bool              `json:"hasTouch,omitempty"`
	IsLandscape       bool              `json:"isLandscape,omitempty"`
	Download          *float64          `json:"download,omitempty"` // emulateNetworkConditions, bytes/s; not applied: a run's network is its own
	Upload            *float64          `json:"upload,omitempty"`
	Latency           *float64          `json:"latency,omitempty"` // ms
	Name              string            `json:"name,omitempty"`    // customStep, which does nothing; dns: the name that is asked for
	Parameters        any               `json:"parameters,omitempty"`

	Method          string            `json:"method,omitempty"` // http; default GET
	Headers         map[string]string `json:"headers,omitempty"`
	Body            string            `json:"body,omitempty"`       // text; at most one of body, bodyBase64, json, form, multipart
	BodyBase64      string            `json:"bodyBase64,omitempty"` // bytes
	JSON            any               `json:"json,omitempty"`       // any YAML value; strings inside are templates
	Form            map[string]string `json:"form,omitempty"`
	Multipart       []Part            `json:"multipart,omitempty"`
	Auth            *Auth             `json:"auth,omitempty"`
	ClientCert      *ClientCert       `json:"clientCert,omitempty"`
	FollowRedirects *bool             `json:"followRedirects,omitempty"` // default true
	Protocol        Protocol          `json:"protocol,omitempty"`        // http; "" = as an app does: HTTP/2 where the server has it, else HTTP/1.1
	IPVersion       int               `json:"ipVersion,omitempty"`       // 4 or 6: addresses of no other family are tried; 0 = either
	Connection      Connection        `json:"connection,omitempty"`      // http
	Retries         int               `json:"retries,omitempty"`         // http: further attempts after one without an answer, or with a status of 5xx
	Poll            *Poll             `json:"poll,omitempty"`

	Address    string `json:"address,omitempty"`    // tcp, tls, grpc: host:port
	Send       string `json:"send,omitempty"`       // tcp, websocket: what is sent first
	ServerName string `json:"serverName,omitempty"` // tls, grpc: the name that the certificate is for; empty = the address's host
	TLS        bool   `json:"tls,omitempty"`        // grpc
	Service    string `json:"service,omitempty"`    // grpc: whose health is asked for; empty = the server's
	Record     Record `json:"record,omitempty"`     // dns; default A
	Server     string `json:"server,omitempty"`     // dns: host:port of the server that is asked; empty = the network's resolver
}

// MainTarget is the target of steps that name none: the page of the run.
const MainTarget = "main"

// Condition decides whether a step runs. Exactly one subject is set. The comparators, of which at most one is set, apply to var and
// expression; without one the variable must have a value that is not empty, or the expression be truthy.
type Condition struct {
	Visible    string   `json:"visible,omitempty"`    // selector with at least one visible match; this and the next four on browser steps only
	Hidden     string   `json:"hidden,omitempty"`     // selector with no visible match
	URL        string   `json:"url,omitempty"`        // glob over the page's URL
	Title      string   `json:"title,omitempty"`      // glob over the page's title
	Expression string   `json:"expression,omitempty"` // JavaScript
	Var        string   `json:"var,omitempty"`        // name of a variable, such as vars.x or what a step extracted
	Equals     *Text    `json:"equals,omitempty"`
	Contains   string   `json:"contains,omitempty"`
	Matches    string   `json:"matches,omitempty"` // regular expression (RE2)
	Not        bool     `json:"not,omitempty"`
	Within     Duration `json:"within,omitempty"` // how long to wait for it to hold; zero = look once
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

// AssertedEvent is an event that a step must cause, in Recorder's form. Only navigation exists; URL and Title are globs, checked when
// set. What a recording says of them is kept in Recorder: Recorder's own runner does not check it.
type AssertedEvent struct {
	Type     string         `json:"type"`
	URL      string         `json:"url,omitempty"`
	Title    string         `json:"title,omitempty"`
	Recorder map[string]any `json:"recorder,omitempty"`
}

// Budget bounds what a step may cost. A breach degrades the run; it does not fail it. A zero field is no bound.
type Budget struct {
	Duration Duration `json:"duration,omitempty"`
	TTFB     Duration `json:"ttfb,omitempty"`
	FCP      Duration `json:"fcp,omitempty"`
	LCP      Duration `json:"lcp,omitempty"`
	INP      Duration `json:"inp,omitempty"`
	CLS      float64  `json:"cls,omitempty"`
	Requests int      `json:"requests,omitempty"`
	Bytes    Bytes    `json:"bytes,omitempty"`
}

// Extractor takes a value out of a response or a page into a variable. Exactly one source is set; Regex, where set, is applied
// to what the source gave and its first group (or the whole match) is the value.
type Extractor struct {
	Selector   string `json:"selector,omitempty"`   // browser: text of the element, or the value of an input
	Attribute  string `json:"attribute,omitempty"`  // browser: with selector, the value of this attribute instead
	Expression string `json:"expression,omitempty"` // browser: JavaScript
	JSON       string `json:"json,omitempty"`       // http: JSONPath (RFC 9535) into the body
	Header     string `json:"header,omitempty"`     // http
	Cookie     string `json:"cookie,omitempty"`     // of the journey's jar, as it is sent to the step's URL
	Expr       string `json:"expr,omitempty"`       // over the answer: see package answer
	Regex      string `json:"regex,omitempty"`      // alone on a step without a page: applied to the body
}

// Assertion is one check. Exactly one subject is set. The comparators, of which at most one is set, apply to header, json, cookie, text and
// expression, atLeast and atMost also to count and measure; without one the subject must merely be there, and the expression be truthy.
type Assertion struct {
	Status         StatusSet `json:"status,omitempty"`         // the response's (navigate: the document's) status
	Header         string    `json:"header,omitempty"`         // name of a response header
	JSON           string    `json:"json,omitempty"`           // JSONPath into the body
	Body           string    `json:"body,omitempty"`           // text that the body contains
	Cookie         string    `json:"cookie,omitempty"`         // name of a cookie of the journey's jar, as it is sent to the step's URL
	Expr           string    `json:"expr,omitempty"`           // expression over the answer (expr-lang), which must be true
	Schema         any       `json:"schema,omitempty"`         // JSON Schema (draft 2020-12) that the body satisfies
	Measure        Measure   `json:"measure,omitempty"`        // of the answer, compared as a number
	CertDays       *int      `json:"certDays,omitempty"`       // days that the server's certificates still hold, at least
	Cache          Strings   `json:"cache,omitempty"`          // CDN cache state, one of those listed
	Title          string    `json:"title,omitempty"`          // glob over the page's title
	URL            string    `json:"url,omitempty"`            // glob over the page's URL
	Visible        string    `json:"visible,omitempty"`        // selector with at least one visible match
	Hidden         string    `json:"hidden,omitempty"`         // selector with no visible match
	Text           string    `json:"text,omitempty"`           // selector whose first match's text, or an input's value, is compared
	Count          string    `json:"count,omitempty"`          // selector whose matches are counted
	Expression     string    `json:"expression,omitempty"`     // JavaScript in the page, whose value is compared
	ConsoleErrors  *int      `json:"consoleErrors,omitempty"`  // at most so many in the step, uncaught exceptions included
	FailedRequests *int      `json:"failedRequests,omitempty"` // at most so many in the step: no answer, or status 400 and over

	Equals   *Text    `json:"equals,omitempty"`
	Contains string   `json:"contains,omitempty"`
	Matches  string   `json:"matches,omitempty"` // regular expression (RE2)
	AtLeast  *float64 `json:"atLeast,omitempty"` // as a number
	AtMost   *float64 `json:"atMost,omitempty"`
	Not      bool     `json:"not,omitempty"` // inverts the check
}

// Subject names the assertion's subject by its key, "" where none is set.
func (a *Assertion) Subject() string {
	if s := a.Subjects(); len(s) > 0 {
		return s[0]
	}
	return ""
}

// Subjects lists the keys of all subjects that are set.
func (a *Assertion) Subjects() []string {
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
	add(a.Cookie != "", "cookie")
	add(a.Expr != "", "expr")
	add(a.Schema != nil, "schema")
	add(a.Measure != "", "measure")
	add(a.CertDays != nil, "certDays")
	add(len(a.Cache) > 0, "cache")
	add(a.Title != "", "title")
	add(a.URL != "", "url")
	add(a.Visible != "", "visible")
	add(a.Hidden != "", "hidden")
	add(a.Text != "", "text")
	add(a.Count != "", "count")
	add(a.Expression != "", "expression")
	add(a.ConsoleErrors != nil, "consoleErrors")
	add(a.FailedRequests != nil, "failedRequests")
	return out
}
