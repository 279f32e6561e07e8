package dial

import "testing"

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
