package app

import (
	"strings"
	"testing"

	"lastmile/cmd/coordinator/identity"
	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
)

func TestServeRefusals(t *testing.T) {
	used := t.TempDir()
	self, err := identity.Take(used)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"data in use":              {[]string{"--data", used, "--nats", "nats://127.0.0.1:1"}, cli.ExitFailed, used + " is in use by another coordinator"},
		"replicas without cluster": {[]string{"--data", t.TempDir(), "--replicas", "3"}, cli.ExitUsage, "--replicas: got 3"},
		"too many replicas":        {[]string{"--data", t.TempDir(), "--replicas", "6", "--nats", "nats://127.0.0.1:1"}, cli.ExitUsage, "--replicas: got 6"},
	}
	for name, test := range tests {
		args := append([]string{"serve", "--scenarios", scenariosDir, "--listen", "127.0.0.1:0"}, test.args...)
		code, _, errs := clitest.Run(t, Main, args...)
		if code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%s: got status %d and\n%s\nwant %d and %q", name, code, errs, test.code, test.want)
		}
	}
}
