package scenario

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/vars"
)

// Glob reports whether text matches a pattern in which * stands for any run of characters, also across slashes.
func Glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for _, middle := range parts[1 : len(parts)-1] {
		i := strings.Index(text, middle)
		if i < 0 {
			return false
		}
		text = text[i+len(middle):]
	}
	return len(text) >= len(last) && strings.HasSuffix(text, last)
}

// AllowsHost reports whether the scenario may talk to a host. Without allowHosts it may talk to any; "*.example.com" matches
// every name below example.com.
func (s *Scenario) AllowsHost(host string) bool {
	if len(s.AllowHosts) == 0 {
		return true
	}
	host = strings.ToLower(host)
	for _, pattern := range s.AllowHosts {
		if Glob(strings.ToLower(pattern), host) {
			return true
		}
	}
	return false
}

// Check applies the comparators of an assertion to what was found. found=false means that the subject was not
// there at all. It returns whether the assertion holds, Not included, and in words what was wanted.
func (a *Assertion) Check(got string, found bool, scope *vars.Scope) (ok bool, want string, err error) {
	switch {
	case a.Equals != nil:
		text, err := scope.Expand(string(*a.Equals))
		if err != nil {
			return false, "", err
		}
		ok, want = found && got == text, text
	case a.Contains != "":
		text, err := scope.Expand(a.Contains)
		if err != nil {
			return false, "", err
		}
		ok, want = found && strings.Contains(got, text), "something containing "+text
	case a.Matches != "":
		re, err := regexp.Compile(a.Matches)
		if err != nil {
			return false, "", valueError(a.Matches, "a regular expression (RE2)")
		}
		ok, want = found && re.MatchString(got), "a match of "+a.Matches
	case a.AtLeast != nil || a.AtMost != nil:
		number, err := strconv.ParseFloat(strings.TrimSpace(got), 64)
		ok = found && err == nil && (a.AtLeast == nil || number >= *a.AtLeast) && (a.AtMost == nil || number <= *a.AtMost)
		want = "a number" + bound(" of at least ", a.AtLeast) + bound(" of at most ", a.AtMost)
	default:
		ok, want = found, "something"
	}
	if a.Not {
		return !ok, "not " + want, nil
	}
	return ok, want, nil
}

// bound says where a range ends, where it does.
func bound(what string, at *float64) string {
	if at == nil {
		return ""
	}
	return what + strconv.FormatFloat(*at, 'g', -1, 64)
}

// Apply runs the extractor's regular expression over what its source gave. ok is false where it does not match.
func (x *Extractor) Apply(got string) (value string, ok bool) {
	if x.Regex == "" {
		return got, true
	}
	re, err := regexp.Compile(x.Regex)
	if err != nil {
		return "", false
	}
	groups := re.FindStringSubmatch(got)
	switch len(groups) {
	case 0:
		return "", false
	case 1:
		return groups[0], true
	}
	return groups[1], true
}

// The time limits of a step that names none.
const (
	defaultBrowserStep = 5 * time.Second // Chrome DevTools Recorder's default
	defaultHTTPStep    = 10 * time.Second
)

// StepLimit is how long a step of the scenario may take: its own timeout, else the scenario's for steps, else the default of its type; a
// polling step gets at least its poll.
func (s *Scenario) StepLimit(st *Step) time.Duration {
	limit := defaultBrowserStep
	if st.Type == StepHTTP {
		limit = defaultHTTPStep
	}
	switch {
	case st.Timeout > 0:
		limit = st.Timeout.D()
	case s.StepTimeout > 0:
		limit = s.StepTimeout.D()
	}
	if st.Poll != nil {
		limit = max(limit, st.Poll.For.D())
	}
	return limit
}

// JSONText is the text form of a decoded JSON value by which assertions compare it: a string as it is, anything else as JSON.
func JSONText(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(body)
}

// BuiltIn lists the names of the variables that every run has; see Scope.
func BuiltIn() []string { return []string{"region", "network", "run.id", "expected.region"} }

// Scope makes the variables at the start of a run of the scenario. secrets must hold a value for each name the scenario lists.
func (s *Scenario) Scope(c Combination, runID string, secrets map[string]vars.Secret) *vars.Scope {
	listed := map[string]vars.Secret{}
	for _, name := range s.Secrets {
		if secret, ok := secrets[name]; ok {
			listed[name] = secret
		}
	}
	return vars.NewScope(s.values(c, runID), listed)
}

// Move gives the variables the values that they have in another region.
func (s *Scenario) Move(scope *vars.Scope, c Combination, runID string) {
	for name, value := range s.values(c, runID) {
		scope.Set(name, value)
	}
}

// values are the variables that are known before a run's first step, but for its secrets.
func (s *Scenario) values(c Combination, runID string) map[string]string {
	values := map[string]string{
		"region":          c.Region,
		"network":         c.Network,
		"run.id":          runID,
		"expected.region": s.ExpectedRegion(c.Region),
	}
	for name, value := range s.Vars {
		values["vars."+name] = string(value)
	}
	for name, value := range s.RegionVars[c.Region] {
		values["vars."+name] = string(value)
	}
	return values
}
