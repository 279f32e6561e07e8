package recording

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenario/rules"
	"lastmile/internal/scenariofile/document"
)

var update = flag.Bool("update", false, "write the golden files anew")

// travel takes a recording through a scenario's YAML file and back, and returns that file.
func travel(t testing.TB, name string, data []byte) (yaml []byte, back []byte) {
	t.Helper()
	s, _, err := Read(name, data, Options{})
	if err != nil {
		t.Fatalf("read %s: %v", data, err)
	}
	yaml, err = document.Write(&s)
	if err != nil {
		t.Fatal(err)
	}
	var again scenario.Scenario
	if err := document.Read("x.yaml", yaml, &again).Err(); err != nil {
		t.Fatalf("read the file made of %s: %v\n%s", data, err, yaml)
	}
	if problems := rules.Check(&again, scenario.Fleet{Regions: []string{"us"}, Networks: netprofile.Presets()}); len(problems) > 0 {
		t.Fatalf("validate the file made of %s: %v\n%s", data, problems, yaml)
	}
	back, lost, err := Write(&again)
	if err != nil || len(lost) > 0 {
		t.Fatalf("write %s: lost %q and %v", yaml, lost, err)
	}
	return yaml, back
}

// decode reads JSON as any program does.
func decode(t testing.TB, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return v
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("find testdata: got %d files and %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		yaml, back := travel(t, file, data)
		if got, want := decode(t, back), decode(t, data); !reflect.DeepEqual(got, want) {
			t.Errorf("%s came back as\n%s", file, back)
		}
		golden := strings.TrimSuffix(file, ".json") + ".yaml"
		if *update {
			if err := os.WriteFile(golden, yaml, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(yaml) != string(want) {
			t.Errorf("%s gives:\n%s\nwant:\n%s", file, yaml, want)
		}
	}
}

// What Chrome writes comes back byte for byte but for the order of keys: the same bytes where that is Chrome's usual one.
func TestForm(t *testing.T) {
	const text = `{
    "title": "A & <b>",
    "steps": [
        {
            "type": "click",
            "target": "main",
            "selectors": [
                [
                    "#a > b"
                ]
            ],
            "offsetY": 1.5,
            "offsetX": 2,
            "assertedEvents": [
                {
                    "title": "",
                    "type": "navigation",
                    "url": "https://example.com/?a=1&b=2"
                }
            ]
        }
    ]
}
`
	if _, back := travel(t, "a.json", []byte(text)); string(back) != text {
		t.Errorf("got\n%s\nwant\n%s", back, text)
	}
}

func read(t *testing.T, text string) scenario.Scenario {
	t.Helper()
	s, _, err := Read("rec.json", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flow is a recording with these steps.
func flow(steps string) string { return `{"title": "t", "steps": [` + steps + `]}` }

func TestMeaning(t *testing.T) {
	data, err := os.ReadFile("testdata/everything.json")
	if err != nil {
		t.Fatal(err)
	}
	s := read(t, string(data))
	const ms = scenario.Duration(time.Millisecond)
	if s.Name != "everything" || s.Description != "Everything" || s.StepTimeout != 8000*ms || !reflect.DeepEqual(s.Recorder, map[string]any{"selectorAttribute": "data-testid"}) {
		t.Errorf("head: got %+v", s)
	}
	click := s.Steps[3]
	if click.Timeout != 1500*ms+500_000 || !reflect.DeepEqual(click.Selectors, scenario.Selectors{{"#buy"}, {"shop-app", "button"}}) || *click.OffsetY != 2.5 || click.DeviceType != "touch" || *click.Duration != 120 || !reflect.DeepEqual(click.Frame, []int{0, 1}) {
		t.Errorf("click: got %+v", click)
	}
	if !reflect.DeepEqual(click.Recorder, map[string]any{"selectors": []any{"#buy", []any{"shop-app", "button"}}}) {
		t.Errorf("click keeps %v, want its spelling of selectors", click.Recorder)
	}
	if event := s.Steps[2].AssertedEvents; len(event) != 1 || event[0].Type != "navigation" || event[0].Recorder != nil || s.Steps[2].Timeout != 15000*ms {
		t.Errorf("navigate: got %+v", s.Steps[2])
	}
	if got := *s.Steps[7].Value; got != "costs $${price}\nand $5, $$${x} too" {
		t.Errorf("value: got %q, want it to stand for itself", got)
	}
	wait := s.Steps[12]
	if *wait.Count != 3 || !*wait.Visible || wait.Attributes["data-x"] != "$${y}" || wait.Properties["value"] != "$${z}" || wait.Recorder != nil {
		t.Errorf("wait: got %+v", wait)
	}
	if got := s.Steps[14]; got.Name != "speedup" || !reflect.DeepEqual(got.Parameters, map[string]any{"factor": 2.0, "${": nil}) || got.Recorder != nil {
		t.Errorf("custom step: got %+v", got)
	}
	for i := range s.Steps {
		if i != 3 && s.Steps[i].Recorder != nil {
			t.Errorf("step %d keeps %v, want nothing: all of it has its field", i, s.Steps[i].Recorder)
		}
	}
}

// A kept spelling counts while it means what the step says.
func TestEdited(t *testing.T) {
	const step = `{"type": "click", "selectors": ["#a", []], "target": "", "timeout": 1.23456789, "note": 1, "offsetX": 1, "offsetY": 2, "assertedEvents": [{"type": "navigation", "url": "https://shop.example.com/done?id=7", "title": "Done", "x": 1}]}`
	eventless, _, _ := strings.Cut(step, `, "assertedEvents"`)
	cases := []struct {
		name string
		edit func(*scenario.Step)
		want string
	}{
		{"nothing", func(*scenario.Step) {}, step},
		{"selectors", func(s *scenario.Step) { s.Selectors = scenario.Selectors{{"#b"}} }, strings.Replace(step, `["#a", []]`, `[["#b"]]`, 1)},
		{"target", func(s *scenario.Step) { s.Target = "main" }, strings.Replace(step, `"target": ""`, `"target": "main"`, 1)},
		{"timeout", func(s *scenario.Step) { s.Timeout = scenario.Duration(time.Second) }, strings.Replace(step, "1.23456789", "1000", 1)},
		{"no timeout", func(s *scenario.Step) { s.Timeout = 0 }, strings.Replace(step, `"timeout": 1.23456789, `, "", 1)},
		{"type", func(s *scenario.Step) { s.Type, s.OffsetX, s.OffsetY = scenario.StepHover, nil, nil }, strings.Replace(strings.Replace(step, "click", "hover", 1), `"offsetX": 1, "offsetY": 2, `, "", 1)},
		{"an URL that fits", func(s *scenario.Step) { s.AssertedEvents[0].URL = "*/done*" }, step},
		{"an URL that does not", func(s *scenario.Step) { s.AssertedEvents[0].URL = "*/paid" }, strings.Replace(step, "https://shop.example.com/done?id=7", "*/paid", 1)},
		{"a title", func(s *scenario.Step) { s.AssertedEvents[0].Title = "Paid" }, strings.Replace(step, "Done", "Paid", 1)},
		{"no event", func(s *scenario.Step) { s.AssertedEvents = nil }, eventless + "}"},
		{"nothing kept", func(s *scenario.Step) { s.Recorder = nil }, strings.Replace(strings.Replace(strings.Replace(step, `["#a", []], "target": ""`, `[["#a"]]`, 1), `"note": 1, `, "", 1), "1.23456789", "1.234568", 1)},
		{"keys that say how it is watched", func(s *scenario.Step) {
			s.ID, s.Settle, s.Budget = "buy", new(scenario.Duration(0)), &scenario.Budget{Requests: 1}
		}, step},
	}
	for _, c := range cases {
		s := read(t, flow(step))
		c.edit(&s.Steps[0])
		body, lost, err := Write(&s)
		if err != nil || len(lost) > 0 {
			t.Errorf("%s: lost %q and %v", c.name, lost, err)
		}
		if got, want := decode(t, body), decode(t, []byte(flow(c.want))); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
	s := read(t, `{"title": "t", "timeout": 1.23456789, "x": 1, "steps": [{"type": "close"}]}`)
	s.StepTimeout, s.Description = scenario.Duration(time.Second), "other"
	body, _, err := Write(&s)
	if want := `{"title": "other", "timeout": 1000, "x": 1, "steps": [{"type": "close"}]}`; err != nil || !reflect.DeepEqual(decode(t, body), decode(t, []byte(want))) {
		t.Errorf("an edited head: got %s and %v, want %s", body, err, want)
	}
	s.Description = ""
	if body, _, err = Write(&s); err != nil || decode(t, body).(map[string]any)["title"] != "t" {
		t.Errorf("without a description: got %s and %v, want the scenario's name for a title", body, err)
	}
}

func TestLost(t *testing.T) {
	s := read(t, flow(`{"type": "navigate", "url": "https://shop.example.com/"}, {"type": "change", "selectors": ["#a"], "value": "x"}, {"type": "close"}`))
	s.Vars = map[string]scenario.Text{"base": "https://shop.example.com"}
	s.Device, s.StepTimeout = "moto-g-power", scenario.Duration(time.Minute)
	s.Steps[0].URL, s.Steps[0].Assert, s.Steps[0].Frame = "${vars.base}/a$${b}", []scenario.Assertion{{Title: "x"}}, []int{1}
	s.Steps[1].Value, s.Steps[1].Timeout, s.Steps[1].Optional = new("${secrets.PW} in ${region}"), scenario.Duration(40*time.Second), true
	s.Steps[2].When = &scenario.Condition{Title: "x"}
	s.Steps = append(s.Steps, scenario.Step{Type: scenario.StepHTTP, URL: "https://shop.example.com/"})
	body, lost, err := Write(&s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"device", "stepTimeout: 1m is written as 30s, the most that a recording may have",
		"steps[0].assert", "steps[0].frame", "steps[1].optional", "steps[1].timeout: 40s is written as 30s, the most that a recording may have",
		"steps[1]: ${secrets.PW} has a value in a run only", "steps[1]: ${region} has a value in a run only",
		"steps[2].when", "steps[3]: a recording has no http steps",
	}
	if !reflect.DeepEqual(lost, want) {
		t.Errorf("lost: got %q, want %q", lost, want)
	}
	rest := `{"title": "t", "timeout": 30000, "steps": [{"type": "navigate", "url": "https://shop.example.com/a${b}"}, {"type": "change", "selectors": ["#a"], "value": "${secrets.PW} in ${region}", "timeout": 30000}, {"type": "close"}]}`
	if !reflect.DeepEqual(decode(t, body), decode(t, []byte(rest))) {
		t.Errorf("what is left: got %s, want %s", body, rest)
	}
	s.Steps = s.Steps[3:]
	if body, _, err := Write(&s); err == nil {
		t.Errorf("write a scenario of http steps: got %s, want an error", body)
	}
}

func TestPlan(t *testing.T) {
	click, quick := `{"type": "click", "selectors": ["#a"]}`, `{"type": "keyDown", "key": "a"}`
	many := func(step string, n int) string { return strings.TrimSuffix(strings.Repeat(step+",", n), ",") }
	for _, c := range []struct{ title, steps, schedule, name, timeout, want string }{
		{"Größe & Co.  - v2", click, "", "gr-e-co-v2", "30s", "@every 1m"},
		{"日本", quick, "", "recording", "30s", "@every 1m"},
		{"-", many(click, 12), "", "recording", "1m", "@every 1m"},
		{strings.Repeat("long title ", 20), many(click, 13), "", strings.Repeat("long-title-", 6)[:63], "1m10s", "@every 2m"},
		{"1", many(quick, 100), "", "1", "1m40s", "@every 2m"},
		{"a", many(click, 200), "", "a", "10m", "@every 10m"},
		{"a", many(click, 60), "@every 1m", "a", "1m", "@every 1m"},
		{"a", `{"type": "close", "timeout": 30000}, ` + click, "", "a", "40s", "@every 1m"},
	} {
		opts := Options{}
		if c.schedule != "" {
			if err := opts.Schedule.UnmarshalText([]byte(c.schedule)); err != nil {
				t.Fatal(err)
			}
		}
		s, _, err := Read("a.json", []byte(`{"title": "`+c.title+`", "steps": [`+c.steps+`]}`), opts)
		if err != nil || s.Name != c.name || s.Timeout.String() != c.timeout || s.Schedule.String() != c.want || s.Description != c.title {
			t.Errorf("%s: got %s, %s, %s and %v, want %s, %s, %s", c.title, s.Name, s.Timeout, s.Schedule, err, c.name, c.timeout, c.want)
		}
	}
	if s, _, err := Read("a.json", []byte(flow(click)), Options{Name: "other"}); err != nil || s.Name != "other" {
		t.Errorf("name: got %s and %v, want the one that was asked for", s.Name, err)
	}
}

func TestNotes(t *testing.T) {
	data, err := os.ReadFile("testdata/checkout.json")
	if err != nil {
		t.Fatal(err)
	}
	_, notes, err := Read("rec.json", data, Options{})
	want := []string{
		"rec.json:71: step 6 types into a field that looks like one for a secret: write value: ${secrets.NAME} instead, and list NAME under secrets",
		"rec.json: allowHosts is not set, so the journey may talk to any host; its own pages are on coffee.example.com, pay.example.com",
		"rec.json: schedule @every 1m and timeout 40s are guesses after the number of steps",
	}
	if err != nil || !reflect.DeepEqual(notes, want) {
		t.Errorf("notes: got %q and %v, want %q", notes, err, want)
	}
	_, notes, err = Read("rec.json", []byte(flow(`{"type": "customStep", "name": "a"}, {"type": "emulateNetworkConditions", "download": 1, "upload": 1, "latency": 1}`)), Options{})
	if err != nil || len(notes) != 3 || !strings.Contains(notes[0], "step 1 is a custom step") || !strings.Contains(notes[1], "step 2 emulates a network") {
		t.Errorf("notes: got %q and %v", notes, err)
	}
}

// Recorder's own tools may end a file with a comment.
func TestSourceMap(t *testing.T) {
	text := flow(`{"type": "close"}`)
	if _, back := travel(t, "a.json", []byte(text+"\n//# recorderSourceMap=BBDCBGC\n")); !reflect.DeepEqual(decode(t, back), decode(t, []byte(text))) {
		t.Errorf("got %s, want %s", back, text)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      `rec.json:1:1: got invalid JSON`,
		`[]`:                                    `rec.json:1:1: got a list, want a recording`,
		`null`:                                  `rec.json:1:1: got nothing, want a recording`,
		"{\n  \"title\": \"a\",\n  \"steps\": ": `rec.json:3:12: got invalid JSON (unexpected end`,
		`{"steps": []}`:                         `rec.json:1:1: title: got nothing, want text`,
		`{"title": 5, "steps": []}`:             `rec.json:1:11: title: got 5, want text`,
		`{"title": "a"}`:                        `steps: got nothing, want a list of steps`,
		`{"title": "a", "steps": {}}`:           `rec.json:1:25: steps: got a mapping, want a list of steps`,
		flow(``):                                `steps: got 0 steps, want 1 to 200`,
		`{"title": "a", "timeout": 0, "steps": [{"type": "close"}]}`:                         `rec.json:1:27: timeout: got 0, want a time from 1 to 30000 milliseconds`,
		`{"title": "a", "timeout": null, "steps": [{"type": "close"}]}`:                      `timeout: got nothing, want a time`,
		"{\"title\": \"a\", \"steps\": [\n  {\"type\": \"close\"},\n  {\"type\": \"tap\"}]}": `rec.json:3:12: steps[1].type: got "tap", want one of navigate, setViewport, emulateNetworkConditions, click`,
		flow(`{"type": "http", "url": "https://example.com"}`):                               `steps[0].type: got "http", want one of`,
		flow(`{}`):                                                                            `steps[0].type: got nothing, want one of`,
		flow(`{"type": 5}`):                                                                   `steps[0].type: got 5, want one of`,
		flow(`7`):                                                                             `steps[0]: got 7, want a step`,
		flow(`{"type": "navigate"}`):                                                          `steps[0].url: got nothing, want url`,
		flow(`{"type": "navigate", "url": ""}`):                                               `steps[0].url: got nothing, want url`,
		flow(`{"type": "navigate", "url": 5}`):                                                `steps[0].url: got 5, want text`,
		flow(`{"type": "click"}`):                                                             `steps[0].selectors: got nothing, want selectors`,
		flow(`{"type": "click", "selectors": "#a"}`):                                          `steps[0].selectors: got "#a", want a list of selectors`,
		flow(`{"type": "click", "selectors": [[]]}`):                                          `steps[0].selectors: got a list, want a list of selectors`,
		flow(`{"type": "click", "selectors": [["#a", 5]]}`):                                   `steps[0].selectors: got a list, want a list of selectors`,
		flow(`{"type": "click", "selectors": ["#a", "//div"]}`):                               `steps[0].selectors[1]: got "//div", want CSS`,
		flow(`{"type": "click", "selectors": ["#a"], "offsetX": "1"}`):                        `steps[0].offsetX: got "1", want a number`,
		flow(`{"type": "click", "selectors": ["#a"], "button": "left"}`):                      `steps[0].button: got "left", want one of primary`,
		flow(`{"type": "click", "selectors": ["#a"], "button": null}`):                        `steps[0].button: got nothing, want text`,
		flow(`{"type": "click", "selectors": ["#a"], "deviceType": "finger"}`):                `steps[0].deviceType: got "finger", want one of mouse`,
		flow(`{"type": "click", "selectors": ["#a"], "frame": [0.5]}`):                        `steps[0].frame: got a list, want a list of the numbers`,
		flow(`{"type": "click", "selectors": ["#a"], "frame": 0}`):                            `steps[0].frame: got 0, want a list of the numbers`,
		flow(`{"type": "click", "selectors": ["#a"], "timeout": 30001}`):                      `steps[0].timeout: got 30001, want a time from 1`,
		flow(`{"type": "click", "selectors": ["#a"], "assertedEvents": [{"type": "click"}]}`): `steps[0].assertedEvents: got a list, want a list of events`,
		flow(`{"type": "click", "selectors": ["#a"], "assertedEvents": [{"type": "navigation", "url": null}]}`):                `want a list of events`,
		flow(`{"type": "change", "selectors": ["#a"]}`):                                                                        `steps[0].value: got nothing, want value`,
		flow(`{"type": "change", "selectors": ["#a"], "value": true}`):                                                         `steps[0].value: got true, want text`,
		flow(`{"type": "keyDown", "key": ""}`):                                                                                 `steps[0].key: got nothing, want key`,
		flow(`{"type": "setViewport", "width": 0, "height": 1, "deviceScaleFactor": 1, "isMobile": 0, "hasTouch": false}`):     `steps[0].width: got 0, want a number of pixels from 1`,
		flow(`{"type": "setViewport", "width": 1, "height": 1, "deviceScaleFactor": -1, "isMobile": 0, "hasTouch": false}`):    `steps[0].isMobile: got 0, want true or false`,
		flow(`{"type": "setViewport", "width": 1, "height": 1, "deviceScaleFactor": 1, "isMobile": false, "hasTouch": false}`): `steps[0].isLandscape: got nothing, want isLandscape, which setViewport steps of a recording need`,
		flow(`{"type": "waitForElement", "selectors": ["#a"], "operator": "!="}`):                                              `steps[0].operator: got "!=", want one of`,
		flow(`{"type": "waitForElement", "selectors": ["#a"], "count": 1.5}`):                                                  `steps[0].count: got 1.5, want a whole number`,
		flow(`{"type": "waitForElement", "selectors": ["#a"], "visible": "no"}`):                                               `steps[0].visible: got "no", want true or false`,
		flow(`{"type": "waitForElement", "selectors": ["#a"], "attributes": {"a": 1}}`):                                        `steps[0].attributes: got a mapping, want an object whose values are texts`,
		flow(`{"type": "waitForElement", "selectors": ["#a"], "properties": null}`):                                            `steps[0].properties: got nothing, want an object`,
		flow(`{"type": "waitForExpression"}`):                                                                                  `steps[0].expression: got nothing, want expression`,
		flow(`{"type": "emulateNetworkConditions", "download": 1, "upload": 1}`):                                               `steps[0].latency: got nothing, want latency`,
		flow(`{"type": "customStep"}`):                                                                                         `steps[0].name: got nothing, want name`,
		flow(strings.TrimSuffix(strings.Repeat(`{"type": "close"},`, 201), ",")):                                               `steps: got 201 steps, want 1 to 200`,
		flow(`{"type": "customStep", "name": "a", "parameters": ` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`):   `more than 24 levels of nesting`,
		`{"title": "a", "title": "b", "steps": [{"type": "close"}]}`:                                                           `rec.json:1:16: title: got the key again`,
		`{"title": "` + strings.Repeat("a", document.MaxSize) + `"}`:                                                           `got more than 1024 KiB`,
	} {
		_, _, err := Read("rec.json", []byte(text), Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "rec.json:") {
			t.Errorf("read %.200s: got %v, want %s", text, err, want)
		}
		if n := len(document.All(err)); n > 2 && !strings.Contains(text, "setViewport") {
			t.Errorf("read %.200s: got %d errors for one mistake:\n%v", text, n, err)
		}
	}
}
