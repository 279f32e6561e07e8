package answer

import (
	"strings"

	"lastmile/internal/scenario"
)

// Region returns which region the body of an answer says that it is from, by routing's JSONPath or regular expression; "" where routing
// goes by something else, or the body does not say. routing may be nil.
func (j *Judge) Region(routing *scenario.Routing, a *Answer) string {
	if routing == nil || a.unread() != nil {
		return ""
	}
	if routing.JSON == "" {
		return strings.TrimSpace(routing.OfBody(a.Body))
	}
	c := &comparison{judge: j, answer: a}
	value, _, cause := c.find(scenario.Extractor{JSON: routing.JSON})
	if cause != nil {
		return ""
	}
	return strings.TrimSpace(value)
}
