package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

var testFleet = scenario.Fleet{Regions: []string{"us", "eu", "apac"}, Networks: netprofile.Presets()}

func every(text string) (s scenario.Schedule) {
	if err := s.UnmarshalText([]byte(text)); err != nil {
		panic(err) // the tests' own
	}
	return s
}

func textOf(s string) *scenario.Text { return new(scenario.Text(s)) }

// The steps of sound, and what is in them.
const (
	size = iota
	home
	pw
	click
	wait
	api
	clean
	throttle
	double
	hover
	down
	up
	scroll
	expression
	custom
	closing
)

// sound is a scenario without problems: one step of each type, with all that may stand on it.
func sound() *scenario.Scenario {
	return &scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "shop", Kind: scenario.KindJourney, Description: "Buys", Owner: "team", Runbook: "https://runbooks.example.com",
		Engine: scenario.EngineShell, Device: "moto-g-power", Locale: "de-CH", Timezone: "Europe/Zurich", Geolocation: &scenario.Geolocation{Latitude: -90, Longitude: 180, Accuracy: 5},
		Schedule: every("@every 1m"), Timeout: scenario.Duration(45 * time.Second), StepTimeout: scenario.Duration(20 * time.Second), Settle: new(scenario.Duration(time.Second)),
		Regions: scenario.Strings{"us", "eu"}, Networks: []string{"none", "3g"},
		Vars:       map[string]scenario.Text{"base": "https://shop.example.com", "x": ""},
		RegionVars: map[string]map[string]scenario.Text{"eu": {"base": "https://eu.shop.example.com"}},
		Secrets:    []string{"PASSWORD"}, AllowHosts: []string{"shop.example.com", "*.cdn.example.com"},
		Steps:   append(pageSteps(), moreSteps()...),
		Routing: &scenario.Routing{Header: "X-Served-Region", Expect: map[string]string{"us": "us-1"}},
		SLOs: []scenario.SLO{
			{Name: "availability", Objective: 0.999, Window: slo.Window(30 * 24 * time.Hour)},
			{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Window: slo.Window(time.Hour), Step: "api", Threshold: scenario.Duration(time.Second)},
			{Name: "edge", SLI: scenario.SLICacheHit, Objective: 0.9, Window: slo.Window(time.Hour), Match: "*"},
			{Name: "routing", SLI: scenario.SLIRouting, Objective: 0.9, Calendar: scenario.CalendarMonth},
		},
		Alerts:    scenario.Alerts{Critical: true, Recovery: new(scenario.Duration(5 * time.Minute)), Labels: map[string]string{"tier": "gold"}},
		Artefacts: scenario.Artefacts{Screenshot: scenario.WhenAlways, HAR: scenario.WhenNever, Filmstrip: scenario.WhenConfirming, Mask: scenario.Strings{"#card", "text/Name"}},
		Recorder:  map[string]any{"selectorAttribute": "data-test"},
	}
}

// soundProtocols is one of all steps without a page, with all that sound does not have.
func soundProtocols() *scenario.Scenario {
	const second = scenario.Duration(time.Second)
	yes := true
	mutual := &scenario.ClientCert{Cert: "${vars.cert}", Key: "${secrets.KEY}"}
	return &scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "protocols", Schedule: every("@every 1m"), Timeout: scenario.Duration(45 * time.Second), Regions: scenario.Strings{"us"},
		Vars: map[string]scenario.Text{"cert": "PEM", "host": "shop.example.com"}, Secrets: []string{"KEY", "TOKEN"},
		Steps: []scenario.Step{
			{
				ID: "form", Type: scenario.StepHTTP, Method: "POST", URL: "https://${vars.host}/", Auth: &scenario.Auth{Basic: &scenario.Basic{User: "${region}", Password: "${secrets.TOKEN}"}},
				Multipart: []scenario.Part{{Name: "a", Value: "${secrets.TOKEN}"}, {Name: "b", Base64: "aGk=", Filename: "${region}.txt", ContentType: "text/plain"}},
				Retries:   5, IPVersion: 6, Connection: scenario.ConnectionFresh, ClientCert: mutual,
				Assert: []scenario.Assertion{
					{Cookie: "session", Matches: "^[a-f0-9]+$"}, {Expr: "status == 201 && len(json.items) > 0"}, {Measure: scenario.MeasureWait, AtLeast: new(0.0), AtMost: new(500.0)}, {CertDays: new(14)},
					{Schema: map[string]any{"type": "object", "required": []any{"id"}}, Not: true},
				},
				Extract: map[string]scenario.Extractor{"session": {Cookie: "session"}, "first": {Expr: "json.items[0].id"}},
			},
			{ID: "bytes", Type: scenario.StepHTTP, Method: "PUT", URL: "https://${vars.host}/${first}", BodyBase64: "aGk=", Auth: &scenario.Auth{Bearer: "${secrets.TOKEN}"}, Connection: scenario.ConnectionKept, IPVersion: 4},
			{ID: "tcp", Type: scenario.StepTCP, Address: "${vars.host}:5432", Send: "${secrets.TOKEN}", Assert: []scenario.Assertion{{Body: "ok"}}, Extract: map[string]scenario.Extractor{"banner": {Regex: "a(b)"}}},
			{ID: "tls", Type: scenario.StepTLS, Address: "${first}", ServerName: "${vars.host}", ClientCert: mutual, Assert: []scenario.Assertion{{CertDays: new(0)}, {Measure: scenario.MeasureTLS, AtMost: new(1e3)}}},
			{ID: "dns", Type: scenario.StepDNS, Name: "${vars.host}", Record: scenario.RecordAAAA, Server: "192.0.2.1:53", Assert: []scenario.Assertion{{JSON: "$[0]"}}},
			{ID: "grpc", Type: scenario.StepGRPC, Address: "[2001:db8::1]:443", Service: "${vars.host}", TLS: yes, ServerName: "shop", Headers: map[string]string{"x": "${secrets.TOKEN}"}, ClientCert: mutual, Timeout: second},
			{ID: "socket", Type: scenario.StepWebSocket, URL: "wss://${vars.host}/", Headers: map[string]string{"x": "y"}, Send: "ping", Auth: &scenario.Auth{Bearer: "${secrets.TOKEN}"}, ClientCert: mutual, Assert: []scenario.Assertion{{JSON: "$.pong", Equals: textOf("true")}}},
		},
		Routing: &scenario.Routing{JSON: "$.region", Match: "*/api/*"},
	}
}

// soundReplication and soundLeak are those of the other kinds.
func soundReplication() *scenario.Scenario {
	const second = scenario.Duration(time.Second)
	return &scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "replication", Kind: scenario.KindReplication, Schedule: every("@every 1m"), Timeout: 30 * second, Regions: scenario.Strings{"us", "eu"},
		Secrets: []string{"TOKEN"},
		Replication: &scenario.Replication{
			From: "us",
			Write: []scenario.Step{
				{ID: "put", Type: scenario.StepHTTP, Method: "POST", URL: "https://shop.example.com/", Auth: &scenario.Auth{Bearer: "${secrets.TOKEN}"}, Extract: map[string]scenario.Extractor{"order": {JSON: "$.id"}, "own": {Header: "ETag"}}},
				{ID: "undo", Type: scenario.StepHTTP, Method: "DELETE", URL: "https://shop.example.com/${order}", Headers: map[string]string{"If-Match": "${own}"}, Always: true},
			},
			Pass: []string{"order"}, VisibleWithin: 2 * second, Every: second / 20, Watch: second,
		},
		Steps:   []scenario.Step{{ID: "see", Type: scenario.StepHTTP, URL: "https://shop.example.com/${order}"}},
		Routing: &scenario.Routing{Regex: "region=(\\w+)"},
		SLOs:    []scenario.SLO{{Name: "fresh", SLI: scenario.SLIFreshness, Objective: 0.95, Window: slo.Window(time.Hour)}},
	}
}

func soundLeak() *scenario.Scenario {
	return &scenario.Scenario{
		APIVersion: scenario.APIVersion, Name: "leak", Kind: scenario.KindCacheLeak, Schedule: every("@every 1m"), Timeout: scenario.Duration(30 * time.Second), Regions: scenario.Strings{"all"},
		Secrets: []string{"FIRST", "SECOND"},
		Identities: []scenario.Identity{
			{Name: "alice", Vars: map[string]string{"password": "${secrets.FIRST}"}, Canary: "${canary}"}, {Name: "bob", Vars: map[string]string{"password": "${secrets.SECOND}"}, Canary: "${canary}"},
		},
		Steps:   []scenario.Step{{ID: "me", Type: scenario.StepHTTP, URL: "https://shop.example.com/", JSON: map[string]any{"p": "${vars.password}"}, Extract: map[string]scenario.Extractor{"canary": {JSON: "$.canary"}}}},
		Routing: &scenario.Routing{Addresses: map[string][]string{"us": {"203.0.113.0/24", "2001:db8::/32"}}},
	}
}

func pageSteps() []scenario.Step {
	const second = scenario.Duration(time.Second)
	yes, left := true, 3.5
	return []scenario.Step{
		{ID: "size", Type: scenario.StepSetViewport, Width: 360, Height: 800, DeviceScaleFactor: 2, IsMobile: true, HasTouch: true, IsLandscape: true},
		{
			ID: "home", Type: scenario.StepNavigate, URL: "${vars.base}/?at=${region}", AssertedEvents: []scenario.AssertedEvent{{Type: "navigation", URL: "*", Title: "Shop*", Recorder: map[string]any{"url": "${"}}},
			Assert: []scenario.Assertion{
				{Status: scenario.StatusSet{"200"}}, {Title: "Shop*"}, {Header: "X-Region", Equals: textOf("${expected.region}")}, {Visible: "#a"}, {Cache: scenario.Strings{"hit"}},
				{Text: "h1", Matches: "^S"}, {Count: "li", AtLeast: new(1.0), AtMost: new(2.0)}, {Count: "li", Equals: textOf("2")}, {Expression: "1 + 1", AtMost: new(2.0)}, {ConsoleErrors: new(0)}, {FailedRequests: new(3)},
			},
			Settle: new(second), Budget: &scenario.Budget{Duration: second, TTFB: second, FCP: second, LCP: second, INP: second, CLS: 0.1, Requests: 9, Bytes: 1000},
		},
		{ID: "pw", Type: scenario.StepChange, Selectors: scenario.Selectors{{"#pw"}}, Value: new("${secrets.PASSWORD}"), Timeout: 3 * second, Settle: new(scenario.Duration(0))},
		{
			ID: "go", Type: scenario.StepClick, Selectors: scenario.Selectors{{"#go"}}, OffsetX: &left, OffsetY: &left, Button: "auxiliary", DeviceType: "pen", Duration: &left, Target: "main", Frame: []int{0, 3},
			When:    &scenario.Condition{Visible: "#go", Not: true, Within: 20 * second},
			Extract: map[string]scenario.Extractor{"order": {Selector: "#o", Regex: `\d+`}, "link": {Selector: "a", Attribute: "href"}, "sum": {Expression: "1 + 1"}},
		},
		{
			ID: "wait", Type: scenario.StepWaitForElement, Selectors: scenario.Selectors{{"#${order}"}}, Operator: "==", Count: new(2), Visible: &yes, Attributes: map[string]string{"lang": "${region}"},
			Properties: map[string]any{"value": "${order}", "hidden": nil}, Assert: []scenario.Assertion{{URL: "*"}, {Hidden: "#b"}},
		},
	}
}

func moreSteps() []scenario.Step {
	const second = scenario.Duration(time.Second)
	yes, left := true, 3.5
	one := scenario.Selectors{{"#a"}}
	return []scenario.Step{
		{
			ID: "api", Type: scenario.StepHTTP, Method: "POST", URL: "${vars.base}/api", Headers: map[string]string{"Authorization": "${secrets.PASSWORD}"}, Protocol: scenario.ProtocolHTTP2,
			JSON: map[string]any{"a": []any{"${order}", 1.0}}, FollowRedirects: &yes, Poll: &scenario.Poll{Every: second, For: 9 * second}, When: &scenario.Condition{Var: "order", Contains: "1"},
			Assert: []scenario.Assertion{{JSON: "$.state", Contains: "paid"}, {Body: "ok", Not: true}}, Extract: map[string]scenario.Extractor{"id": {JSON: "$.id"}, "h": {Header: "X"}, "b": {Regex: "a(b)"}},
			Optional: true,
		},
		{ID: "clean", Type: scenario.StepHTTP, Method: "DELETE", URL: "${vars.base}/api/${id}", Form: map[string]string{"h": "${h}${b}"}, Always: true, When: &scenario.Condition{Var: "vars.x"}},
		{ID: "throttle", Type: scenario.StepNetworkConditions, Download: &left, Upload: &left, Latency: &left, Recorder: map[string]any{"x": nil}},
		{ID: "double", Type: scenario.StepDoubleClick, Selectors: one, Button: "back", DeviceType: "touch", Duration: &left, When: &scenario.Condition{Hidden: "#b"}},
		{ID: "hover", Type: scenario.StepHover, Selectors: one, When: &scenario.Condition{URL: "*/${order}"}},
		{ID: "down", Type: scenario.StepKeyDown, Key: "${order}", Target: "${vars.base}/pay", When: &scenario.Condition{Title: "Shop*"}},
		{ID: "up", Type: scenario.StepKeyUp, Key: "Enter", When: &scenario.Condition{Expression: "1", Equals: textOf("${order}")}},
		{ID: "scroll", Type: scenario.StepScroll, Selectors: one, X: &left, Y: &left, When: &scenario.Condition{Expression: "1", Matches: "^1$"}},
		{ID: "truth", Type: scenario.StepWaitForExpression, Expression: "`$${1}` === '${order}'"},
		{ID: "custom", Type: scenario.StepCustom, Name: "${", Parameters: []any{"${"}},
		{ID: "close", Type: scenario.StepClose},
		{ID: "note", Type: scenario.StepHTTP, Method: "PUT", URL: "${link}", Body: "${sum}"},
	}
}

// allSound are the scenarios without problems.
func allSound() []*scenario.Scenario {
	return []*scenario.Scenario{sound(), soundProtocols(), soundReplication(), soundLeak()}
}

func TestSound(t *testing.T) {
	for _, s := range allSound() {
		if problems := Check(s, testFleet); len(problems) != 0 {
			t.Errorf("validate %s: got %v, want no problems", s.Name, problems)
		}
	}
}

// The sound scenarios use every key that there is.
func TestSoundIsWhole(t *testing.T) {
	used := map[string]bool{}
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			walk(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, key := range v.MapKeys() {
				walk(v.MapIndex(key))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.Tag.Get("json") != "" {
					used[v.Type().Name()+"."+f.Name] = used[v.Type().Name()+"."+f.Name] || !v.Field(i).IsZero()
					walk(v.Field(i))
				}
			}
		}
	}
	for _, s := range allSound() {
		walk(reflect.ValueOf(s))
	}
	for key, is := range used {
		if !is {
			t.Errorf("%s is in none of the sound scenarios", key)
		}
	}
	if len(used) < 100 {
		t.Errorf("keys: got %d, want all", len(used))
	}
}

// change is one made to a sound scenario, and the paths of the problems that it gives.
type change struct {
	name   string
	change func(*scenario.Scenario)
	want   []string
}

// checkAll makes each change to a sound scenario of its own.
func checkAll(t *testing.T, sound func() *scenario.Scenario, cases []change) {
	t.Helper()
	for _, c := range cases {
		s := sound()
		c.change(s)
		var got []string
		for _, p := range Check(s, testFleet) {
			got = append(got, strings.Join(p.Path, "."))
			if p.Got == "" || p.Want == "" || !strings.Contains(p.Error(), "want "+p.Want) {
				t.Errorf("%s: got %+v, want got and want in words", c.name, p)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got problems at %v, want %v:\n%v", c.name, got, c.want, Check(s, testFleet))
		}
	}
}

// Each change gives exactly the problems named, by their paths.
func TestValidate(t *testing.T) {
	step := func(i int, change func(*scenario.Step)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) { change(&s.Steps[i]) }
	}
	when := func(i int, change func(*scenario.Condition)) func(*scenario.Scenario) {
		return func(s *scenario.Scenario) {
			s.Steps[i].When = &scenario.Condition{}
			change(s.Steps[i].When)
		}
	}
	cases := []change{
		{"version", func(s *scenario.Scenario) { s.APIVersion = "v2" }, []string{"apiVersion"}},
		{"no name", func(s *scenario.Scenario) { s.Name = "" }, []string{"scenario"}},
		{"name", func(s *scenario.Scenario) { s.Name = "Shop_1" }, []string{"scenario"}},
		{"kind", func(s *scenario.Scenario) { s.Kind = "replication" }, []string{"kind"}},
		{"engine", func(s *scenario.Scenario) { s.Engine = "gecko" }, []string{"engine"}},
		{"device", func(s *scenario.Scenario) { s.Device = "nokia" }, []string{"device"}},
		{"locale", func(s *scenario.Scenario) { s.Locale = "de_CH" }, []string{"locale"}},
		{"locale with a script", func(s *scenario.Scenario) { s.Locale = "zh-Hant-TW" }, nil},
		{"locale of a continent", func(s *scenario.Scenario) { s.Locale = "es-419" }, nil},
		{"time zone", func(s *scenario.Scenario) { s.Timezone = "Mars/Olympus" }, []string{"timezone"}},
		{"time zone of the machine", func(s *scenario.Scenario) { s.Timezone = "Local" }, []string{"timezone"}},
		{"time zone by a path", func(s *scenario.Scenario) { s.Timezone = "../UTC" }, []string{"timezone"}},
		{"latitude", func(s *scenario.Scenario) { s.Geolocation.Latitude = 90.1 }, []string{"geolocation"}},
		{"longitude", func(s *scenario.Scenario) { s.Geolocation.Longitude = -181 }, []string{"geolocation"}},
		{"accuracy", func(s *scenario.Scenario) { s.Geolocation.Accuracy = -1 }, []string{"geolocation"}},
		{"screenshot", func(s *scenario.Scenario) { s.Artefacts.Screenshot = "sometimes" }, []string{"artefacts.screenshot"}},
		{"har", func(s *scenario.Scenario) { s.Artefacts.HAR = "yes" }, []string{"artefacts.har"}},
		{"filmstrip", func(s *scenario.Scenario) { s.Artefacts.Filmstrip = "no" }, []string{"artefacts.filmstrip"}},
		{"mask of another tool", func(s *scenario.Scenario) { s.Artefacts.Mask[1] = "css=#card" }, []string{"artefacts.mask.1"}},
		{"no artefacts", func(s *scenario.Scenario) { s.Artefacts = scenario.Artefacts{} }, nil},
		{"step timeout over the whole", func(s *scenario.Scenario) { s.StepTimeout = s.Timeout + 1 }, []string{"stepTimeout"}},
		{"step timeout of the whole", func(s *scenario.Scenario) { s.StepTimeout = s.Timeout }, nil},
		{"no schedule", func(s *scenario.Scenario) { s.Schedule = scenario.Schedule{} }, []string{"schedule"}},
		{"no timeout", func(s *scenario.Scenario) { s.Timeout = 0 }, []string{"timeout"}},
		{"timeout too long", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(11 * time.Minute) }, []string{"timeout"}},
		{"timeout over the period", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(61 * time.Second) }, []string{"timeout"}},
		{"timeout of the whole period", func(s *scenario.Scenario) { s.Timeout = scenario.Duration(time.Minute) }, nil},
		{"timeout over the shortest gap of a cron expression", func(s *scenario.Scenario) {
			s.Schedule, s.Timeout = cron(t, "0,2,30 * * * *"), scenario.Duration(121*time.Second)
		}, []string{"timeout"}},
		{"timeout of that gap", func(s *scenario.Scenario) {
			s.Schedule, s.Timeout = cron(t, "0,2,30 * * * *"), scenario.Duration(2*time.Minute)
		}, nil},
		{"no regions", func(s *scenario.Scenario) { s.Regions = nil }, []string{"regions"}},
		{"all regions", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"all"} }, nil},
		{"all and one", func(s *scenario.Scenario) { s.Regions = scenario.Strings{"all", "us"} }, []string{"regions"}},
		{"unknown region", func(s *scenario.Scenario) { s.Regions[1] = "mars" }, []string{"regions.1"}},
		{"region twice", func(s *scenario.Scenario) { s.Regions[1] = "us" }, []string{"regions.1"}},
		{"no networks", func(s *scenario.Scenario) { s.Networks = nil }, nil},
		{"unknown network", func(s *scenario.Scenario) { s.Networks[0] = "5g" }, []string{"networks.0"}},
		{"network twice", func(s *scenario.Scenario) { s.Networks[1] = "none" }, []string{"networks.1"}},
		{"host with a port", func(s *scenario.Scenario) { s.AllowHosts[0] = "a:80" }, []string{"allowHosts.0"}},
		{"host empty", func(s *scenario.Scenario) { s.AllowHosts[1] = "" }, []string{"allowHosts.1"}},
		{"variable name", func(s *scenario.Scenario) { s.Vars["a-b"] = "" }, []string{"vars.a-b"}},
		{"variable in a variable", func(s *scenario.Scenario) { s.Vars["x"] = "${region}" }, []string{"vars.x"}},
		{"variable of an unknown region", func(s *scenario.Scenario) { s.RegionVars["mars"] = map[string]scenario.Text{"x": "y"} }, []string{"regionVars.mars"}},
		{"variable of one region only", func(s *scenario.Scenario) { s.RegionVars["eu"]["y"] = "z" }, []string{"regionVars.eu.y"}},
		{"secret name", func(s *scenario.Scenario) { s.Secrets = append(s.Secrets, "a b") }, []string{"secrets.1", "secrets.1"}},
		{"unused secret", func(s *scenario.Scenario) { s.Secrets = append(s.Secrets, "TOKEN") }, []string{"secrets.1"}},
		{"no steps", func(s *scenario.Scenario) { s.Steps, s.Secrets, s.SLOs = nil, nil, nil }, []string{"steps"}},
		{"too many steps", func(s *scenario.Scenario) {
			s.Steps = append(s.Steps, slices.Repeat([]scenario.Step{{Type: scenario.StepHTTP, URL: "x"}}, maxSteps)...)
		}, []string{"steps"}},
		{"no way to tell the region", func(s *scenario.Scenario) { s.Routing.Header = "" }, []string{"routing"}},
		{"two ways to tell the region", func(s *scenario.Scenario) { s.Routing.Regex = "(" }, []string{"routing", "routing.regex"}},
		{"routing of an unknown region", func(s *scenario.Scenario) { s.Routing.Expect["mars"] = "us" }, []string{"routing.expect.mars"}},

		{"step id", step(home, func(s *scenario.Step) { s.ID = "Home!" }), []string{"steps.1.id"}},
		{"step id twice", step(home, func(s *scenario.Step) { s.ID = "size" }), []string{"steps.1.id"}},
		{"step without an id", step(home, func(s *scenario.Step) { s.ID = "" }), nil},
		{"no step type", step(home, func(s *scenario.Step) { s.Type = "" }), []string{"steps.1.type"}},
		{"step type", step(api, func(s *scenario.Step) { s.Type = "fetch" }), []string{"steps.5.type"}},
		{"key of another type", step(size, func(s *scenario.Step) { s.URL = "x" }), []string{"steps.0.url"}},
		{"missing key", step(size, func(s *scenario.Step) { s.Width = 0 }), []string{"steps.0.width"}},
		{"settle on http", step(api, func(s *scenario.Step) { s.Settle = new(scenario.Duration(0)) }), []string{"steps.5.settle"}},
		{"frame on http", step(api, func(s *scenario.Step) { s.Frame = []int{0} }), []string{"steps.5.frame"}},
		{"button on hover", step(hover, func(s *scenario.Step) { s.Button = "primary" }), []string{"steps.9.button"}},
		{"no value", step(pw, func(s *scenario.Step) { s.Value = nil; s.Selectors = scenario.Selectors{{"${secrets.PASSWORD}"}} }), []string{"steps.2.value", "steps.2.selectors.0"}},
		{"an empty value", step(clean, func(s *scenario.Step) {
			*s = scenario.Step{Type: scenario.StepChange, Selectors: scenario.Selectors{{"#a"}}, Value: new("")}
		}), nil},
		{"no conditions", step(throttle, func(s *scenario.Step) { s.Upload, s.Latency = nil, nil }), []string{"steps.7.upload", "steps.7.latency"}},
		{"no key", step(down, func(s *scenario.Step) { s.Key = "" }), []string{"steps.10.key"}},
		{"no expression", step(expression, func(s *scenario.Step) { s.Expression = "" }), []string{"steps.13.expression"}},
		{"no name", step(custom, func(s *scenario.Step) { s.Name = "" }), []string{"steps.14.name"}},
		{"a scroll of the page", step(scroll, func(s *scenario.Step) { s.Selectors, s.X, s.Y = nil, nil, nil }), nil},
		{"selectors on close", step(closing, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#a"}} }), []string{"steps.15.selectors"}},
		{"button", step(click, func(s *scenario.Step) { s.Button = "left" }), []string{"steps.3.button"}},
		{"pointer", step(double, func(s *scenario.Step) { s.DeviceType = "finger" }), []string{"steps.8.deviceType"}},
		{"frame", step(click, func(s *scenario.Step) { s.Frame[1] = -1 }), []string{"steps.3.frame.1"}},
		{"no selectors", step(wait, func(s *scenario.Step) { s.Selectors = nil }), []string{"steps.4.selectors"}},
		{"method", step(api, func(s *scenario.Step) { s.Method = "get" }), []string{"steps.5.method"}},
		{"protocol", step(api, func(s *scenario.Step) { s.Protocol = "spdy" }), []string{"steps.5.protocol"}},
		{"protocol on another type", step(home, func(s *scenario.Step) { s.Protocol = scenario.ProtocolHTTP3 }), []string{"steps.1.protocol"}},
		{"protocol without tls", step(api, func(s *scenario.Step) { s.Protocol, s.URL = scenario.ProtocolHTTP3, "HTTP://shop.example.com" }), []string{"steps.5.protocol"}},
		{"plain protocol without tls", step(api, func(s *scenario.Step) { s.Protocol, s.URL = scenario.ProtocolHTTP1, "http://shop.example.com" }), nil},
		{"operator", step(wait, func(s *scenario.Step) { s.Operator = ">" }), []string{"steps.4.operator"}},
		{"two bodies", step(api, func(s *scenario.Step) { s.Body = "x" }), []string{"steps.5"}},
		{"poll", step(api, func(s *scenario.Step) { s.Poll.Every = 0 }), []string{"steps.5.poll"}},
		{"poll shorter than its interval", step(api, func(s *scenario.Step) { s.Poll.For = s.Poll.Every }), []string{"steps.5.poll"}},
		{"poll for nothing", step(api, func(s *scenario.Step) { s.Assert = nil }), []string{"steps.5.poll"}},
		{"step timeout", step(pw, func(s *scenario.Step) { s.Timeout = scenario.Duration(46 * time.Second) }), []string{"steps.2.timeout"}},
		{"event", step(home, func(s *scenario.Step) { s.AssertedEvents[0].Type = "click" }), []string{"steps.1.assertedEvents.0.type"}},
		{"template", step(home, func(s *scenario.Step) { s.URL = "${" }), []string{"steps.1.url"}},
		{"unknown variable", step(home, func(s *scenario.Step) { s.URL = "${vars.nope}" }), []string{"steps.1.url"}},
		{"variable of a later step", step(home, func(s *scenario.Step) { s.URL = "${order}" }), []string{"steps.1.url"}},
		{"template in a selector", step(click, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#a"}, {"#b", "${nope}"}} }), []string{"steps.3.selectors.1"}},
		{"template in a header", step(clean, func(s *scenario.Step) { s.Headers = map[string]string{"X": "${nope}"} }), []string{"steps.6.headers.X"}},
		{"template in json", step(api, func(s *scenario.Step) { s.JSON = []any{map[string]any{"a": "${nope}"}} }), []string{"steps.5.json"}},
		{"template in a form", step(clean, func(s *scenario.Step) { s.Form["h"] = "${nope}" }), []string{"steps.6.form.h"}},
		{"template in an event", step(home, func(s *scenario.Step) { s.AssertedEvents[0].URL = "${nope}" }), []string{"steps.1.assertedEvents.0.url"}},
		{"template in contains", step(api, func(s *scenario.Step) { s.Assert[0].Contains = "${nope}" }), []string{"steps.5.assert.0.contains"}},
		{"template in equals", step(home, func(s *scenario.Step) { s.Assert[2].Equals = textOf("${nope}") }), []string{"steps.1.assert.2.equals"}},
		{"template in a subject", step(home, func(s *scenario.Step) { s.Assert[3].Visible = "${nope}" }), []string{"steps.1.assert.3.visible"}},
		{"template in an event's title", step(home, func(s *scenario.Step) { s.AssertedEvents[0].Title = "${" }), []string{"steps.1.assertedEvents.0.title"}},
		{"template in a key", step(down, func(s *scenario.Step) { s.Key = "${nope}" }), []string{"steps.10.key"}},
		{"template in a target", step(down, func(s *scenario.Step) { s.Target = "${nope}" }), []string{"steps.10.target"}},
		{"template in an expression", step(expression, func(s *scenario.Step) { s.Expression = "`${i}`" }), []string{"steps.13.expression"}},
		{"template in an attribute", step(wait, func(s *scenario.Step) { s.Attributes["lang"] = "${nope}" }), []string{"steps.4.attributes.lang"}},
		{"template in a property", step(wait, func(s *scenario.Step) { s.Properties["value"] = []any{"${nope}"} }), []string{"steps.4.properties"}},
		{"secret in a property", step(wait, func(s *scenario.Step) { s.Properties["value"] = "${secrets.PASSWORD}" }), []string{"steps.4.properties"}},
		{"secret in an expression", step(expression, func(s *scenario.Step) { s.Expression = "'${secrets.PASSWORD}'" }), []string{"steps.13.expression"}},
		{"template in an expression asserted", step(home, func(s *scenario.Step) { s.Assert[8].Expression = "${nope}" }), []string{"steps.1.assert.8.expression"}},
		{"template in a text asserted", step(home, func(s *scenario.Step) { s.Assert[5].Text = "${nope}" }), []string{"steps.1.assert.5.text"}},
		{"template in an extracted expression", step(click, func(s *scenario.Step) { s.Extract["sum"] = scenario.Extractor{Expression: "`${i}`"} }), []string{"steps.3.extract.sum.expression"}},
		{"secret in a URL", step(home, func(s *scenario.Step) { s.URL = "${secrets.PASSWORD}" }), []string{"steps.1.url"}},
		{"secret in an assertion", step(api, func(s *scenario.Step) { s.Assert[1].Body = "${secrets.PASSWORD}" }), []string{"steps.5.assert.1.body"}},
		{"no subject", step(home, func(s *scenario.Step) { s.Assert[0] = scenario.Assertion{Not: true} }), []string{"steps.1.assert.0"}},
		{"two subjects", step(home, func(s *scenario.Step) { s.Assert[0].Title = "x" }), []string{"steps.1.assert.0"}},
		{"subject of another type", step(click, func(s *scenario.Step) { s.Assert = []scenario.Assertion{{Status: scenario.StatusSet{"200"}}} }), []string{"steps.3.assert.0.status"}},
		{"page subject on http", step(api, func(s *scenario.Step) { s.Assert[1] = scenario.Assertion{Visible: "#a"} }), []string{"steps.5.assert.1.visible"}},
		{"two comparators", step(api, func(s *scenario.Step) { s.Assert[0].Matches = "x" }), []string{"steps.5.assert.0"}},
		{"comparator without a value", step(home, func(s *scenario.Step) { s.Assert[1].Contains = "x" }), []string{"steps.1.assert.1"}},
		{"text and number", step(home, func(s *scenario.Step) { s.Assert[5].AtLeast = new(1.0) }), []string{"steps.1.assert.5"}},
		{"number without a value", step(home, func(s *scenario.Step) { s.Assert[1].AtLeast = new(1.0) }), []string{"steps.1.assert.1"}},
		{"text of a count", step(home, func(s *scenario.Step) { s.Assert[7] = scenario.Assertion{Count: "li", Contains: "2"} }), []string{"steps.1.assert.7"}},
		{"comparator of what is counted", step(home, func(s *scenario.Step) { s.Assert[9].Equals = textOf("1") }), []string{"steps.1.assert.9"}},
		{"fewer than no errors", step(home, func(s *scenario.Step) { s.Assert[9].ConsoleErrors = new(-1) }), []string{"steps.1.assert.9.consoleErrors"}},
		{"fewer than no failed requests", step(home, func(s *scenario.Step) { s.Assert[10].FailedRequests = new(-1) }), []string{"steps.1.assert.10.failedRequests"}},
		{"console on http", step(api, func(s *scenario.Step) { s.Assert[1] = scenario.Assertion{ConsoleErrors: new(0)} }), []string{"steps.5.assert.1.consoleErrors"}},
		{"count of another tool", step(home, func(s *scenario.Step) { s.Assert[6].Count = "xpath=//a" }), []string{"steps.1.assert.6.count"}},
		{"attribute of nothing", step(click, func(s *scenario.Step) { s.Extract["sum"] = scenario.Extractor{Expression: "1", Attribute: "x"} }), []string{"steps.3.extract.sum.attribute"}},
		{"regular expression", step(api, func(s *scenario.Step) { s.Assert[0] = scenario.Assertion{JSON: "$", Matches: "("} }), []string{"steps.5.assert.0.matches"}},
		{"name of an extract", step(api, func(s *scenario.Step) { s.Extract["a.b"] = scenario.Extractor{JSON: "$"} }), []string{"steps.5.extract.a.b"}},
		{"extract over a variable of ours", step(api, func(s *scenario.Step) { s.Extract["region"] = scenario.Extractor{JSON: "$"} }), []string{"steps.5.extract.region"}},
		{"extract from nothing", step(click, func(s *scenario.Step) { s.Extract["order"] = scenario.Extractor{Regex: "x"} }), []string{"steps.3.extract.order"}},
		{"extract from http on a page", step(click, func(s *scenario.Step) { s.Extract["order"] = scenario.Extractor{JSON: "$"} }), []string{"steps.3.extract.order"}},
		{"extract twice", step(api, func(s *scenario.Step) { s.Extract["id"] = scenario.Extractor{JSON: "$", Header: "X"} }), []string{"steps.5.extract.id"}},
		{"extract from a page on http", step(api, func(s *scenario.Step) { s.Extract["id"] = scenario.Extractor{Selector: "#a"} }), []string{"steps.5.extract.id"}},
		{"JSONPath of another kind", step(api, func(s *scenario.Step) { s.Extract["b"] = scenario.Extractor{JSON: "items.0.id"} }), []string{"steps.5.extract.b.json"}},
		{"XPath without its prefix", step(pw, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"//div[@id]"}} }), []string{"steps.2.selectors.0"}},
		{"another tool's selector", step(pw, func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#pay"}, {"css=#pay"}} }), []string{"steps.2.selectors.1"}},
		{"regular expression of an extract", step(api, func(s *scenario.Step) { s.Extract["b"] = scenario.Extractor{Regex: "("} }), []string{"steps.5.extract.b.regex"}},

		{"when nothing", when(click, func(*scenario.Condition) {}), []string{"steps.3.when"}},
		{"when two", when(click, func(c *scenario.Condition) { c.Visible, c.URL = "#a", "*" }), []string{"steps.3.when"}},
		{"when a page on http", when(api, func(c *scenario.Condition) { c.Visible = "#a" }), []string{"steps.5.when.visible"}},
		{"when compared without a value", when(click, func(c *scenario.Condition) { c.URL, c.Contains = "*", "a" }), []string{"steps.3.when"}},
		{"when compared twice", when(click, func(c *scenario.Condition) { c.Expression, c.Contains, c.Matches = "1", "a", "b" }), []string{"steps.3.when"}},
		{"when a bad expression", when(click, func(c *scenario.Condition) { c.Expression, c.Matches = "1", "(" }), []string{"steps.3.when.matches"}},
		{"when of another tool", when(click, func(c *scenario.Condition) { c.Hidden = "//div" }), []string{"steps.3.when.hidden"}},
		{"when an unknown variable", when(click, func(c *scenario.Condition) { c.Var = "order" }), []string{"steps.3.when.var"}},
		{"when a variable of ours", when(click, func(c *scenario.Condition) { c.Var = "region" }), nil},
		{"when a secret", when(click, func(c *scenario.Condition) { c.Var = "secrets.PASSWORD" }), []string{"steps.3.when.var"}},
		{"when a template", when(click, func(c *scenario.Condition) { c.URL = "${nope}" }), []string{"steps.3.when.url"}},
		{"when equal to a template", when(click, func(c *scenario.Condition) { c.Var, c.Equals = "region", textOf("${nope}") }), []string{"steps.3.when.equals"}},
		{"when later than the step", when(click, func(c *scenario.Condition) { c.Title, c.Within = "*", scenario.Duration(21*time.Second) }), []string{"steps.3.when.within"}},

		{"objective name", func(s *scenario.Scenario) { s.SLOs[0].Name = "" }, []string{"slos.0.name"}},
		{"objective name twice", func(s *scenario.Scenario) { s.SLOs[1].Name = "availability" }, []string{"slos.1.name"}},
		{"sli", func(s *scenario.Scenario) { s.SLOs[0].SLI = "speed" }, []string{"slos.0.sli"}},
		{"no objective", func(s *scenario.Scenario) { s.SLOs[0].Objective = 0 }, []string{"slos.0.objective"}},
		{"no window", func(s *scenario.Scenario) { s.SLOs[0].Window = 0 }, []string{"slos.0.window"}},
		{"window and calendar", func(s *scenario.Scenario) { s.SLOs[0].Calendar = scenario.CalendarWeek }, []string{"slos.0.calendar"}},
		{"by the week", func(s *scenario.Scenario) { s.SLOs[3].Calendar = scenario.CalendarWeek }, nil},
		{"calendar of a year", func(s *scenario.Scenario) { s.SLOs[3].Calendar = "year" }, []string{"slos.3.calendar"}},
		{"short recovery", func(s *scenario.Scenario) { s.Alerts.Recovery = new(scenario.Duration(10 * time.Second)) }, nil},
		{"recovery of nothing", func(s *scenario.Scenario) { s.Alerts.Recovery = new(scenario.Duration(0)) }, []string{"alerts.recovery"}},
		{"too short a recovery", func(s *scenario.Scenario) { s.Alerts.Recovery = new(scenario.Duration(9999 * time.Millisecond)) }, []string{"alerts.recovery"}},
		{"long recovery", func(s *scenario.Scenario) { s.Alerts.Recovery = new(scenario.Duration(24 * time.Hour)) }, nil},
		{"too long a recovery", func(s *scenario.Scenario) { s.Alerts.Recovery = new(scenario.Duration(24*time.Hour + 1)) }, []string{"alerts.recovery"}},
		{"label of an alert", func(s *scenario.Scenario) { s.Alerts.Labels["a-b"] = "c" }, []string{"alerts.labels.a-b"}},
		{"label without a name", func(s *scenario.Scenario) { s.Alerts.Labels[""] = "c" }, []string{"alerts.labels."}},
		{"label of Prometheus itself", func(s *scenario.Scenario) { s.Alerts.Labels["__name__"] = "c" }, []string{"alerts.labels.__name__"}},
		{"label that alerts have", func(s *scenario.Scenario) { s.Alerts.Labels["severity"] = "page" }, []string{"alerts.labels.severity"}},
		{"label without a value", func(s *scenario.Scenario) { s.Alerts.Labels["a"] = "" }, []string{"alerts.labels.a"}},
		{"label that is no text", func(s *scenario.Scenario) { s.Alerts.Labels["a"] = "\xff" }, []string{"alerts.labels.a"}},
		{"long label", func(s *scenario.Scenario) { s.Alerts.Labels["a"] = strings.Repeat("x", 200) }, nil},
		{"label that is too long", func(s *scenario.Scenario) { s.Alerts.Labels["a"] = strings.Repeat("x", 201) }, []string{"alerts.labels.a"}},
		{"too many labels", func(s *scenario.Scenario) {
			for i := range maxAlertLabels {
				s.Alerts.Labels[fmt.Sprintf("l%d", i)] = "x"
			}
		}, []string{"alerts.labels"}},
		{"latency without a threshold", func(s *scenario.Scenario) { s.SLOs[1].Threshold = 0 }, []string{"slos.1.threshold"}},
		{"threshold of another", func(s *scenario.Scenario) { s.SLOs[0].Threshold = 1 }, []string{"slos.0.threshold"}},
		{"unknown step", func(s *scenario.Scenario) { s.SLOs[1].Step = "pay" }, []string{"slos.1.step"}},
		{"step of another", func(s *scenario.Scenario) { s.SLOs[0].Step = "api" }, []string{"slos.0.step"}},
		{"match of another", func(s *scenario.Scenario) { s.SLOs[0].Match = "*" }, []string{"slos.0.match"}},
		{"routing objective without routing", func(s *scenario.Scenario) { s.Routing = nil }, []string{"slos.3.sli"}},
		{"too many objectives", func(s *scenario.Scenario) {
			for i := range maxSLOs {
				s.SLOs = append(s.SLOs, scenario.SLO{Name: fmt.Sprintf("o%d", i), Objective: 0.9, Window: slo.Window(time.Hour)})
			}
		}, []string{"slos"}},
	}
	checkAll(t, sound, cases)
}

func cron(t *testing.T, text string) scenario.Schedule {
	t.Helper()
	schedule, err := scenario.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return schedule
}
