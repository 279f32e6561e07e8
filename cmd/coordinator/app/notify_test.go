package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
)

// Whoever mistypes who is to be told of alerts is told so before anything begins, and no secret is in what is said.
func TestBadNotifyFlags(t *testing.T) {
	dir := t.TempDir()
	const secret = "s3cr3t-and-long"
	write(t, dir, "key", secret+"\n")
	write(t, dir, "empty", "\n")
	write(t, dir, "long", strings.Repeat(secret, 1000))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"alertmanager":          {[]string{"--alertmanager", "http://am:9093", "--alertmanager", "am-2:9093"}, "alertmanager 2: got no URL, want http://host or https://host"},
		"alertmanager twice":    {[]string{"--alertmanager", "http://am:9093,http://am:9093"}, "got it twice"},
		"webhook":               {[]string{"--webhook", "ftp://hooks/" + secret}, "webhook URL: got no URL"},
		"webhook secret alone":  {[]string{"--webhook-secret", secret}, "webhook secret: got one without a webhook"},
		"two keys":              {[]string{"--pagerduty-key", secret, "--pagerduty-key-file", filepath.Join(dir, "key")}, "--pagerduty-key: got it and --pagerduty-key-file, want one of them"},
		"no such file":          {[]string{"--pagerduty-key-file", filepath.Join(dir, "none")}, "--pagerduty-key-file: open "},
		"empty file":            {[]string{"--webhook-secret-file", filepath.Join(dir, "empty")}, "--webhook-secret-file: got nothing in "},
		"another file":          {[]string{"--webhook-secret-file", filepath.Join(dir, "long")}, "--webhook-secret-file: got more than 4096 bytes in "},
		"where people reach us": {[]string{"--external-url", "lastmile.example.com"}, "external URL: got no URL"},
		"grafana":               {[]string{"--grafana-url", "grafana"}, "grafana URL: got no URL"},
		"pagerduty elsewhere":   {[]string{"--pagerduty-url", "eu", "--pagerduty-key", secret}, "pagerduty URL: got no URL"},
	} {
		args := append([]string{"serve", "--scenarios", scenariosDir, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1"}, tc.args...)
		code, out, errs := clitest.Run(t, Main, args...)
		if code != cli.ExitUsage || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: got status %d and\n%s\nwant %d and %q", name, code, errs, cli.ExitUsage, tc.want)
		}
		if strings.Contains(out+errs, secret) {
			t.Errorf("%s: the secret is in what is printed:\n%s", name, out+errs)
		}
	}
}

// Secrets come from the environment or from files, and are in no help text and in no log.
func TestNotifySecretsAreNotShown(t *testing.T) {
	const key, secret, hook = "pagerduty-0123456789", "signing-0123456789", "hook-0123456789"
	t.Setenv("LASTMILE_PAGERDUTY_KEY", key)
	t.Setenv("LASTMILE_WEBHOOK", "http://127.0.0.1:1/"+hook)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LASTMILE_WEBHOOK_SECRET_FILE", file)
	_, help, _ := clitest.Run(t, Main, "serve", "--help")
	if !strings.Contains(help, "LASTMILE_PAGERDUTY_KEY") {
		t.Errorf("got\n%s\nwant the variable named", help)
	}
	p := clitest.Start(t, Main, "serve", "--log-level", "debug", "--scenarios", scenariosDir, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0")
	clitest.Eventually(t, "a coordinator that leads", func() bool { return strings.Contains(fmt.Sprint(p), "leading") })
	if code := p.Stop(); code != 0 {
		t.Fatalf("got status %d, want 0:\n%s", code, p)
	}
	for _, hidden := range []string{key, secret, hook} {
		if strings.Contains(help+fmt.Sprint(p), hidden) {
			t.Errorf("%s is in what is printed:\n%s", hidden, help+fmt.Sprint(p))
		}
	}
}
