package slo

import (
	"fmt"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// MaxWindow is the longest window that a History can answer.
const MaxWindow = Window(retainDays * day)

// Window is a length of time over which slots are counted: whole minutes, from
// one minute to MaxWindow. Its text form is a whole number and one unit, m, h
// or d: "5m", "1h", "30d"; a day is 24 hours. It prints in the largest unit
// that is exact, so "24h" reads back as "1d".
type Window time.Duration

// ParseWindow reads the text form. The error gives got and want.
func ParseWindow(text string) (Window, error) {
	count, unit, ok := splitUnit(text)
	if !ok {
		return 0, fmt.Errorf("parse window: got %.40q, want a whole number and m, h or d, such as 30d", text)
	}
	// Compared before multiplying, so that it cannot overflow.
	if count < 1 || count > int64(MaxWindow)/int64(unit) {
		return 0, fmt.Errorf("parse window: got %.40q, want 1m to %v", text, MaxWindow)
	}
	return Window(time.Duration(count) * unit), nil
}

func splitUnit(text string) (count int64, unit time.Duration, ok bool) {
	if text == "" {
		return 0, 0, false
	}
	switch text[len(text)-1] {
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = day
	default:
		return 0, 0, false
	}
	digits := text[:len(text)-1]
	if !isDigits(digits) {
		return 0, 0, false
	}
	count, err := strconv.ParseInt(digits, 10, 64)
	return count, unit, err == nil
}

// Duration is the window as a time.Duration.
func (w Window) Duration() time.Duration { return time.Duration(w) }

// Validate reports a window that is not whole minutes from 1m to MaxWindow.
func (w Window) Validate() error {
	if w < Window(time.Minute) || w > MaxWindow || w%Window(time.Minute) != 0 {
		return fmt.Errorf("check window: got %v, want whole minutes from 1m to %v", w.Duration(), MaxWindow)
	}
	return nil
}

// String gives the text form; a window that is not whole minutes prints as a
// time.Duration does.
func (w Window) String() string {
	d := w.Duration()
	switch {
	case d <= 0 || d%time.Minute != 0:
		return d.String()
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	default:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
}

// MarshalText gives the text form; a window that is not valid is an error.
func (w Window) MarshalText() ([]byte, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	return []byte(w.String()), nil
}

// UnmarshalText reads what ParseWindow reads; on an error w is unchanged.
func (w *Window) UnmarshalText(text []byte) error {
	parsed, err := ParseWindow(string(text))
	if err != nil {
		return err
	}
	*w = parsed
	return nil
}
