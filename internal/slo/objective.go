// Package slo is the arithmetic of service level objectives for scheduled
// checks: what was planned and how it ended (Counts, History), what that says
// about an Objective (bounds, burn rate, budget), how strong the evidence is
// (BinomialTail, ConfidenceInterval), and how slow the runs were (Quantile).
//
// It differs from the textbook in one thing: the denominator is the schedule,
// which is known in advance, and data that we do not have widens an interval
// instead of being guessed.
//
// Everything here is pure: no clock, no I/O, no logging, no shared state.
// Times come as arguments. Nothing is safe for concurrent writes.
package slo

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Ratio is a share: 1 is the whole. It is a plain number in JSON and in
// metrics. Only BudgetRemaining leaves the range 0 to 1 (below 0: overspent).
type Ratio float64

// Objective is the share of slots that must be good, strictly between 0 and 1.
// Its text form is a percentage, "99.9%" for 0.999, and both directions are
// exact: any valid Objective reads back as the same float64, and a text of up
// to 15 significant digits prints back as it was, less needless zeros.
// The zero value means "not set" and is not valid.
type Objective float64

// ParseObjective reads a percentage such as "99.9%": decimal digits, at most
// one point, and the sign "%" without a space. The error gives got and want.
func ParseObjective(text string) (Objective, error) {
	digits, ok := strings.CutSuffix(text, "%")
	if !ok || !isDecimal(digits) {
		return 0, fmt.Errorf("parse objective: got %.40q, want a percentage such as 99.9%%", text)
	}
	// Shifting the exponent in the text rounds once; dividing by 100 would round twice.
	value, err := strconv.ParseFloat(digits+"e-2", 64)
	if err != nil {
		return 0, fmt.Errorf("parse objective: got %.40q, want a percentage above 0%% and below 100%%", text)
	}
	o := Objective(value)
	if o.Validate() != nil {
		return 0, fmt.Errorf("parse objective: got %.40q, want a percentage above 0%% and below 100%%", text)
	}
	return o, nil
}

// isDecimal keeps out what ParseFloat would also take: signs, exponents,
// hexadecimal, underscores, Inf and NaN.
func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(fraction))
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Validate reports an objective outside the open range 0 to 1, with got and want.
func (o Objective) Validate() error {
	if o > 0 && o < 1 {
		return nil
	}
	return fmt.Errorf("check objective: got ratio %v, want above 0 and below 1", float64(o))
}

// String gives the percentage, also for a value that is not valid.
func (o Objective) String() string {
	if o.Validate() != nil {
		return strconv.FormatFloat(float64(o)*100, 'f', -1, 64) + "%"
	}
	// The shortest decimal that reads back exactly, with its point two places on.
	_, fraction, _ := strings.Cut(strconv.FormatFloat(float64(o), 'f', -1, 64), ".")
	for len(fraction) < 2 {
		fraction += "0"
	}
	whole := strings.TrimLeft(fraction[:2], "0")
	if whole == "" {
		whole = "0"
	}
	if rest := fraction[2:]; rest != "" {
		whole += "." + rest
	}
	return whole + "%"
}

// MarshalText gives the percentage; an objective that is not valid is an error.
func (o Objective) MarshalText() ([]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return []byte(o.String()), nil
}

// UnmarshalText reads what ParseObjective reads; on an error o is unchanged.
func (o *Objective) UnmarshalText(text []byte) error {
	parsed, err := ParseObjective(string(text))
	if err != nil {
		return err
	}
	*o = parsed
	return nil
}

// Budget is the share of slots that may go wrong, 1 - o.
func (o Objective) Budget() Ratio {
	// 1 - 0.999 is 0.0010000000000000009 in binary, and a budget spent to the
	// last slot would read as not quite spent: round to the 15 decimals that
	// the objective itself can carry.
	exact := 1 - float64(o)
	if rounded := math.Round(exact*1e15) / 1e15; rounded > 0 {
		return Ratio(rounded)
	}
	return Ratio(exact)
}
