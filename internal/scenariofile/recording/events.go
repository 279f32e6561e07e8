package recording

import (
	"maps"

	"lastmile/internal/scenario"
)

const navigation = "navigation"

// eventsKey: an event's URL and title are kept and not checked, as Recorder's own runner does not check them, and recorded URLs hold what
// belongs to the session that was recorded. What is no list Recorder ignores.
func eventsKey() key {
	return key{"assertedEvents", func(st *scenario.Step, v any) string {
		list, _ := v.([]any)
		var events []scenario.AssertedEvent
		for _, item := range list {
			object, _ := item.(map[string]any)
			if object["type"] != navigation || !absentOrText(object, "url") || !absentOrText(object, "title") {
				return "a list of events such as {\"type\": \"navigation\", \"url\": \"...\", \"title\": \"...\"}"
			}
			event := scenario.AssertedEvent{Type: navigation}
			for name, value := range object {
				if name != "type" {
					event.Recorder = with(event.Recorder, name, value)
				}
			}
			events = append(events, event)
		}
		st.AssertedEvents = events
		return ""
	}, func(st *scenario.Step) any {
		if len(st.AssertedEvents) == 0 {
			return nil
		}
		list := make([]any, len(st.AssertedEvents))
		for i, event := range st.AssertedEvents {
			object := maps.Clone(event.Recorder)
			object = with(object, "type", event.Type)
			demand(object, "url", event.URL)
			demand(object, "title", event.Title)
			list[i] = object
		}
		return list
	}}
}

func absentOrText(object map[string]any, name string) bool {
	value, there := object[name]
	_, isText := value.(string)
	return isText || !there
}

// with sets a key of a map that may be nil.
func with(m map[string]any, name string, value any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[name] = value
	return m
}

// demand sets what the event must have, unless what was recorded is an instance of it.
func demand(object map[string]any, name, pattern string) {
	if recorded, ok := object[name].(string); pattern != "" && (!ok || !scenario.Glob(pattern, recorded)) {
		object[name] = pattern
	}
}
