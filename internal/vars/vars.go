// Package vars holds the variables of a run: templates that name them, their values, and the secrets among them, which must never
// show. It is pure.
package vars

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Templates: text with ${name} places. Names are vars.X, secrets.X, expected.region, region, network, run.id, and the names
// that earlier steps extracted. $${ stands for a literal ${.

// part is a piece of a template: literal text, or a name where ref is set.
type part struct {
	text string
	ref  bool
}

// parseTemplate splits a template. The error is a *SyntaxError.
func parseTemplate(text string) ([]part, error) {
	var parts []part
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			return append(parts, part{text: text}), nil
		}
		if i > 0 && text[i-1] == '$' {
			parts = append(parts, part{text: text[:i-1] + "${"})
			text = text[i+2:]
			continue
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return nil, syntaxError(text[i:], "a closing } (write $${ for a literal ${)")
		}
		name := text[i+2 : i+end]
		if !validRef(name) {
			return nil, syntaxError("${"+name+"}", "${name}, where name is letters, digits, _, - and dots")
		}
		parts = append(parts, part{text: text[:i]}, part{text: name, ref: true})
		text = text[i+end+1:]
	}
}

func validRef(name string) bool {
	for _, r := range name {
		ok := r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !ok {
			return false
		}
	}
	return name != ""
}

// References lists the names that a template uses; the error is a *SyntaxError.
func References(text string) ([]string, error) {
	parts, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range parts {
		if p.ref {
			out = append(out, p.text)
		}
	}
	return out, nil
}

// SyntaxError is a template that cannot be understood.
type SyntaxError struct {
	Got  string
	Want string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("got %s, want %s", e.Got, e.Want) }

func syntaxError(got, want string) error { return &SyntaxError{Got: strconv.Quote(got), Want: want} }

// Scope holds the values of a run's variables while its steps execute. It is not safe for concurrent use.
type Scope struct {
	values    map[string]string
	secrets   []Secret
	redactors []redactor
}

// NewScope makes a scope. Each secret is also a variable, secrets.NAME, and is redacted wherever the scope is asked to. The scope
// owns values from here on.
func NewScope(values map[string]string, secrets map[string]Secret) *Scope {
	scope := &Scope{values: values}
	for name, secret := range secrets {
		scope.values["secrets."+name] = secret.Reveal()
	}
	scope.Conceal(slices.Collect(maps.Values(secrets))...)
	return scope
}

// Conceal makes secrets of what has turned out to be one while the run goes on: they are redacted from here on. They become no variables.
func (s *Scope) Conceal(secrets ...Secret) {
	all := slices.Clone(s.secrets)
	for _, secret := range secrets {
		if secret != "" && !slices.Contains(all, secret) {
			all = append(all, secret)
		}
	}
	if len(all) == len(s.secrets) {
		return
	}
	// The longest first: where one secret begins another, redacting the short one would leave the tail of the long one.
	slices.SortStableFunc(all, func(a, b Secret) int { return len(b) - len(a) })
	s.secrets, s.redactors = all, nil
	for _, secret := range all {
		s.redactors = append(s.redactors, newRedactor(secret))
	}
}

// Set gives a variable the value that a step extracted.
func (s *Scope) Set(name, value string) { s.values[name] = value }

// Expand replaces every ${name} in the template. An unknown name is an error: an earlier step that should have extracted it
// did not run.
func (s *Scope) Expand(text string) (string, error) {
	parts, err := parseTemplate(text)
	if err != nil {
		return "", fmt.Errorf("expand template: %w", err)
	}
	var b strings.Builder
	for _, p := range parts {
		if !p.ref {
			b.WriteString(p.text)
			continue
		}
		value, ok := s.values[p.text]
		if !ok {
			return "", fmt.Errorf("expand template: ${%s} has no value", p.text)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// ExpandJSON replaces the templates in every string of a decoded JSON value.
func (s *Scope) ExpandJSON(value any) (any, error) {
	switch v := value.(type) {
	case string:
		return s.Expand(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			expanded, err := s.ExpandJSON(item)
			if err != nil {
				return nil, err
			}
			out[i] = expanded
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			expanded, err := s.ExpandJSON(item)
			if err != nil {
				return nil, err
			}
			out[key] = expanded
		}
		return out, nil
	}
	return value, nil
}

// Secrets returns the secrets that the scope knows, the longest first: for who must find them where Redact cannot look. The caller
// must not change the slice.
func (s *Scope) Secrets() []Secret { return s.secrets }

// Public returns the variables that have nothing of a secret in them, for languages that name them as values: those of the scenario by
// their own name, vars.X as X, unless a step has extracted one of that name.
func (s *Scope) Public() map[string]any {
	out := make(map[string]any, len(s.values))
	for name, value := range s.values {
		own, declared := strings.CutPrefix(name, "vars.")
		if _, taken := s.values[own]; declared && taken || strings.HasPrefix(name, "secrets.") || s.Redact(value) != value {
			continue
		}
		out[own] = value
	}
	return out
}

// Secretive reports whether a template has the value of a secret in it. One that cannot be understood has not.
func Secretive(template string) bool {
	names, _ := References(template) // without names where it cannot be understood
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "secrets.") })
}

// Redact replaces every secret value in the text by a mark. Everything that leaves a run goes through it.
// Where a text says by an ellipsis that it was cut off, or is so long that it may have been, the beginning of a secret there goes too.
func (s *Scope) Redact(text string) string { return redact(text, s.redactors) }

// Strings collects the strings of a decoded JSON value in a stable order.
func Strings(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			out = append(out, Strings(item)...)
		}
		return out
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		var out []string
		for _, key := range keys {
			out = append(out, Strings(v[key])...)
		}
		return out
	}
	return nil
}
