package scenario

import (
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
	for _, form := range []string{raw, url.QueryEscape(raw), url.PathEscape(raw), quoted[1 : len(quoted)-1], html.EscapeString(raw)} {
		text = strings.ReplaceAll(text, form, redacted)
	}
	return text
}
