package vars

import (
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// redacted stands where a secret would.
const redacted = "<redacted>"

// Secret is a value that never prints. Reveal is the one way to read it.
type Secret string

// MinSecret is the length in bytes under which a secret is refused: a shorter one could not be redacted without tearing
// ordinary text apart.
const MinSecret = 6

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(redacted)), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// redactor removes one secret from texts, in the forms in which it commonly travels.
type redactor struct {
	forms   []string       // written out as strings in Go, JSON and HTML
	percent *regexp.Regexp // each character as it is or percent-encoded: encoders differ in which they leave alone
}

// newRedactor prepares the removal of a secret.
func newRedactor(s Secret) redactor {
	raw := string(s)
	quoted := strconv.Quote(raw)
	return redactor{
		forms:   []string{html.EscapeString(raw), quoted[1 : len(quoted)-1], jsonEscape(raw, false), jsonEscape(raw, true)},
		percent: percentPattern(raw),
	}
}

// redact returns the text with a mark in the secret's place.
func (r redactor) redact(text string) string {
	text = r.percent.ReplaceAllLiteralString(text, redacted)
	for _, form := range r.forms {
		text = strings.ReplaceAll(text, form, redacted)
	}
	return text
}

// percentPattern matches raw with any of its characters percent-encoded, in either case, and spaces also as +.
func percentPattern(raw string) *regexp.Regexp {
	var b strings.Builder
	for len(raw) > 0 {
		_, size := utf8.DecodeRuneInString(raw)
		char := raw[:size]
		raw = raw[size:]
		b.WriteString("(?:" + regexp.QuoteMeta(strings.ToValidUTF8(char, "\uFFFD")) + "|(?i:")
		for i := range len(char) {
			fmt.Fprintf(&b, "%%%02x", char[i])
		}
		b.WriteString(")")
		if char == " " {
			b.WriteString(`|\+`)
		}
		b.WriteString(")")
	}
	return regexp.MustCompile(b.String())
}

// jsonEscape is text as it stands between the quotes of a JSON string. Encoders differ in whether they escape <, > and & too.
func jsonEscape(text string, escapeHTML bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	if enc.Encode(text) != nil { // cannot happen: every string has a JSON form
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}
