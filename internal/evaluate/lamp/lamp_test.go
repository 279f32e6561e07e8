package lamp_test

import (
	"encoding/json"
	"testing"
	"time"

	"lastmile/internal/evaluate/lamp"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// What comes and goes for hours is one alert, is not remembered at ever greater length, and can still be read by the next leader.
func TestRestlessIsBounded(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	s := lamp.NewStanding(at)
	l := s.Lamp(runs.AlertKey{Name: runs.AlertBlind, Scenario: "pay", Region: "eu"})
	began := 0
	for range 2000 {
		at = at.Add(5 * time.Second)
		l.Light(at, slo.SeverityTicket)
		if l.News() {
			began++
		}
		at = at.Add(5 * time.Second)
		l.Release(at)
		l.News()
	}
	if began != 2 || !l.Alert.Flapping {
		t.Errorf("got it begun %d times, flapping %v, want it kept open after the second", began, l.Alert.Flapping)
	}
	if len(l.Turns) > 20 {
		t.Errorf("got %d turns, want the newest few", len(l.Turns))
	}
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back lamp.Standing
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Errorf("check what was kept: %v", err)
	}
	for range 59 {
		at = at.Add(time.Minute)
		l.Release(at)
	}
	if !l.Alert.Active() {
		t.Error("got it ended within the hour")
	}
	if at = at.Add(2 * time.Minute); !l.Release(at) {
		t.Error("got it open still after it has rested for an hour")
	}
}
