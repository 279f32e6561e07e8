package recording

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenario"
	"lastmile/internal/scenario/rules"
	"lastmile/internal/scenariofile/document"
)

// Options say what a recording does not: zero values mean what Read makes of the recording.
type Options struct {
	Name     string // of the scenario; "" = after the recording's title
	Schedule scenario.Schedule
}

// Read makes a sound scenario of a recording, in all regions. name is the file's name for the errors, of which document.All gives each.
// The notes say, a line each, what the author ought to look at.
func Read(name string, data []byte, opts Options) (s scenario.Scenario, notes []string, err error) {
	value, d := document.ReadJSON(name, withoutSourceMap(data))
	flow, ok := value.(map[string]any)
	if !ok {
		d.Refuse("a recording: an object with title and steps")
		return s, nil, d.Err()
	}
	r := reader{refuse: d.Refuse}
	s = r.flow(flow)
	s.Name = cmp.Or(opts.Name, label(s.Description))
	s.Schedule = opts.Schedule
	plan(&s)
	for _, p := range rules.Check(&s, scenario.Fleet{Networks: netprofile.Presets()}) {
		if !d.Explained(p.Path...) {
			d.Problem(p.Got, p.Want, p.Path...)
		}
	}
	if err := d.Err(); err != nil {
		return s, nil, err
	}
	return s, notesOn(name, d, &s, opts), nil
}

// sourceMap begins the comment with which a recording may end that Recorder's own tools have written.
const sourceMap = "//# recorderSourceMap="

// withoutSourceMap blanks that comment.
func withoutSourceMap(data []byte) []byte {
	if !strings.Contains(string(data), sourceMap) {
		return data
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), sourceMap) {
			lines[i] = ""
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// reader reads the parts of a recording. refuse is told what is wanted where something else stands.
type reader struct {
	refuse func(want string, path ...string)
}

func (r reader) flow(flow map[string]any) scenario.Scenario {
	s := scenario.Scenario{APIVersion: scenario.APIVersion, Regions: scenario.Strings{scenario.AllRegions}}
	title, ok := flow["title"].(string)
	if !ok {
		r.refuse(wantText, "title")
	}
	s.Description = title
	if v, there := flow["timeout"]; there {
		limit, ok, want := timeoutOf(v)
		if !ok {
			r.refuse(cmp.Or(want, wantTimeout), "timeout")
		}
		s.StepTimeout = limit
	}
	steps, ok := flow["steps"].([]any)
	if !ok {
		r.refuse("a list of steps", "steps")
	}
	for i, step := range steps {
		s.Steps = append(s.Steps, r.step(step, "steps", strconv.Itoa(i)))
	}
	s.Recorder = kept(flow, headOf(&s), "steps")
	return s
}

// step reads one step.
func (r reader) step(value any, path ...string) scenario.Step {
	object, ok := value.(map[string]any)
	if !ok {
		r.refuse("a step: an object with its type", path...)
		return scenario.Step{}
	}
	name, _ := object["type"].(string)
	k, ok := kindOf(scenario.StepType(name))
	if !ok {
		r.refuse("one of "+strings.Join(typeNames(), ", "), append(slices.Clone(path), "type")...)
		return scenario.Step{}
	}
	st := scenario.Step{Type: k.stepType}
	for _, field := range fields() {
		v, there := object[field.name]
		switch {
		case there && slices.Contains(k.keys, field.name):
			if want := field.read(&st, v); want != "" {
				r.refuse(want, append(slices.Clone(path), field.name)...)
			}
		case slices.Contains(k.required, field.name):
			r.refuse(fmt.Sprintf("%s, which %s steps of a recording need", field.name, name), append(slices.Clone(path), field.name)...)
		}
	}
	plain := changeTexts(&st, unescape)
	st.Recorder = kept(object, objectOf(&plain, k))
	return st
}

// typeNames lists the types that a recording may have.
func typeNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k.stepType)
	}
	return names
}

// kept returns what of an object the one that we would write for it has not, or has in another way; nil where there is nothing.
func kept(object, ours map[string]any, besides ...string) map[string]any {
	var out map[string]any
	for name, value := range object {
		if written, ok := ours[name]; (!ok || !reflect.DeepEqual(written, value)) && !slices.Contains(besides, name) {
			out = with(out, name, value)
		}
	}
	return out
}

// label makes a scenario's name of a title.
func label(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == maxLabel {
			break
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "recording")
}

const maxLabel = 63

// The bounds of the timeout that plan gives, and the periods of which it takes the first that is no shorter. A step that waits for
// nothing counts as quickStep.
const (
	leastTimeout = 30 * time.Second
	mostTimeout  = 10 * time.Minute
	quickStep    = time.Second
)

// plan gives the scenario a timeout by what its steps may take, and a schedule into which that fits where it has none.
func plan(s *scenario.Scenario) {
	total, longest := time.Duration(0), time.Duration(0)
	for i := range s.Steps {
		st := &s.Steps[i]
		limit := s.StepLimit(st)
		longest = max(longest, limit)
		if st.Timeout == 0 && len(st.AssertedEvents) == 0 && !waits(st.Type) {
			limit = min(limit, quickStep)
		}
		total += limit
	}
	const grain = 10 * time.Second
	timeout := min(max((total+grain-1)/grain*grain, leastTimeout, longest), mostTimeout)
	if s.Schedule.IsZero() {
		periods := []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, mostTimeout}
		period := periods[slices.IndexFunc(periods, func(p time.Duration) bool { return p >= timeout })]
		s.Schedule, _ = scenario.ParseSchedule("@every " + scenario.Duration(period).String())
	}
	if period := s.Schedule.Period(); period > 0 {
		timeout = min(timeout, period)
	}
	s.Timeout = scenario.Duration(timeout)
}

// waits reports whether steps of the type wait for an element, a page or a condition.
func waits(t scenario.StepType) bool {
	switch t {
	case scenario.StepSetViewport, scenario.StepNetworkConditions, scenario.StepKeyDown, scenario.StepKeyUp, scenario.StepScroll, scenario.StepClose, scenario.StepCustom:
		return false
	}
	return true
}

// headOf is what we would write of a scenario besides its steps.
func headOf(s *scenario.Scenario) map[string]any {
	head := map[string]any{}
	if s.Description != "" {
		head["title"] = s.Description
	}
	if limit := milliseconds(s.StepTimeout); limit != nil {
		head["timeout"] = limit
	}
	return head
}
