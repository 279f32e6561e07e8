package vars

import (
	"encoding/json"
	"html"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
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

// redact removes the secret from text in the forms in which it commonly travels.
func (s Secret) redact(text string) string {
	raw := string(s)
	if raw == "" {
		return text
	}
	quoted := strconv.Quote(raw)
	forms := []string{
		raw, url.QueryEscape(raw), url.PathEscape(raw), html.EscapeString(raw),
		quoted[1 : len(quoted)-1], jsonEscape(raw, false), jsonEscape(raw, true),
	}
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, redacted)
	}
	return text
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
