package scenario

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when a scenario runs: "@every 1m", a descriptor such as @hourly, or a five-field cron expression with an
// optional CRON_TZ= prefix. The zero value never runs.
//
// The runs of a combination are spread by a hash of its name, so that a thousand scenarios with the same schedule do not fire
// at once: an @every schedule is shifted by up to its whole interval, a cron schedule by up to a minute (cron's own grain).
// In a zone with daylight saving a cron time that the clock skips or repeats is skipped or repeated, as in cron itself; slots
// are keyed by their UTC instant, so a repeated local time is still two different slots.
type Schedule struct {
	text     string
	every    time.Duration // zero for cron expressions
	spec     cron.Schedule
	together bool // whether the regions of a scenario share their slots
}

// WantSchedule says in words what a schedule may be.
const WantSchedule = "@every with whole seconds (@every 1m), @hourly, or a five-field cron expression, with CRON_TZ=Zone before it if need be"

// ParseSchedule reads a schedule; the error is a *ValueError.
func ParseSchedule(text string) (Schedule, error) {
	bad := valueError(text, WantSchedule)
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		if !strings.Contains(text, " ") { // the library slices at the first space without looking for it
			return Schedule{}, bad
		}
	}
	if d, ok := strings.CutPrefix(text, "@every "); ok { // the library rounds "@every 100ms" up to a second: refuse it instead
		every, err := time.ParseDuration(strings.TrimSpace(d))
		if err != nil || every < time.Second || every%time.Second != 0 {
			return Schedule{}, bad
		}
		return Schedule{text: text, every: every}, nil
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	spec, err := parser.Parse(text)
	if err != nil {
		return Schedule{}, bad
	}
	if _, ok := spec.(cron.ConstantDelaySchedule); ok { // an @every behind a zone, which it does not need
		return Schedule{}, bad
	}
	if spec.Next(epoch).IsZero() {
		return Schedule{}, &ValueError{Got: text, Want: "a schedule that fires at least once in five years"}
	}
	return Schedule{text: text, spec: spec}, nil
}

// epoch is any fixed instant; schedules are examined from it so that the answer does not depend on today.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// String returns the text that was parsed.
func (s Schedule) String() string { return s.text }

// IsZero reports whether the schedule is unset.
func (s Schedule) IsZero() bool { return s.text == "" }

// MarshalText implements encoding.TextMarshaler.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Schedule) UnmarshalText(text []byte) error {
	parsed, err := ParseSchedule(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// periodProbes is how many firings of a cron expression are looked at for the shortest gap: more than two days of minutes
// would be needed only by expressions that no one writes.
const periodProbes = 400

// Period is the shortest time between two slots; zero for the zero schedule.
func (s Schedule) Period() time.Duration {
	if s.every > 0 || s.spec == nil {
		return s.every
	}
	shortest := time.Duration(0)
	at := s.spec.Next(epoch)
	for range periodProbes {
		next := s.spec.Next(at)
		if next.IsZero() {
			break
		}
		if gap := next.Sub(at); shortest == 0 || gap < shortest {
			shortest = gap
		}
		at = next
	}
	if shortest == 0 { // fires once in the library's horizon of five years
		shortest = 365 * 24 * time.Hour
	}
	return shortest
}

// Next returns the combination's first slot strictly after t, in UTC and whole seconds; zero where there is none.
func (s Schedule) Next(c Combination, t time.Time) time.Time {
	switch {
	case s.every > 0:
		return nextEvery(s.every, s.spread(c, s.every), t)
	case s.spec != nil:
		shift := s.spread(c, time.Minute)
		at := s.spec.Next(t.UTC().Add(-shift))
		if at.IsZero() {
			return at
		}
		return at.Add(shift).UTC()
	}
	return time.Time{}
}

// Slots returns the combination's slots in (from, to], oldest first, at most limit of them.
func (s Schedule) Slots(c Combination, from, to time.Time, limit int) []time.Time {
	var out []time.Time
	for at := s.Next(c, from); !at.IsZero() && !at.After(to) && len(out) < limit; at = s.Next(c, at) {
		out = append(out, at)
	}
	return out
}

// Count is how many slots the schedule makes in a span of time. A cron expression is counted over a span that begins at a fixed
// date, so the answer does not depend on today.
func (s Schedule) Count(c Combination, span time.Duration) int64 {
	if s.every > 0 {
		return int64(span / s.every)
	}
	return int64(len(s.Slots(c, epoch, epoch.Add(span), maxCounted)))
}

// CountIn is how many slots a combination has from a time up to another. One whose offset moves a slot across either end has one more or
// fewer.
func (s Schedule) CountIn(from, to time.Time) int64 {
	if s.every > 0 {
		return int64(to.Sub(from) / s.every)
	}
	return int64(len(s.Slots(Combination{}, from.Add(-time.Second), to.Add(-time.Second), maxCounted)))
}

// maxCounted bounds Count and CountIn: a run a minute for a quarter of a year.
const maxCounted = 90 * 24 * 60

// nextEvery anchors an interval at the Unix epoch: slot = floor((t - phase)/d) d + phase, so that every coordinator and every
// probe on its own derives the same slots.
func nextEvery(every, phase time.Duration, t time.Time) time.Time {
	d, p := int64(every/time.Second), int64(phase/time.Second)
	n := (t.Unix() - p) / d
	if (t.Unix()-p)%d < 0 { // Go divides toward zero
		n--
	}
	return time.Unix((n+1)*d+p, 0).UTC()
}

// spread maps a combination to a fixed offset in [0, within), in whole seconds.
func (s Schedule) spread(c Combination, within time.Duration) time.Duration {
	if s.together {
		c.Region = ""
	}
	sum := sha256.Sum256([]byte(c.Scenario + "\x00" + c.Region + "\x00" + c.Network))
	seconds := uint64(within / time.Second)
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%seconds) * time.Second
}
