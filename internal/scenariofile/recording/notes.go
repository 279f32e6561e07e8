package recording

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile/document"
)

// password matches the selectors of fields that probably take one.
var password = regexp.MustCompile(`(?i)passw|passcode|passphrase|passwort|\bpwd\b|\bpin\b|one-time-code|cvc|cvv`)

// notesOn says what the author of a recording ought to look at. No note shows what was typed.
func notesOn(name string, d *document.Document, s *scenario.Scenario, opts Options) []string {
	var notes []string
	add := func(i int, format string, args ...any) {
		line := d.Line("steps", strconv.Itoa(i))
		notes = append(notes, fmt.Sprintf("%s:%d: step %d %s", name, line, i+1, fmt.Sprintf(format, args...)))
	}
	for i := range s.Steps {
		st := &s.Steps[i]
		switch {
		case st.Type == scenario.StepChange && *st.Value != "" && slices.ContainsFunc(slices.Concat(st.Selectors...), password.MatchString):
			add(i, "types into a field that looks like one for a secret: write value: ${secrets.NAME} instead, and list NAME under secrets")
		case st.Type == scenario.StepNetworkConditions:
			add(i, "emulates a network: it passes and does nothing, as the networks of a scenario are under its key networks")
		case st.Type == scenario.StepCustom:
			add(i, "is a custom step: it passes and does nothing")
		}
	}
	if hosts := hostsOf(s); len(hosts) > 0 {
		notes = append(notes, fmt.Sprintf("%s: allowHosts is not set, so the journey may talk to any host; its own pages are on %s", name, strings.Join(hosts, ", ")))
	}
	if opts.Schedule.IsZero() {
		notes = append(notes, fmt.Sprintf("%s: schedule %s and timeout %s are guesses after the number of steps", name, s.Schedule, s.Timeout))
	}
	return notes
}

// hostsOf lists the hosts of the pages that a recording names.
func hostsOf(s *scenario.Scenario) []string {
	hosts := map[string]bool{}
	see := func(text string) {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			hosts[u.Hostname()] = true
		}
	}
	for i := range s.Steps {
		see(s.Steps[i].URL)
		see(s.Steps[i].Target)
		for _, event := range s.Steps[i].AssertedEvents {
			recorded, _ := event.Recorder["url"].(string)
			see(recorded)
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}
