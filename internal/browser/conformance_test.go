package browser

import (
	"encoding/json"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// row is one step in real Chromium against a page of testdata/conformance. Rows without a page go on where the one before left off.
type row struct {
	name     string
	page     string // opened before the step
	before   string // a step that must pass before it
	step     string // as Recorder writes it, but for our keys
	says     string // what #said of the step's frame shows afterwards; "" = not looked at
	class    runs.Class
	detail   string // of the failure; "" = the step passes
	selector string // that won; "" = not looked at
	skipped  bool
	settled  *bool // whether the page was seen to become quiet; nil = not looked at
}

// conform runs the rows one after another in one browser.
func conform(t *testing.T, device string, rows []row) {
	url := site(t)
	sc := scenario.Scenario{Device: device, Vars: map[string]scenario.Text{
		"here": scenario.Text(url + "/conformance"), "other": scenario.Text(strings.Replace(url, "127.0.0.1", "localhost", 1) + "/conformance"),
	}, Secrets: []string{"PASSWORD"}}
	j := open(t, sc, Options{})
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			j.t = t
			if r.page != "" {
				to := navigate(url + "/conformance/" + r.page)
				to.Settle = new(scenario.Duration) // no page is looked at for its vitals
				j.pass(to)
			}
			if r.before != "" {
				j.pass(stepOf(t, r.before))
			}
			j.check(r)
		})
		j.t = t
	}
}

func stepOf(t testing.TB, text string) scenario.Step {
	t.Helper()
	step := scenario.Step{Timeout: scenario.Duration(conformanceLimit)}
	if err := json.Unmarshal([]byte(text), &step); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return step
}

// conformanceLimit is what a step gets that names no timeout.
const conformanceLimit = 5e9

func (j *journey) check(r row) {
	j.t.Helper()
	step := stepOf(j.t, r.step)
	if r.says != "" {
		step.Assert = append(step.Assert, scenario.Assertion{Text: "#said", Equals: new(scenario.Text(r.says))})
	}
	got, err := j.do(step)
	if err != nil {
		j.t.Fatal(err)
	}
	if told := string(mustJSON(j.t, got)); strings.Contains(told, "correct") || strings.Contains(told, "horse") {
		j.t.Errorf("got %s, want nothing of a secret in it", told)
	}
	if r.class != "" {
		j.wantFailed(got, r.class, r.detail)
		return
	}
	if r.skipped {
		if got.State != runs.StepSkipped || got.Skipped != runs.SkipWhen {
			j.t.Errorf("got %+v, want it skipped", got)
		}
		return
	}
	if got.State != runs.StepPassed {
		j.t.Fatalf("got %s: %+v, want it to pass", got.State, got.Cause)
	}
	if r.settled != nil && (got.SettledMS != nil) != *r.settled {
		j.t.Errorf("settled: got %v, want it there: %v", got.SettledMS, *r.settled)
	}
	if r.selector != "" && got.Selector != r.selector {
		j.t.Errorf("selector that won: got %q, want %q", got.Selector, r.selector)
	}
}

func TestConformanceOfPointer(t *testing.T) {
	t.Parallel()
	conform(t, "", []row{
		{name: "click", page: "input.html", step: `{"type":"click","selectors":["#click"]}`, says: "click 0 1 mouse true"},
		{name: "click with offset", step: `{"type":"click","selectors":["#area"],"offsetX":30,"offsetY":40}`, says: "30,40"},
		{name: "click with one offset", step: `{"type":"click","selectors":["#area"],"offsetX":30}`, says: "30,50"},
		{name: "offset outside", step: `{"type":"click","selectors":["#area"],"offsetX":30,"offsetY":120,"timeout":"300ms"}`,
			class: runs.ClassTimeout, detail: "covered by"},
		{name: "click on a broken line", step: `{"type":"click","selectors":["#broken"]}`, says: "broken"},
		{name: "secondary button", step: `{"type":"click","selectors":["#click"],"button":"secondary"}`, says: "auxclick 2 1 mouse true"},
		{name: "auxiliary button", step: `{"type":"click","selectors":["#click"],"button":"auxiliary"}`, says: "auxclick 1 1 mouse true"},
		{name: "back button", step: `{"type":"click","selectors":["#down"],"button":"back"}`, says: "down 3 8"},
		{name: "forward button", step: `{"type":"click","selectors":["#down"],"button":"forward"}`, says: "down 4 16"},
		{name: "pen", step: `{"type":"click","selectors":["#click"],"deviceType":"pen"}`, says: "click 0 1 pen true"},
		{name: "held", step: `{"type":"click","selectors":["#held"],"duration":150}`, says: "held"},
		{name: "not held", step: `{"type":"click","selectors":["#held"]}`, says: "not held"},
		{name: "double click", step: `{"type":"doubleClick","selectors":["#double"]}`, says: "click1 click2 dblclick2"},
		{name: "hover", step: `{"type":"hover","selectors":["#menu"]}`, says: "hovered"},
		{name: "click on what a hover shows", step: `{"type":"click","selectors":["#item"]}`, says: "item"},
		{name: "scrolled to", step: `{"type":"click","selectors":["#away"]}`, says: "away"},
		{name: "hover without element", step: `{"type":"hover","selectors":["#none"],"timeout":"200ms"}`, class: runs.ClassTimeout, detail: "there is none"},
		{name: "scroll the page", page: "input.html", step: `{"type":"scroll","y":700}`, says: "page 0,700"},
		{name: "scroll the page back", step: `{"type":"scroll","x":0}`, says: "page 0,0"},
		{name: "scroll an element", step: `{"type":"scroll","selectors":["#box"],"x":20,"y":300}`, says: "box 20,300"},
		{name: "scroll without element", step: `{"type":"scroll","selectors":["#none"],"y":1,"timeout":"200ms"}`, class: runs.ClassTimeout, detail: "there is none"},
		{name: "viewport", step: `{"type":"setViewport","width":500,"height":400,"deviceScaleFactor":2,"isMobile":false,"hasTouch":true,"isLandscape":true,
			"assert":[{"expression":"innerWidth + ' ' + innerHeight + ' ' + devicePixelRatio + ' ' + screen.orientation.type + ' ' + navigator.maxTouchPoints",
			"equals":"500 400 2 landscape-primary 5"}]}`},
		{name: "touch", step: `{"type":"click","selectors":["#touch"],"deviceType":"touch"}`, says: "touchstart touchend clicktouch"},
		{name: "network conditions", step: `{"type":"emulateNetworkConditions","download":1,"upload":1,"latency":1}`},
		{name: "custom step", step: `{"type":"customStep","name":"any","parameters":{"a":1}}`},
	})
}

func TestConformanceOnPhone(t *testing.T) {
	t.Parallel()
	conform(t, "moto-g-power", []row{
		{name: "a click is the mouse's", page: "input.html", step: `{"type":"click","selectors":["#click"]}`, says: "click 0 1 mouse true"},
		{name: "unless it says touch", step: `{"type":"click","selectors":["#touch"],"deviceType":"touch"}`, says: "touchstart touchend clicktouch"},
		{name: "double tap", page: "input.html", step: `{"type":"doubleClick","selectors":["#touch"],"deviceType":"touch"}`,
			says: "touchstart touchend clicktouch touchstart touchend clicktouch"},
	})
}

func TestConformanceOfKeys(t *testing.T) {
	t.Parallel()
	down := func(key string) string { return `{"type":"keyDown","key":"` + key + `"}` }
	up := func(key string) string { return `{"type":"keyUp","key":"` + key + `"}` }
	value := func(key string, want string) string {
		return `{"type":"keyUp","key":"` + key + `","assert":[{"text":"#keys","equals":"` + want + `"}]}`
	}
	conform(t, "", []row{
		{name: "to the page", page: "input.html", step: down("Escape"), says: "Escape"},
		{name: "released", step: up("Escape")},
		{name: "text", before: `{"type":"click","selectors":["#keys"]}`, step: down("a"), says: "Escape a"},
		{name: "held", step: down("a"), says: "Escape a a!"},
		{name: "text is there", step: value("a", "aa")},
		{name: "shift", before: down("Shift"), step: down("KeyB"), says: "Escape a a! Shift B"},
		{name: "shift and mouse", before: up("KeyB"), step: `{"type":"click","selectors":["#click"]}`, says: "click 0 1 mouse true shift"},
		{name: "no shift any more", before: up("Shift"), step: value("Shift", "aaB")},
		{name: "a command types nothing", before: `{"type":"click","selectors":["#keys"]}`, step: down("Control")},
		{name: "select all", before: down("a"), step: value("a", "aaB")},
		{name: "released control", before: up("Control"), step: down("Backspace")},
		{name: "emptied", step: value("Backspace", "")},
		{name: "no such key on a US keyboard", before: down("€"), step: value("€", "€")},
		{name: "enter", step: down("Enter"), says: "submitted"},
		{name: "unknown key", step: down("Return"), class: runs.ClassScript, detail: `got key "Return"`},
	})
}

func TestConformanceOfChange(t *testing.T) {
	t.Parallel()
	change := func(selector, value string) string {
		return `{"type":"change","selectors":["` + selector + `"],"value":"` + value + `"}`
	}
	long := strings.Repeat("0123456789", 12)
	conform(t, "", []row{
		{name: "key by key", page: "input.html", step: change("#text", "new"), says: "keydown 3 input 3 value new"},
		{name: "what is missing only", step: change("#text", "newer"), says: "keydown 5 input 5 value newer"},
		{name: "what is there already", step: change("#text", "newer"), says: "keydown 5 input 5 value newer"},
		{name: "emptied", step: change("#text", ""), says: "keydown 5 input 6 value"},
		{name: "emoji", step: change("#text", "a👍"), says: "keydown 6 input 8 value a👍"},
		{name: "secret", step: change("#text", "${secrets.PASSWORD}")},
		{name: "secret that is no option", step: `{"type":"change","selectors":["#select"],"value":"${secrets.PASSWORD}","timeout":"300ms"}`,
			class: runs.ClassTimeout, detail: "the option in #select"},
		{name: "secret that is no number", step: change("#range", "${secrets.PASSWORD}"), class: runs.ClassScript, detail: "refused"},
		{name: "secret that is no field's", step: change("#said", "${secrets.PASSWORD}"), class: runs.ClassScript, detail: "not a form field"},
		{name: "secret that is too long", step: change("#short", "${secrets.PASSWORD}"), class: runs.ClassScript, detail: "got 4 characters that differ"},
		{name: "long text", step: change("#long", long), says: "change 120 false"},
		{name: "longer than allowed", step: change("#long", strings.Repeat(long, 2)), class: runs.ClassScript, detail: "got 200 characters that differ, want 240"},
		{name: "field after field", step: change("#first", "12"), says: "12"},
		{name: "emptied by the page", step: change("#chips", `red\n`), says: "chip red"},
		{name: "number goes on", step: change("#number", "123"), says: "number 123"},
		{name: "number", step: change("#number", "7"), says: "number 7"},
		{name: "colour", step: change("#colour", "#ff0000"), says: "colour #ff0000"},
		{name: "range", step: change("#range", "7"), says: "range 7"},
		{name: "refused", step: change("#range", "seven"), class: runs.ClassScript, detail: "refused"},
		{name: "checkbox on", step: change("#check", "true"), says: "check true"},
		{name: "checkbox off", step: change("#check", ""), says: "check false"},
		{name: "checkbox by its value", step: change("#check", "yes"), says: "check true"},
		{name: "checkbox says off", step: change("#checked", "false"), says: "checked false"},
		{name: "checkbox that stays", step: change("#stubborn", "true"), class: runs.ClassScript, detail: "did not change"},
		{name: "radio", step: change("#r2", "2"), says: "radio true"},
		{name: "switch", step: change("#switch", "true"), says: "switch true"},
		{name: "select", step: change("#select", "a"), says: "select a"},
		{name: "select by text", step: change("#select", "Pear"), says: "select b"},
		{name: "select none", step: change("#select", ""), says: "select"},
		{name: "select what is not there", step: `{"type":"change","selectors":["#select"],"value":"c","timeout":"300ms"}`,
			class: runs.ClassTimeout, detail: "the option in #select"},
		{name: "multiple select", step: change("#many", "b"), says: "many b"},
		{name: "textarea", step: change("#area2", `a\nb`), says: `area "a\nb"`},
		{name: "rich text goes on", step: change("#rich", "richer"), says: "rich richer"},
		{name: "rich text", step: change("#rich", "poor"), says: "rich poor"},
		{name: "no field", step: change("#said", "x"), class: runs.ClassScript, detail: "not a form field"},
	})
}

func TestConformanceOfSelectors(t *testing.T) {
	t.Parallel()
	click := func(selectors ...string) string {
		body, err := json.Marshal(map[string]any{"type": "click", "selectors": alternatives(selectors), "timeout": "3s"})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	count := func(selector, equals string) string {
		return `{"type":"customStep","name":"x","timeout":"300ms","assert":[{"count":` + string(mustJSON(t, selector)) + `,"equals":"` + equals + `"}]}`
	}
	conform(t, "", []row{
		{name: "css", page: "find.html", step: click("[data-test='save']"), says: "saved", selector: "[data-test='save']"},
		{name: "css prefix", step: click("css/#save"), says: "saved"},
		{name: "aria", step: click("aria/Save all"), says: "saved", selector: "aria/Save all"},
		{name: "aria with role", step: click(`aria/Role[role="button"]`), says: "role button"},
		{name: "xpath", step: click("xpath///li[2]/b"), says: "second b"},
		{name: "xpath of text", step: click("xpath///li[1]/b/text()"), says: "first b"},
		{name: "text", step: click("text/(here)"), says: "it is"},
		{name: "text of a field", step: click("text/typed"), says: "input"},
		{name: "text of a slot", step: click("text/Slotted"), says: "slotted"},
		{name: "pierce", step: click("pierce/.deep"), says: "inner"},
		{name: "chain", step: click("outer-box >>> inner-box >>> button"), says: "inner"},
		{name: "chain to text", step: click("outer-box >>> text/Outer"), says: "outer"},
		{name: "chain to aria", step: click("outer-box >>> aria/Inner"), says: "inner"},
		{name: "chain from aria", step: click("aria/Save all >>> xpath/self::button"), says: "saved"},
		{name: "chain without shadow roots", step: click("ul >>> .off >>> b"), says: "second b"},
		{name: "pseudo text", step: click(`::-p-text(it's "quoted" \(here\))`), says: "it is"},
		{name: "pseudo text of a list", step: click("li::-p-text(Two) b"), says: "second b"},
		{name: "pseudo aria", step: click("button::-p-aria(Save all)"), says: "saved"},
		{name: "pseudo xpath", step: click("::-p-xpath(//li[1]/b)"), says: "first b"},
		{name: "deep combinator", step: `{"type":"click","selectors":[["outer-box >>> .deep"]]}`, says: "inner"},
		{name: "shadow combinator", step: `{"type":"click","selectors":[["outer-box >>>> button"]]}`, says: "outer"},
		{name: "visible one of several", step: click(".twice"), says: "the visible one"},
		{name: "cheap before dear", step: click("aria/Save all", "text/Nowhere", "#save"), says: "saved", selector: "#save"},
		{name: "dear where cheap fails", step: click("#nowhere", "aria/Save all"), says: "saved", selector: "aria/Save all"},
		{name: "dear where cheap is hidden", step: click("div[hidden] .twice", "aria/Save all"), says: "saved", selector: "aria/Save all"},
		{name: "one that is no selector", step: click("!!", "#save"), says: "saved", selector: "#save"},
		{name: "none is a selector", step: click("!!", "??"), class: runs.ClassScript, detail: "not a valid selector"},
		{name: "unknown pseudo", step: click("::-p-none(x)"), class: runs.ClassScript, detail: "not a valid selector"},
		{name: "count of all shadow roots", step: count("pierce/button", "6")},
		{name: "count of a list", step: count("b, li", "4")},
		{name: "count of aria", step: count("aria/Role", "2")},
		{name: "count of none", step: count("text/nowhere", "0")},
		{name: "no password", step: count("text/hunter2hunter2", "0")},
		{name: "wrong count", step: count("li", "3"), class: runs.ClassAssertion, detail: "got 2, want 3"},
	})
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestConformanceOfWaiting(t *testing.T) {
	t.Parallel()
	click := `{"type":"click","selectors":["#b"]}`
	never := `{"type":"click","selectors":["#b"],"timeout":"300ms"}`
	element := func(more string) string { return `{"type":"waitForElement","selectors":[".row"]` + more + `}` }
	soon := func(more string) string { return element(more + `,"timeout":"300ms"`) }
	expression := func(source string) string {
		return `{"type":"waitForExpression","expression":"` + source + `","timeout":"700ms"}`
	}
	conform(t, "", []row{
		{name: "hidden", page: "wait.html?hidden", step: never, class: runs.ClassTimeout, detail: "it is hidden"},
		{name: "unhidden", page: "wait.html?unhidden", step: click, says: "pressed"},
		{name: "invisible", page: "wait.html?invisible", step: never, class: runs.ClassTimeout, detail: "it is hidden"},
		{name: "covered", page: "wait.html?covered", step: never, class: runs.ClassTimeout, detail: "covered by div#cover"},
		{name: "hover of covered", step: `{"type":"hover","selectors":["#b"],"timeout":"200ms"}`, class: runs.ClassTimeout, detail: "covered by div#cover"},
		{name: "uncovered", page: "wait.html?uncovered", step: click, says: "pressed"},
		{name: "disabled", page: "wait.html?disabled", step: never, class: runs.ClassTimeout, detail: "it is disabled"},
		{name: "hover of disabled", step: `{"type":"hover","selectors":["#b"]}`},
		{name: "disabled by aria", page: "wait.html?ariadisabled", step: never, class: runs.ClassTimeout, detail: "it is disabled"},
		{name: "enabled", page: "wait.html?enabled", step: click, says: "pressed"},
		{name: "moving", page: "wait.html?moving", step: click, says: "pressed"},
		{name: "restless", page: "wait.html?restless", step: never, class: runs.ClassTimeout, detail: "it is moving"},
		{name: "detached", page: "wait.html?detached", step: click, says: "pressed"},
		{name: "late", page: "wait.html?late", step: click, says: "pressed"},
		{name: "never", step: `{"type":"click","selectors":["#never"],"timeout":"200ms"}`, class: runs.ClassTimeout, detail: "#never: there is none"},

		{name: "element", page: "wait.html?rows", step: element(``)},
		{name: "as many", step: element(`,"operator":"==","count":3`)},
		{name: "at most", step: element(`,"operator":"<=","count":3`)},
		{name: "at least", step: soon(`,"count":4`), class: runs.ClassTimeout, detail: "got 3 elements, want >= 4"},
		{name: "wrong operator", step: soon(`,"operator":"<=","count":2`), class: runs.ClassTimeout, detail: "got 3 elements, want <= 2"},
		{name: "visible ones", step: element(`,"operator":"==","count":2,"visible":true`)},
		{name: "visible where none is", step: `{"type":"waitForElement","selectors":["i[hidden]"],"visible":true,"timeout":"300ms"}`,
			class: runs.ClassTimeout, detail: "got 0 visible elements"},
		{name: "not visible", step: `{"type":"waitForElement","selectors":["i[hidden]"],"visible":false}`},
		{name: "not there", step: `{"type":"waitForElement","selectors":["#none"],"visible":false}`},
		{name: "none", step: `{"type":"waitForElement","selectors":["#none"],"operator":"==","count":0}`},
		{name: "not visible where one is", step: soon(`,"visible":false`), class: runs.ClassTimeout, detail: "want not >= 1"},
		{name: "attributes of all", step: soon(`,"attributes":{"data-k":"v"}`), class: runs.ClassTimeout, detail: "all with the attributes"},
		{name: "attributes of the visible", step: element(`,"visible":true,"attributes":{"data-k":"v"}`)},
		{name: "properties", step: element(`,"properties":{"tagName":"I"}`)},
		{name: "wrong property", step: soon(`,"properties":{"tagName":"B"}`), class: runs.ClassTimeout, detail: "got 3 elements"},
		{name: "growing", page: "wait.html?growing", step: element(`,"count":4`)},
		{name: "going", page: "wait.html?going", step: `{"type":"waitForElement","selectors":["#b"],"visible":false}`},
		{name: "properties of the page's own", page: "wait.html?property", step: element(`,"properties":{"model":{"state":"ready"}}`)},
		{name: "properties by aria", step: `{"type":"waitForElement","selectors":["aria/Press"],"properties":{"model":{"size":3}}}`},
		{name: "wrong property by aria", step: `{"type":"waitForElement","selectors":["aria/Press"],"properties":{"model":{"size":4}},"timeout":"300ms"}`,
			class: runs.ClassTimeout, detail: "got 1 elements"},
		{name: "wrong property of the page's own", step: soon(`,"properties":{"model":{"size":4}}`), class: runs.ClassTimeout, detail: "properties"},

		{name: "expression", page: "wait.html?value", step: expression("app.ready")},
		{name: "promise", step: expression("app.load()")},
		{name: "never true", step: expression("app.ready === 1"), class: runs.ClassTimeout, detail: "it is false"},
		{name: "throws", step: expression("app.none.x"), class: runs.ClassTimeout, detail: "throws TypeError"},
		{name: "not JavaScript", step: expression("app ready"), class: runs.ClassScript, detail: "SyntaxError"},
		{name: "expression over a navigation", page: "wait.html?leaving", step: expression("document.title === 'Find'")},
	})
}

func TestConformanceOfFrames(t *testing.T) {
	t.Parallel()
	in := func(frame, step string) string { return `{"frame":` + frame + `,` + step[1:] }
	at := func(target, step string) string { return `{"target":"` + target + `",` + step[1:] }
	press := `{"type":"click","selectors":["#b"]}`
	fill := `{"type":"change","selectors":["aria/[role=\"textbox\"]"],"value":"typed"}`
	never := `{"type":"click","selectors":["#b"],"timeout":"800ms"}`
	other, opened := "${vars.other}/inner.html?other,nested", "${vars.here}/opened.html"
	conform(t, "", []row{
		{name: "frame of the same process", page: "frames.html", step: in("[0]", press), says: "pressed same"},
		{name: "frame of another process", step: in("[1]", press), says: "pressed other"},
		{name: "frame in a frame", step: in("[1,0]", press), says: "pressed below"},
		{name: "frame of the page's site in a foreign one", step: in("[1,1]", press), says: "pressed back"},
		{name: "far down", step: in("[2]", press), says: "pressed away"},
		{name: "far down in another process", step: in("[3]", press), says: "pressed faraway"},
		{name: "late frame", step: in("[6]", press), says: "pressed late"},
		{name: "target is a frame", step: at(other, press), says: "pressed other"},
		{name: "frame of a target", step: at(other, in("[1]", press)), says: "pressed back"},
		{name: "typing", step: in("[0]", fill), says: "typed"},
		{name: "typing in another process", step: in("[1]", fill), says: "typed"},
		{name: "typing two processes down", step: in("[1,1]", fill), says: "typed"},
		{name: "key where the focus is", before: in("[1]", `{"type":"click","selectors":["#in"]}`), step: `{"type":"keyDown","key":"x","frame":[1]}`, says: "typedx"},
		{name: "expression in a frame", step: in("[1,0]", `{"type":"waitForExpression","expression":"location.search === '?below'"}`)},
		{name: "expression in the first", step: in("[0]", `{"type":"waitForExpression","expression":"flags[0] === 'same'"}`)},
		{name: "properties in a frame", step: in("[1,1]", `{"type":"waitForElement","selectors":["#in"],"properties":{"value":"typed"}}`)},
		{name: "scroll in a frame", step: in("[2]", `{"type":"scroll","y":100,"assert":[{"expression":"scrollY","equals":"100"},{"url":"*?away,tall"},{"title":"Inner"}]}`)},
		{name: "the page is not the frame", step: `{"type":"customStep","name":"x","assert":[{"text":"#said","equals":"top"}]}`},
		{name: "hidden frame", step: in("[4]", never), class: runs.ClassTimeout, detail: "it is"},
		{name: "covered frame", step: in("[5]", never), class: runs.ClassTimeout, detail: "covered by div#veil"},
		{name: "no such frame", step: in("[9]", never), class: runs.ClassTimeout, detail: "frame [9]: there are 7 at level 1"},
		{name: "no such frame below", step: in("[1,5]", never), class: runs.ClassTimeout, detail: "frame [1 5]: there are 2 at level 2"},
		{name: "navigation of a frame", step: in("[0]", `{"type":"click","selectors":["#on"],"assertedEvents":[{"type":"navigation","url":"*?moved","title":"Inn*"}],"assert":[{"url":"*?moved"}]}`)},
		{name: "navigate a frame", step: in("[0]", `{"type":"navigate","url":"${vars.other}/inner.html?sent"}`)},
		{name: "which is of another process now", step: in("[0]", press), says: "pressed sent"},
		{name: "navigate a frame of another process", step: in("[3]", `{"type":"navigate","url":"${vars.here}/inner.html?home"}`)},
		{name: "which is of the page's now", step: in("[3]", press), says: "pressed home"},
		{name: "navigate a frame to an error", step: in("[3]", `{"type":"navigate","url":"${vars.here}/../status/503?body=1"}`), class: runs.ClassHTTP5xx, detail: "got 503"},
		{name: "frame after the way back", before: `{"type":"navigate","url":"${vars.here}/find.html"}`,
			step: `{"type":"waitForExpression","expression":"history.back() ?? true","assertedEvents":[{"type":"navigation","url":"*/frames.html"}]}`},
		{name: "is a frame again", step: in("[1,1]", press), says: "pressed back"},
		{name: "navigation out of a frame", step: in("[1]", `{"type":"click","selectors":["#out"],"assertedEvents":[{"type":"navigation","url":"*/find.html"}]}`)},
		{name: "the page is the next", step: `{"type":"waitForElement","selectors":["#save"]}`},

		{name: "popup", page: "popup.html", before: `{"type":"click","selectors":["#open"]}`, step: at(opened, press), says: "pressed 1350"},
		{name: "typing in a popup", step: at(opened, fill), says: "typed"},
		{name: "key to a popup", step: at(opened, `{"type":"keyDown","key":"y"}`), says: "typedy"},
		{name: "frame of a popup", step: at(opened, in("[0]", press)), says: "pressed inpopup"},
		{name: "main meanwhile", step: `{"type":"waitForElement","selectors":["#open"]}`},
		{name: "navigation of a popup", step: at(opened, `{"type":"click","selectors":["#next"],"assertedEvents":[{"type":"navigation","url":"*?next"}]}`)},
		{name: "popup under its new address", step: at("${vars.here}/inner.html?next", press), says: "pressed next"},
		{name: "close a popup", step: at("${vars.here}/inner.html?next", `{"type":"close","assert":[{"title":"Opener"}]}`)},
		{name: "popup has gone", step: at("${vars.here}/inner.html?next", never), class: runs.ClassTimeout, detail: "no page or frame shows"},
		{name: "popup that comes late", before: `{"type":"click","selectors":["#late"]}`, step: at(opened+"?late", press), says: "pressed 1350"},
		{name: "close of a frame does nothing", step: at("${vars.here}/inner.html?inpopup", `{"type":"close"}`)},
		{name: "popup without opener", before: `{"type":"click","selectors":["#blank"]}`, step: at(opened+"?blank", press), says: "pressed 1350"},
		{name: "popup that goes by itself", before: `{"type":"click","selectors":["#window"]}`, step: at(opened+"?self", `{"type":"click","selectors":["#shut"]}`)},
		{name: "no such popup", step: at("${vars.here}/never.html", never), class: runs.ClassTimeout, detail: "/conformance/never.html"},
		{name: "close", step: `{"type":"close"}`},
		{name: "popup after main", step: at(opened+"?late", press), says: "pressed 1350"},
		{name: "main after close", step: press, class: runs.ClassScript, detail: "closed by step"},
		{name: "close after close", step: `{"type":"close"}`, class: runs.ClassScript, detail: "closed by step"},
	})
}

func TestConformanceOfOurs(t *testing.T) {
	t.Parallel()
	check := func(asserts string) string {
		return `{"type":"customStep","name":"x","timeout":"400ms","assert":[` + asserts + `]}`
	}
	when := func(condition string) string {
		return `{"type":"click","selectors":["#save"],"timeout":"500ms","when":{` + condition + `}}`
	}
	extract := func(x string) string {
		return `{"type":"customStep","name":"x","timeout":"400ms","extract":{"x":{` + x + `}},"assert":[{"expression":"true"}]}`
	}
	conform(t, "", []row{
		{name: "text", page: "find.html", step: check(`{"text":"li b","equals":"bold"},{"text":"#in","contains":"typed"},{"text":"li","matches":"^One"},{"text":"h2"}`)},
		{name: "wrong text", step: check(`{"text":"li b","equals":"thin"}`), class: runs.ClassAssertion, detail: `got "bold", want thin`},
		{name: "not the text", step: check(`{"text":"li b","equals":"thin","not":true}`)},
		{name: "text of none", step: check(`{"text":"#none","equals":"x"}`), class: runs.ClassAssertion, detail: "got nothing"},
		{name: "count", step: check(`{"count":"li"},{"count":"li","atLeast":2},{"count":"li","atMost":2},{"count":"li","equals":"2"},{"count":"#none","not":true}`)},
		{name: "count too low", step: check(`{"count":"li","atLeast":3}`), class: runs.ClassAssertion, detail: "got 2, want a number of at least 3"},
		{name: "expression", step: check(`{"expression":"document.links"},{"expression":"({a: [1]})","equals":"{\"a\":[1]}"},
			{"expression":"Promise.resolve(4)","atLeast":4,"atMost":4},{"expression":"null","not":true},{"expression":"typeof say","equals":"function"}`)},
		{name: "expression is false", step: check(`{"expression":"0"}`), class: runs.ClassAssertion, detail: "got 0, want something truthy"},
		{name: "expression throws", step: check(`{"expression":"nothing"}`), class: runs.ClassAssertion, detail: "ReferenceError"},
		{name: "visible and hidden", step: check(`{"visible":".twice"},{"hidden":"[hidden] .twice"}`)},
		{name: "not hidden", step: check(`{"hidden":".twice"}`), class: runs.ClassAssertion, detail: "1 visible of 2"},

		{name: "when", step: when(`"visible":"#save"`), says: "saved"},
		{name: "when not", step: when(`"visible":"#none"`), skipped: true},
		{name: "unless", step: when(`"visible":"#none","not":true`), says: "saved"},
		{name: "when hidden", step: when(`"hidden":"#none"`)},
		{name: "when at", step: when(`"url":"*/find.html"`)},
		{name: "when not at", step: when(`"url":"*/done.html"`), skipped: true},
		{name: "when titled", step: when(`"title":"Fi*"`)},
		{name: "when expression", step: when(`"expression":"1 + 1","equals":"2"`)},
		{name: "when not expression", step: when(`"expression":"nothing"`), skipped: true},
		{name: "when variable", step: when(`"var":"vars.here"`)}, // decided by who asks for the step
		{name: "when on a popup that is not there", step: `{"target":"${vars.here}/none.html","type":"click","selectors":["#b"],"when":{"visible":"#b"}}`, skipped: true},
		{name: "within", page: "wait.html?late", step: `{"type":"click","selectors":["#b"],"when":{"visible":"#b","within":"3s"}}`, says: "pressed"},
		{name: "not within", step: `{"type":"click","selectors":["#c"],"when":{"visible":"#c","within":"200ms"}}`, skipped: true},

		{name: "extract text", page: "find.html", step: extract(`"selector":"li","regex":"^(\\w+)"`)},
		{name: "it is there", step: check(`{"expression":"'${x}' === 'One'"}`)},
		{name: "extract attribute", step: extract(`"selector":"#save","attribute":"aria-label"`)},
		{name: "attribute is there", step: check(`{"expression":"'${x}' === 'Save all'"}`)},
		{name: "extract expression", step: extract(`"expression":"[1, 2]"`)},
		{name: "expression is there", step: check(`{"expression":"'${x}' === '[1,2]'"}`)},
		{name: "no attribute", step: extract(`"selector":"#save","attribute":"alt"`), class: runs.ClassTimeout, detail: "#save has no attribute alt"},
		{name: "no element", step: extract(`"selector":"#none"`), class: runs.ClassTimeout, detail: "there is no #none"},
		{name: "no value", step: extract(`"expression":"undefined"`), class: runs.ClassTimeout, detail: "has no value"},

		{name: "title of a navigation", step: `{"type":"navigate","url":"${vars.here}/wait.html?title","assertedEvents":[{"type":"navigation","url":"*?title","title":"Titled"}]}`},
		{name: "wrong title", step: `{"type":"navigate","url":"${vars.here}/wait.html?title","timeout":"900ms","assertedEvents":[{"type":"navigation","title":"Other"}]}`,
			class: runs.ClassAssertion, detail: `", want "Other"`},
		{name: "settles", step: `{"type":"customStep","name":"x","settle":"5s"}`, settled: new(true)},
		{name: "need not settle", step: `{"type":"customStep","name":"x"}`, settled: new(false)},
		{name: "settles after a navigation", step: `{"type":"navigate","url":"${vars.here}/find.html"}`, settled: new(true)},
		{name: "does not settle", step: `{"type":"navigate","url":"${vars.here}/find.html","settle":"0s"}`, settled: new(false)},
		{name: "problems", step: `{"type":"navigate","url":"${vars.here}/wait.html?noisy","assert":[{"consoleErrors":2},{"failedRequests":2}]}`},
		{name: "console errors", step: `{"type":"navigate","url":"${vars.here}/wait.html?noisy","assert":[{"consoleErrors":1}]}`,
			class: runs.ClassAssertion, detail: "consoleErrors: got 2, want at most 1"},
		{name: "failed requests", step: `{"type":"navigate","url":"${vars.here}/wait.html?noisy","assert":[{"failedRequests":1}]}`,
			class: runs.ClassAssertion, detail: "failedRequests: got 2, want at most 1"},
	})
}
