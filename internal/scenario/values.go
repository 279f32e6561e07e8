package scenario

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ValueError is a value that could be read but not understood.
type ValueError struct {
	Got  string
	Want string
}

// Error implements error.
func (e *ValueError) Error() string { return fmt.Sprintf("got %s, want %s", e.Got, e.Want) }

// valueError quotes got where it is text.
func valueError(got, want string) error { return &ValueError{Got: strconv.Quote(got), Want: want} }

// Duration is a time.Duration whose text form has a unit: 500ms, 45s, 1m30s.
type Duration time.Duration

// D returns the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String prints the duration without zero tails: 1m, not 1m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Negative durations are refused.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return valueError(string(text), "a duration with its unit, such as 500ms, 45s or 1m")
	}
	*d = Duration(v)
	return nil
}

// Bytes is an amount of data. Its text form is a whole number with an optional decimal unit: 900, 200kB, 1MB.
type Bytes int64

// byteUnits is ordered from large to small, as both directions need it.
var byteUnits = []struct {
	suffix string
	size   int64
}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// String prints the largest unit that divides the amount.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.suffix
		}
	}
	return "0B"
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, size := string(text), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, size = rest, u.size
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || v < 0 || v*float64(size) > 1e15 || v != v {
		return valueError(string(text), "an amount of data such as 900B, 200kB or 1MB")
	}
	*b = Bytes(math.Round(v * float64(size))) // 1.001 has no exact float64
	return nil
}

// UnmarshalJSON accepts a bare number of bytes as well as the text form.
func (b *Bytes) UnmarshalJSON(data []byte) error { return unmarshalScalar(data, b.UnmarshalText) }

// Text is a string that may be written as any YAML scalar: paid, 200, true.
type Text string

// UnmarshalJSON accepts a string, a number or a boolean.
func (t *Text) UnmarshalJSON(data []byte) error {
	return unmarshalScalar(data, func(b []byte) error { *t = Text(b); return nil })
}

// unmarshalScalar hands the text of a JSON scalar to set.
func unmarshalScalar(data []byte, set func([]byte) error) error {
	switch data[0] {
	case '{', '[', 'n': // null decodes into a string without an error
		return &ValueError{Got: describeJSON(data), Want: "a single value"}
	}
	var s string
	if json.Unmarshal(data, &s) == nil {
		return set([]byte(s))
	}
	return set(data)
}

// describeJSON names a JSON value's kind for an error.
func describeJSON(data []byte) string {
	switch data[0] {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case 'n':
		return "nothing"
	}
	return string(data)
}

// Strings is a list of strings that may be written as one bare string.
type Strings []string

// UnmarshalJSON accepts one scalar or a list of scalars.
func (s *Strings) UnmarshalJSON(data []byte) error {
	texts, err := unmarshalTexts(data)
	if err != nil {
		return err
	}
	*s = texts
	return nil
}

// unmarshalTexts reads one scalar or a list of scalars.
func unmarshalTexts(data []byte) ([]string, error) {
	var many []Text
	if data[0] == '[' {
		if err := json.Unmarshal(data, &many); err != nil {
			return nil, &ValueError{Got: "a list with other things in it", Want: "a list of single values"}
		}
	} else {
		many = make([]Text, 1)
		if err := many[0].UnmarshalJSON(data); err != nil {
			return nil, err
		}
	}
	out := make([]string, len(many))
	for i, t := range many {
		out[i] = string(t)
	}
	return out, nil
}

// Selectors is Recorder's list of alternatives; each is a chain through shadow roots, innermost last. An alternative may be
// written as a bare string.
type Selectors [][]string

// UnmarshalJSON accepts a string, a list of strings, or a list of lists of strings.
func (s *Selectors) UnmarshalJSON(data []byte) error {
	want := "a list of selectors such as [[\"aria/Sign in\"], [\"#submit\"]]"
	if data[0] != '[' {
		one, err := unmarshalTexts(data)
		if err != nil {
			return &ValueError{Got: describeJSON(data), Want: want}
		}
		*s = Selectors{one}
		return nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return &ValueError{Got: describeJSON(data), Want: want}
	}
	out := make(Selectors, 0, len(items))
	for _, item := range items {
		chain, err := unmarshalTexts(item)
		if err != nil || len(chain) == 0 {
			return &ValueError{Got: describeJSON(item), Want: want}
		}
		out = append(out, chain)
	}
	*s = out
	return nil
}

// StatusSet is a set of HTTP status codes, each exact ("204") or a class ("2xx").
type StatusSet []string

// UnmarshalJSON accepts one code or a list of codes.
func (s *StatusSet) UnmarshalJSON(data []byte) error {
	texts, err := unmarshalTexts(data)
	if err != nil {
		return err
	}
	for _, t := range texts {
		if !validStatus(t) {
			return valueError(t, "a status code from 100 to 599, or a class such as 2xx")
		}
	}
	*s = texts
	return nil
}

func validStatus(t string) bool {
	if len(t) != 3 || t[0] < '1' || t[0] > '5' {
		return false
	}
	if t[1:] == "xx" {
		return true
	}
	_, err := strconv.Atoi(t)
	return err == nil
}

// Has reports whether the code is in the set.
func (s StatusSet) Has(code int) bool {
	return slices.ContainsFunc(s, func(t string) bool {
		return t == strconv.Itoa(code) || (strings.HasSuffix(t, "xx") && t[0] == byte('0'+code/100))
	})
}

// String lists the codes.
func (s StatusSet) String() string { return strings.Join(s, " or ") }
