package scenario

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func mustSchedule(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := ParseSchedule(text)
	if err != nil {
		t.Fatalf("parse schedule %q: %v", text, err)
	}
	return s
}

// utc reads a time such as 2026-03-29T01:30:00Z.
func utc(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestParseSchedule(t *testing.T) {
	cases := []struct {
		text   string
		period time.Duration // 0 = refused
	}{
		{"@every 1m", time.Minute},
		{"@every 1s", time.Second},
		{"@every 1h30m", 90 * time.Minute},
		{"@every  10s", 10 * time.Second},
		{"@hourly", time.Hour},
		{"@daily", 24 * time.Hour},
		{"@weekly", 7 * 24 * time.Hour},
		{"* * * * *", time.Minute},
		{"*/5 * * * *", 5 * time.Minute},
		{"*/7 * * * *", 4 * time.Minute}, // from minute 56 to minute 0
		{"0 9 * * MON-FRI", 24 * time.Hour},
		{"0 0 29 2 *", (4*365 + 1) * 24 * time.Hour},
		{"CRON_TZ=Europe/Berlin 0 9 * * *", 23 * time.Hour}, // the day on which the clock goes forward
		{"TZ=Asia/Tokyo 0 9 * * *", 24 * time.Hour},

		{"", 0},
		{" ", 0},
		{"@every", 0},
		{"@every 100ms", 0},
		{"@every 1500ms", 0},
		{"@every 0s", 0},
		{"@every -1m", 0},
		{"@every 1d", 0},
		{"@sometimes", 0},
		{"@reboot", 0},
		{"* * * *", 0},
		{"* * * * * *", 0},
		{"60 * * * *", 0},
		{"0 0 30 2 *", 0}, // never
		{", * * * *", 0},  // no minute at all
		{"TZ=", 0},
		{"TZ=UTC", 0},
		{"TZ=UTC ", 0},
		{"CRON_TZ=", 0},
		{"CRON_TZ=Europe/Berlin", 0},
		{"CRON_TZ=Mars/Olympus * * * * *", 0},
		{"CRON_TZ=../../etc/passwd * * * * *", 0},
		{"CRON_TZ=UTC @every 100ms", 0},
		{"CRON_TZ=UTC @every 1500ms", 0},
		{"CRON_TZ=UTC @every -1h", 0},
	}
	for _, c := range cases {
		s, err := ParseSchedule(c.text)
		if c.period == 0 {
			if bad, ok := errors.AsType[*ValueError](err); !ok || bad.Got == "" || bad.Want == "" {
				t.Errorf("parse %q: got %v, want a ValueError with got and want", c.text, err)
			}
			continue
		}
		if err != nil || s.Period() != c.period || s.String() != c.text || s.IsZero() {
			t.Errorf("parse %q: got %q with period %s and %v, want period %s", c.text, s, s.Period(), err, c.period)
		}
	}
}

func TestZeroSchedule(t *testing.T) {
	var s Schedule
	if !s.IsZero() || s.Period() != 0 || !s.Next(Combination{}, epoch).IsZero() || len(s.Slots(Combination{}, epoch, epoch.Add(time.Hour), 9)) != 0 {
		t.Error("the zero schedule runs")
	}
}

// localTimes prints the minutes of the slots in (from, to] by the clock of Berlin.
func localTimes(t *testing.T, schedule string, from, to string) []string {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := Combination{Scenario: "a", Region: "eu", Network: "none"}
	s := mustSchedule(t, "CRON_TZ=Europe/Berlin "+schedule)
	shift := Schedule{}.spread(c, time.Minute)
	var out []string
	for _, at := range s.Slots(c, utc(t, from).Add(shift), utc(t, to).Add(shift), 100) {
		out = append(out, at.Add(-shift).In(berlin).Format("02 15:04 MST"))
	}
	return out
}

// In 2026 the clocks of Berlin go forward on 29 March at 02:00 and back on 25 October at 03:00.
func TestDaylightSaving(t *testing.T) {
	cases := []struct {
		schedule, from, to string
		want               []string
	}{
		{"30 2 * * *", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", []string{"28 02:30 CET", "30 02:30 CEST"}}, // skipped on the 29th
		{"30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", []string{"25 02:30 CEST", "25 02:30 CET", "26 02:30 CET"}},
		{"0 9 * * *", "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z", []string{"28 09:00 CET", "29 09:00 CEST"}},
		{"*/30 * * * *", "2026-03-29T00:15:00Z", "2026-03-29T01:15:00Z", []string{"29 01:30 CET", "29 03:00 CEST"}},
		{"0 * * * *", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", []string{"25 02:00 CET", "25 03:00 CET"}},
	}
	for _, c := range cases {
		if got := localTimes(t, c.schedule, c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%s from %s: got %v, want %v", c.schedule, c.from, got, c.want)
		}
	}
}

// A coordinator that starts at any moment finds the same slots.
func TestSlotsDoNotDependOnTheStart(t *testing.T) {
	c := Combination{Scenario: "checkout", Region: "us", Network: "3g"}
	for _, text := range []string{"@every 1s", "@every 7s", "@every 1m", "@every 90s", "@every 24h", "* * * * *", "*/7 * * * *", "CRON_TZ=Europe/Berlin 0 */3 * * *"} {
		s := mustSchedule(t, text)
		start := utc(t, "2026-03-28T12:00:00Z")
		all := s.Slots(c, start, start.Add(100*time.Hour), 500)
		if len(all) < 4 {
			t.Fatalf("%s: got %d slots", text, len(all))
		}
		for i, at := range all[:len(all)-1] {
			for _, from := range []time.Time{at, at.Add(time.Nanosecond), all[i+1].Add(-time.Nanosecond), all[i+1].Add(-time.Second)} {
				if got := s.Next(c, from.In(time.FixedZone("x", 3600))); !got.Equal(all[i+1]) || got.Location() != time.UTC {
					t.Fatalf("%s: next after %s: got %s, want %s", text, from, got, all[i+1])
				}
			}
		}
		if got := s.Slots(c, start, all[2], 500); len(got) != 3 || !got[2].Equal(all[2]) {
			t.Errorf("%s: slots to %s: got %v, want 3, the last at the very end", text, all[2], got)
		}
		if got := s.Slots(c, all[0], start.Add(100*time.Hour), 2); len(got) != 2 || !got[0].Equal(all[1]) {
			t.Errorf("%s: slots after the first, at most 2: got %v", text, got)
		}
	}
	s := mustSchedule(t, "@every 1m")
	if got := s.Next(c, time.Unix(-1000, 0)); got.Unix() <= -1000 || got.Unix() > -940 {
		t.Errorf("next before 1970: got %s", got)
	}
}

// A thousand scenarios with one schedule do not fire at once: in 60 buckets of one second each has 16.7 on average, and no
// bucket is far from that. The hash is fixed, so the numbers are too.
func TestSpread(t *testing.T) {
	for _, text := range []string{"@every 1m", "* * * * *"} {
		s := mustSchedule(t, text)
		buckets := map[int]int{}
		for i := range 1000 {
			c := Combination{Scenario: fmt.Sprintf("scenario-%d", i), Region: "us", Network: "none"}
			buckets[s.Next(c, epoch).Second()]++
		}
		fewest, most := 1000, 0
		for second := range 60 {
			fewest, most = min(fewest, buckets[second]), max(most, buckets[second])
		}
		if fewest < 5 || most > 34 {
			t.Errorf("%s: got %d to %d scenarios per second, want all near 17", text, fewest, most)
		}
	}
	a := Schedule{}.spread(Combination{Scenario: "a", Region: "us", Network: "3g"}, time.Hour)
	for _, other := range []Combination{{"b", "us", "3g"}, {"a", "eu", "3g"}, {"a", "us", "2g"}} {
		if (Schedule{}).spread(other, time.Hour) == a {
			t.Errorf("%v has the offset of another combination, %s", other, a)
		}
	}
}

func TestCount(t *testing.T) {
	c := Combination{Scenario: "a", Region: "us", Network: "none"}
	for text, want := range map[string]int64{"@every 1m": 1440, "@every 7m": 205, "* * * * *": 1440, "0 9 * * *": 1} {
		if got := mustSchedule(t, text).Count(c, 24*time.Hour); got != want {
			t.Errorf("%s: got %d slots a day, want %d", text, got, want)
		}
	}
}

func TestStartWindow(t *testing.T) {
	for text, want := range map[string]time.Duration{"@every 10s": 5 * time.Second, "@every 1m": 30 * time.Second, "@hourly": 30 * time.Second} {
		s := Scenario{Schedule: mustSchedule(t, text)}
		if got := s.StartWindow(); got != want {
			t.Errorf("start window of %s: got %s, want %s", text, got, want)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, text := range []string{
		"@every 1m", "@every 9223372036s", "*/7 * * * *", "0 0 29 2 *", "TZ=", "TZ= ", "CRON_TZ=UTC", "CRON_TZ=Europe/Berlin 30 2 * * *", ",", ", , , , ,", "1-2-3 * * * *",
		"*/99999999999999999999 * * * *", "* * */0 * *", "CRON_TZ=Australia/Lord_Howe 30 2 * * *", "CRON_TZ=Africa/Cairo 0 0 * 4 5", "CRON_TZ=Local * * * * *", "TZ=UTC @every 1m", "0 0 31 4,6 *",
	} {
		f.Add(text, int64(1774744200), "a")
	}
	f.Fuzz(func(t *testing.T, text string, unix int64, name string) {
		s, err := ParseSchedule(text)
		if err != nil {
			if bad, ok := errors.AsType[*ValueError](err); !ok || bad.Got == "" || bad.Want == "" {
				t.Fatalf("parse %q: got %v, want a ValueError", text, err)
			}
			return
		}
		if s.Period() < time.Second {
			t.Errorf("%q: got period %s, want at least 1s", text, s.Period())
		}
		again := mustSchedule(t, s.String())
		c := Combination{Scenario: name, Region: "us", Network: "none"}
		from := time.Unix(1.7e9+unix%3e9, 0) // 1970 to 2119
		at := from
		for range 20 {
			next := s.Next(c, at)
			if next.IsZero() {
				break
			}
			if !next.After(at) || next.Nanosecond() != 0 {
				t.Fatalf("%q: next after %s: got %s, want a later whole second", text, at, next)
			}
			if other := again.Next(c, at); !other.Equal(next) {
				t.Fatalf("%q parsed again: got %s after %s, want %s", text, other, at, next)
			}
			if middle := s.Next(c, at.Add(next.Sub(at)/2)); !middle.Equal(next) {
				t.Fatalf("%q: got %s after half the way from %s, want %s", text, middle, at, next)
			}
			at = next
		}
	})
}

// What writes and what reads in a replication does so at the same time; other runs are spread over their regions.
func TestTimetable(t *testing.T) {
	for _, text := range []string{"@every 10m", "*/5 * * * *"} {
		schedule, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		us, eu := Combination{"shop", "us", "3g"}, Combination{"shop", "eu", "3g"}
		plain := Scenario{Schedule: schedule}
		if a, b := plain.Timetable().Next(us, epoch), plain.Timetable().Next(eu, epoch); a.Equal(b) {
			t.Errorf("%s: got %s in both regions, want them apart", text, a)
		}
		pair := Scenario{Schedule: schedule, Kind: KindReplication}
		if a, b := pair.Timetable().Next(us, epoch), pair.Timetable().Next(eu, epoch); !a.Equal(b) || !a.After(epoch) {
			t.Errorf("%s: got slots at %s and %s, want them at the same time", text, a, b)
		}
		if other := (Combination{"shop", "us", "none"}); pair.Timetable().Next(us, epoch).Equal(pair.Timetable().Next(other, epoch)) {
			t.Errorf("%s: got two networks at the same time, want them apart", text)
		}
	}
}

func TestPeriodsOfTheCalendar(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		calendar        Calendar
		now, from, to   string
		everyFive, cron int64
	}{
		{CalendarWeek, "2026-11-21T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z", 7 * 288, 5}, // a Saturday
		{CalendarWeek, "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z", 7 * 288, 5},
		{CalendarWeek, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z", 7 * 288, 5}, // a Monday
		{CalendarWeek, "2027-01-01T00:30:00+02:00", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z", 7 * 288, 5},
		{CalendarMonth, "2026-11-21T23:59:59Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", 30 * 288, 21},
		{CalendarMonth, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 29 * 288, 21},
		{CalendarMonth, "2027-01-01T00:30:00+02:00", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", 31 * 288, 23},
	} {
		from, to := c.calendar.Period(at(c.now))
		if !from.Equal(at(c.from)) || !to.Equal(at(c.to)) {
			t.Errorf("%s of %s: got %s to %s, want %s to %s", c.calendar, c.now, from, to, c.from, c.to)
		}
		if got := mustSchedule(t, "@every 5m").CountIn(from, to); got != c.everyFive {
			t.Errorf("%s of %s, every 5 minutes: got %d slots, want %d", c.calendar, c.now, got, c.everyFive)
		}
		if got := mustSchedule(t, "0 0 * * MON-FRI").CountIn(from, to); got != c.cron { // also where one is at the very beginning
			t.Errorf("%s of %s, on working days: got %d slots, want %d", c.calendar, c.now, got, c.cron)
		}
	}
}
