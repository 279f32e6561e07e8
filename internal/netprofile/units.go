package netprofile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate is a link rate in bit/s. Its text form is exact: parsing what String or
// MarshalText printed gives the same Rate.
type Rate int64

// The units of Rate. Network units are decimal.
const (
	BitPerSecond  Rate = 1
	KbitPerSecond      = 1000 * BitPerSecond
	MbitPerSecond      = 1000 * KbitPerSecond
	GbitPerSecond      = 1000 * MbitPerSecond
)

// maxNumeral bounds the digits that a parser looks at. The longest exact text
// of a float64 between 0 and 1 has fewer.
const maxNumeral = 1100

// String prints kbit/s when the rate is a whole number of them, otherwise
// bit/s. It does not move on to Mbit/s, so that a table of links lines up.
func (r Rate) String() string {
	if r != 0 && r%KbitPerSecond == 0 {
		return strconv.FormatInt(int64(r/KbitPerSecond), 10) + " kbit/s"
	}
	return strconv.FormatInt(int64(r), 10) + " bit/s"
}

// MarshalText writes the form of String. A negative rate is an error.
func (r Rate) MarshalText() ([]byte, error) {
	if r < 0 {
		return nil, fmt.Errorf("write rate: got %d bit/s, want at least 0", int64(r))
	}
	return []byte(r.String()), nil
}

// UnmarshalText accepts a decimal number and a unit, with or without a space
// and in any case: "1600 kbit/s", "1600kbit", "1.6Mbit/s", "1 gbit/s". A bare
// number is refused, and so is "kbps", which means bits to most people and
// bytes to tc.
func (r *Rate) UnmarshalText(text []byte) error {
	parsed, err := parseRate(string(text))
	if err != nil {
		return fmt.Errorf("read rate: %w", err)
	}
	*r = parsed
	return nil
}

func parseRate(s string) (Rate, error) {
	const want = `want a number and bit/s, kbit/s, Mbit/s or Gbit/s, such as "1600 kbit/s"`
	trimmed := strings.TrimSpace(s)
	whole, frac, rest, ok := cutDecimal(trimmed)
	if !ok {
		return 0, fmt.Errorf("got %s, %s", quote(s), want)
	}
	unit := strings.ToLower(strings.TrimSpace(rest))
	places, ok := map[string]int{"bit": 0, "kbit": 3, "mbit": 6, "gbit": 9}[strings.TrimSuffix(unit, "/s")]
	if !ok {
		return 0, fmt.Errorf("got %s, %s", quote(s), want)
	}
	// Shifting the decimal point in the text keeps "1.6Mbit/s" exact, which a
	// float64 would not promise.
	frac = strings.TrimRight(frac, "0")
	if len(frac) > places {
		return 0, fmt.Errorf("got %s, want a whole number of bit/s", quote(s))
	}
	bits, err := strconv.ParseInt(whole+frac+strings.Repeat("0", places-len(frac)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("got %s, want at most %d bit/s", quote(s), int64(math.MaxInt64))
	}
	return Rate(bits), nil
}

// Ratio is a share or a probability from 0 to 1. Its text form is a
// percentage and exact: parsing what String or MarshalText printed gives the
// same Ratio.
type Ratio float64

// String prints a percentage with as many digits as the value needs: "2%",
// "0.5%".
func (r Ratio) String() string {
	if !r.valid() {
		return strconv.FormatFloat(float64(r), 'g', -1, 64)
	}
	// The shift by two places happens in the text: 100 times a float64 would
	// print 0.07 as 7.000000000000001%.
	whole, frac, _ := strings.Cut(strconv.FormatFloat(math.Abs(float64(r)), 'f', -1, 64), ".")
	frac += strings.Repeat("0", max(0, 2-len(frac)))
	whole = strings.TrimLeft(whole+frac[:2], "0")
	if whole == "" {
		whole = "0"
	}
	if frac[2:] == "" {
		return whole + "%"
	}
	return whole + "." + frac[2:] + "%"
}

// MarshalText writes the form of String. A value outside 0..1 is an error.
func (r Ratio) MarshalText() ([]byte, error) {
	if !r.valid() {
		return nil, fmt.Errorf("write ratio: got %s, want 0 to 1", r)
	}
	return []byte(r.String()), nil
}

// UnmarshalText accepts a percentage or a plain number, "2%" or "0.02". There
// are no exponents, and the value must lie between 0 and 1.
func (r *Ratio) UnmarshalText(text []byte) error {
	parsed, err := parseRatio(string(text))
	if err != nil {
		return fmt.Errorf("read ratio: %w", err)
	}
	*r = parsed
	return nil
}

func parseRatio(s string) (Ratio, error) {
	const want = `want 0% to 100% or 0 to 1, such as "2%" or "0.02"`
	whole, frac, rest, ok := cutDecimal(strings.TrimSpace(s))
	if !ok {
		return 0, fmt.Errorf("got %s, %s", quote(s), want)
	}
	exponent := ""
	switch strings.TrimSpace(rest) {
	case "":
	case "%":
		exponent = "e-2"
	default:
		return 0, fmt.Errorf("got %s, %s", quote(s), want)
	}
	value, err := strconv.ParseFloat(whole+"."+frac+exponent, 64)
	if err != nil || !Ratio(value).valid() {
		return 0, fmt.Errorf("got %s, %s", quote(s), want)
	}
	return Ratio(value), nil
}

// valid is written so that NaN fails it.
func (r Ratio) valid() bool { return r >= 0 && r <= 1 }

// cutDecimal splits s into the digits before the point, the digits after it
// and what follows. It fails unless s begins with a digit, a point has digits
// after it, and the numeral is of reasonable length.
func cutDecimal(s string) (whole, frac, rest string, ok bool) {
	n := digits(s)
	if n == 0 || n > maxNumeral {
		return "", "", "", false
	}
	whole, rest = s[:n], s[n:]
	if after, found := strings.CutPrefix(rest, "."); found {
		n = digits(after)
		if n == 0 || n > maxNumeral {
			return "", "", "", false
		}
		frac, rest = after[:n], after[n:]
	}
	return whole, frac, rest, true
}

// digits counts the ASCII digits that s begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// quote shows untrusted text in an error without letting it fill the log.
func quote(s string) string {
	const limit = 40
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "..."
	}
	return strconv.Quote(s)
}
