package document

import (
	"strings"
	"testing"
)

func TestClosest(t *testing.T) {
	names := []string{"schedule", "scenario", "steps", "slos", "url", "id"}
	for key, want := range map[string]string{"shedule": "schedule", "scehdule": "schedule", "URL": "url", "step": "steps", "ur": "url", "Id": "id", "colour": "", "x": "", "": "", strings.Repeat("schedule", 9): ""} {
		if got := Closest(key, names); got != want {
			t.Errorf("closest %q: got %q, want %q", key, got, want)
		}
	}
}
