package coordination

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lastmile/internal/bus/room"
)

// A room that will be too small is told of as soon as that can be seen, with what it takes; one that is large enough is not.
func TestWarningsOfRooms(t *testing.T) {
	const day = 24 * time.Hour
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		room room.Room
		want string // "" = no warning
	}{
		"empty":                {room.Room{Region: "us", Limit: 1 << 30, Wanted: 30 * day}, ""},
		"just begun":           {room.Room{Region: "us", Results: 10, Bytes: 1 << 26, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(time.Minute)}, ""},
		"weeks of room":        {room.Room{Region: "us", Results: 10, Bytes: 1 << 26, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, ""},
		"two days of room":     {room.Room{Region: "us", Results: 10, Bytes: 1 << 28, Limit: 1 << 29, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, "lasts=48h0m0s wanted=720h0m0s needs_bytes=8053063680"},
		"full within a minute": {room.Room{Region: "us", Results: 10, Bytes: 1 << 30, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(time.Minute)}, "full=1"},
	}
	for name, test := range tests {
		var text bytes.Buffer
		u := &Unit{log: slog.New(slog.NewTextHandler(&text, nil))}
		if warned := u.warnOfRoom(test.room); warned != (test.want != "") || !strings.Contains(text.String(), test.want) {
			t.Errorf("%s: got warned=%v and %q, want %q in it", name, warned, &text, test.want)
		}
	}
}

// However full a room is, no result goes that is not in a snapshot.
func TestResultsThatMustStay(t *testing.T) {
	const day = 24 * time.Hour
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	full := room.Room{Region: "us", Results: 10, Bytes: 1000, Limit: 1000, Wanted: 30 * day, Keep: 30 * day, Oldest: at, Newest: at.Add(day)}
	var none *Snapshots
	if got := full.Fitting(least(none.stats().at)); got != full.Keep {
		t.Errorf("without a snapshot: got results kept for %s, want %s as before", got, full.Keep)
	}
	if got := full.Fitting(least(time.Now().Add(-2 * day))); got < 2*day {
		t.Errorf("with a snapshot two days old: got results kept for %s, want as long at least", got)
	}
	if got := full.Fitting(least(time.Now())); got != 16*time.Hour+48*time.Minute {
		t.Errorf("with a new snapshot: got results kept for %s, want seven tenths of the day that fits", got)
	}
}
