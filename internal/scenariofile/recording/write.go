package recording

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Write makes a recording of a scenario. Variables are replaced by their values. What a recording cannot hold is left out and listed in
// lost: steps of other kinds, conditions, assertions, values that only a run has. Not counted as lost is what says how the journey is
// watched and not what it does: schedule, regions, networks, objectives, budgets and the like.
func Write(s *scenario.Scenario) (body []byte, lost []string, err error) {
	w := writer{values: map[string]string{}}
	for name, value := range s.Vars {
		w.values["vars."+name] = string(value)
	}
	w.head(s)
	head := headOf(s)
	for name, value := range s.Recorder {
		switch name {
		case "steps":
			continue
		case "title":
			if _, isText := value.(string); s.Description != "" || !isText {
				continue
			}
		case "timeout":
			if limit, ok, _ := timeoutOf(value); !ok || limit != s.StepTimeout {
				continue
			}
		}
		head[name] = value
	}
	if _, ok := head["title"]; !ok {
		head["title"] = s.Name
	}
	var flow object
	flow.add(head, "title", "timeout", "selectorAttribute")
	steps := []object{}
	for i := range s.Steps {
		if step, ok := w.step(&s.Steps[i], i); ok {
			steps = append(steps, step)
		}
	}
	if len(steps) == 0 {
		return nil, w.lost, errors.New("write recording: got no step that a recording can hold, want at least one")
	}
	flow = append(flow, member{"steps", steps})
	text, err := flow.MarshalJSON()
	if err != nil {
		return nil, nil, fmt.Errorf("write recording: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "    "); err != nil {
		return nil, nil, fmt.Errorf("write recording: %w", err)
	}
	return append(out.Bytes(), '\n'), w.lost, nil
}

// writer collects what a recording cannot hold.
type writer struct {
	values map[string]string // of the variables
	lost   []string
}

func (w *writer) lose(format string, args ...any) {
	w.lost = append(w.lost, fmt.Sprintf(format, args...))
}

// head lists what of the scenario's own keys would change what the journey meets.
func (w *writer) head(s *scenario.Scenario) {
	for name, set := range map[string]bool{"device": s.Device != "", "locale": s.Locale != "", "timezone": s.Timezone != "", "geolocation": s.Geolocation != nil, "regionVars": len(s.RegionVars) > 0} {
		if set {
			w.lose("%s", name)
		}
	}
	slices.Sort(w.lost)
	if limit := milliseconds(s.StepTimeout); limit == float64(maxTimeout) && s.StepTimeout.D().Milliseconds() > maxTimeout {
		w.lose("stepTimeout: %s is written as 30s, the most that a recording may have", s.StepTimeout)
	}
}

// unlisted are keys of ours without which the journey is the same.
var unlisted = []string{"id", "type", "settle", "budget", "recorder"}

// step writes one step; ok is false where a recording has no such step.
func (w *writer) step(st *scenario.Step, i int) (out object, ok bool) {
	place := "steps[" + strconv.Itoa(i) + "]"
	k, ok := kindOf(st.Type)
	if !ok {
		w.lose("%s: a recording has no %s steps", place, st.Type)
		return nil, false
	}
	for _, name := range keysOf(st) {
		if !slices.Contains(k.keys, name) && !slices.Contains(unlisted, name) {
			w.lose("%s.%s", place, name)
		}
	}
	if st.Timeout.D().Milliseconds() > maxTimeout {
		w.lose("%s.timeout: %s is written as 30s, the most that a recording may have", place, st.Timeout)
	}
	plain := changeTexts(st, func(template string) string { return w.expand(place, template) })
	members := objectOf(&plain, k)
	restore(members, &plain, k)
	out.add(members, append([]string{"type"}, order()...)...)
	return out, true
}

// keysOf lists the keys that a step has set.
func keysOf(st *scenario.Step) []string {
	var set map[string]json.RawMessage
	body, err := json.Marshal(st)
	if err == nil {
		err = json.Unmarshal(body, &set)
	}
	if err != nil { // values that are no JSON: they came neither from a file nor over the bus
		return nil
	}
	return slices.Sorted(maps.Keys(set))
}

// expand replaces the variables in a template. Names without a value stay as they are.
func (w *writer) expand(place, template string) string {
	values := maps.Clone(w.values)
	for _, name := range unresolved(template, values) {
		w.lose("%s: ${%s} has a value in a run only", place, name)
		values[name] = "${" + name + "}"
	}
	text, err := vars.NewScope(values, nil).Expand(template)
	if err != nil {
		return template
	}
	return text
}

// objectOf is a step whose texts are no templates any more, as we write it.
func objectOf(st *scenario.Step, k kind) map[string]any {
	out := map[string]any{"type": string(st.Type)}
	for _, field := range fields() {
		if !slices.Contains(k.keys, field.name) {
			continue
		}
		if value := field.write(st); value != nil {
			out[field.name] = value
		}
	}
	return out
}

// restore puts back what a recording had, as far as it still means what the step says.
func restore(members map[string]any, plain *scenario.Step, k kind) {
	if plain.DeviceScaleFactor == 0 && plain.Recorder["deviceScaleFactor"] == 0.0 { // we write 1 for it
		members["deviceScaleFactor"] = 0.0
	}
	want, _ := reread(members)
	for _, name := range slices.Sorted(maps.Keys(plain.Recorder)) {
		candidate := maps.Clone(members)
		candidate[name] = plain.Recorder[name]
		if slices.Contains(k.keys, name) {
			if got, ok := reread(candidate); !ok || !same(&got, &want) {
				continue
			}
		}
		if name != "type" {
			members[name] = plain.Recorder[name]
		}
	}
}

// reread reads what was written. ok is false where it cannot be read.
func reread(members map[string]any) (st scenario.Step, ok bool) {
	ok = true
	st = reader{refuse: func(string, ...string) { ok = false }}.step(members)
	st.Recorder = nil
	return st, ok
}

// same reports whether two steps are the same.
func same(a, b *scenario.Step) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// order lists the keys of steps as we write them.
func order() []string {
	var names []string
	for _, field := range fields() {
		names = append(names, field.name)
	}
	return names
}

// object is a JSON object whose members have an order.
type object []member

type member struct {
	name  string
	value any
}

// add appends the members of a map, those named first.
func (o *object) add(members map[string]any, first ...string) {
	rank := func(name string) int {
		if i := slices.Index(first, name); i >= 0 {
			return i
		}
		return len(first)
	}
	names := slices.SortedFunc(maps.Keys(members), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
	for _, name := range names {
		*o = append(*o, member{name, members[name]})
	}
}

// MarshalJSON implements json.Marshaler. Characters that HTML minds are left as they are.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encoder.Encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encoder.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
