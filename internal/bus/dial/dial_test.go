package dial

import (
	"testing"
	"testing/synctest"
	"time"
)

// What a person has to mend is said again as long as it lasts, but not with each attempt.
func TestComplaintIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said complaint
		times := 0
		for range 10 * time.Minute / pause {
			if said.due() {
				times++
			}
			time.Sleep(pause)
		}
		if times != 10 {
			t.Errorf("got it said %d times in ten minutes, want 10", times)
		}
	})
}

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.10.29": true, "2.11.0": false, "v2.9.1": true, "2.12.0-RC.1": false, "2.15.2": false, "1.99.0": true, "3.0.0": false, "dev": false,
	} {
		if got := olderThan(version, 2, 11); got != want {
			t.Errorf("olderThan(%q, 2, 11): got %v, want %v", version, got, want)
		}
	}
}
