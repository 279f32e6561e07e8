package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/exposition/expositiontest"
)

func TestRulesCommand(t *testing.T) {
	guard, err := os.ReadFile("../../../dashboards/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := clitest.Run(t, Main, "rules", "--scenarios", "/nowhere"); code != 0 || out != string(guard) {
		t.Errorf("got status %d, %d bytes, %q, want the guard set without a look at the scenarios", code, len(out), errs)
	}
	if code, out, _ := clitest.Run(t, Main, "rules", "--no-leaks"); code != 0 || strings.Contains(out, "alert: LastmileCacheLeak") || !strings.Contains(out, "alert: LastmileWatchdog") {
		t.Errorf("without leaks: got status %d and %d bytes, want the rest of the guard set", code, len(out))
	}
	if code, out, errs := clitest.Run(t, Main, "rules", "--alerts", "--scenarios", t.TempDir()); code != cli.ExitUsage || out != "" || errs == "" {
		t.Errorf("of no scenarios: got status %d, %q, %q, want %d and why", code, out, errs, cli.ExitUsage)
	}
	code, out, errs := clitest.Run(t, Main, "rules", "--burn-rate", "--alerts", "--scenarios", scenariosDir)
	if code != 0 {
		t.Fatalf("got status %d, %s", code, errs)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	write(t, filepath.Dir(file), "rules.yml", out)
	if said, err := exec.Command(expositiontest.Program(t, "promtool"), "check", "rules", "--lint-fatal", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, said)
	}
	for _, want := range []string{`slo="availability",window="1h"} > 14.4`, `lastmile_alert_active{alertname="LastmileOutage",scenario="checkout"}`, `team: "team-payments"`} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q in the rules of the scenarios that ship", want)
		}
	}
}
