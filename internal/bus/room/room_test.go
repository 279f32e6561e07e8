package room

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestForecast(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		room  Room
		lasts time.Duration
		known bool
		needs int64
	}{
		"nothing stored":  {Room{Limit: 1 << 30, Wanted: 30 * day}, 0, false, 0},
		"too early":       {Room{Results: 900, Bytes: 1 << 20, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(9 * time.Minute)}, 0, false, 0},
		"no bound":        {Room{Results: 900, Bytes: 1 << 20, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, 0, false, 0},
		"room enough":     {Room{Results: 900, Bytes: 1 << 20, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, 30 * day, true, 0},
		"one day in two":  {Room{Results: 900, Bytes: 1 << 29, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, 2 * day, true, 15 << 30},
		"full since long": {Room{Results: 900, Bytes: 1 << 30, Limit: 1 << 30, Wanted: 30 * day, Oldest: at, Newest: at.Add(10 * day)}, 10 * day, true, 3 << 30},
	}
	for name, test := range tests {
		lasts, known := test.room.Lasts()
		if lasts != test.lasts || known != test.known || test.room.Needs() != test.needs {
			t.Errorf("%s: got %s, %v and a need of %d, want %s, %v and %d", name, lasts, known, test.room.Needs(), test.lasts, test.known, test.needs)
		}
	}
	if full := (Room{Bytes: 1, Limit: 4}).Full(); full != 0.25 {
		t.Errorf("got %v full, want a quarter", full)
	}
}

func TestFitting(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	of := func(full float64, seen, keep time.Duration) Room {
		return Room{Results: 10, Bytes: int64(full * 1000), Limit: 1000, Wanted: 30 * day, Keep: keep, Oldest: at, Newest: at.Add(seen)}
	}
	tests := map[string]struct {
		room Room
		want time.Duration
	}{
		"empty":                          {Room{Limit: 1000, Wanted: 30 * day, Keep: 30 * day}, 30 * day},
		"no bound":                       {Room{Bytes: 5, Wanted: 30 * day, Keep: 30 * day, Oldest: at, Newest: at.Add(day)}, 30 * day},
		"half full":                      {of(0.5, day, 30*day), 30 * day},
		"tight":                          {of(0.875, 10*day, 30*day), 8 * day},
		"tight, and held tightly":        {of(0.875, 11*day, 10*day), 8 * day},
		"full within an hour":            {of(1, time.Hour, 30*day), 6 * time.Hour},
		"full, and held at the least":    {of(1, time.Hour, 6*time.Hour), 6 * time.Hour},
		"full, and held for too little":  {of(1, time.Hour, 5*time.Hour), 6 * time.Hour},
		"held for too little":            {of(0.6, time.Hour, 5*time.Hour), 6 * time.Hour},
		"wanted for less than the least": {Room{Limit: 1000, Wanted: time.Hour, Keep: time.Hour}, time.Hour},
		"kept for ever":                  {Room{Bytes: 990, Limit: 1000, Wanted: 30 * day, Oldest: at, Newest: at.Add(day)}, 0},
		"held tightly, in between":       {of(0.6, 8*day, 8*day), 8 * day},
		"held tightly, with room again":  {of(0.4, 8*day, 8*day), 12 * day},
		"held a little, with room again": {of(0.4, 8*day, 25*day), 30 * day},
	}
	for name, test := range tests {
		if got := test.room.Fitting(6 * time.Hour); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}
