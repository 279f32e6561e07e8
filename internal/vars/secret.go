package vars

import (
	"log/slog"
	"strconv"
)

// Redacted stands where a secret would.
const Redacted = "<redacted>"

// Secret is a value that never prints. Reveal is the one way to read it.
type Secret string

// MinSecret is the length in bytes under which a secret is refused: a shorter one could not be redacted without tearing
// ordinary text apart.
const MinSecret = 6

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return Redacted }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(Redacted)), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }
