package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"lastmile/internal/exposition"
	"lastmile/internal/notify"
	"lastmile/internal/vars"
)

// notifyFlags say who is told of alerts.
type notifyFlags struct {
	Alertmanager      []string    `help:"Base URL of an Alertmanager that is told of alerts, such as http://alertmanager:9093. All replicas of a cluster are to be named: may be repeated." placeholder:"URL"`
	PagerDutyKey      vars.Secret `name:"pagerduty-key" help:"Integration key (Events API v2) of the PagerDuty service that is told of pages; tickets never go there. Better given as LASTMILE_PAGERDUTY_KEY, or in a file." placeholder:"KEY"`
	PagerDutyKeyFile  string      `name:"pagerduty-key-file" help:"File with that key." placeholder:"FILE" type:"path"`
	PagerDutyURL      string      `name:"pagerduty-url" help:"Base URL of PagerDuty's Events API; in the EU https://events.eu.pagerduty.com." default:"${pagerduty}"`
	Webhook           string      `help:"URL that alerts are posted to, in the form of Alertmanager's webhooks. Where it has a secret in it, better given as LASTMILE_WEBHOOK." placeholder:"URL"`
	WebhookSecret     vars.Secret `help:"Secret that signs what the webhook gets. Better given as LASTMILE_WEBHOOK_SECRET, or in a file." placeholder:"SECRET"`
	WebhookSecretFile string      `help:"File with that secret." placeholder:"FILE" type:"path"`
	NotifyDryRun      bool        `help:"Print what would be told to standard output, and tell nobody."`
	ExternalURL       string      `name:"external-url" help:"URL at which people reach this coordinator's --listen: alerts link to the runs there." placeholder:"URL"`
	GrafanaURL        string      `name:"grafana-url" help:"URL of Grafana with our dashboards: alerts link to them." placeholder:"URL"`
}

// config is what the flags say. What a dry run prints goes to out.
func (f *notifyFlags) config(out io.Writer) (notify.Config, error) {
	key, keyErr := secretOf("--pagerduty-key", f.PagerDutyKey, f.PagerDutyKeyFile)
	secret, secretErr := secretOf("--webhook-secret", f.WebhookSecret, f.WebhookSecretFile)
	c := notify.Config{
		Alertmanagers: f.Alertmanager, PagerDutyKey: key, PagerDutyURL: f.PagerDutyURL, Webhook: f.Webhook, WebhookSecret: secret,
		ExternalURL: f.ExternalURL, GrafanaURL: f.GrafanaURL,
	}
	if f.NotifyDryRun {
		c.DryRun = out
	}
	return c, errors.Join(keyErr, secretErr)
}

// maxSecretFile is far more than a secret has, in bytes: whoever names another file by mistake is told.
const maxSecretFile = 4 << 10

// secretOf returns a secret that was given by a flag or its variable, or else stands in a file. No error has it in it.
func secretOf(flag string, given vars.Secret, path string) (vars.Secret, error) {
	if path == "" {
		return given, nil
	}
	if given != "" {
		return "", fmt.Errorf("%s: got it and %s-file, want one of them", flag, flag)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s-file: %w", flag, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch secret := strings.TrimSpace(string(text)); {
	case err != nil:
		return "", fmt.Errorf("%s-file: %w", flag, err)
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("%s-file: got more than %d bytes in %s, want a secret", flag, maxSecretFile, path)
	case secret == "":
		return "", fmt.Errorf("%s-file: got nothing in %s, want a secret", flag, path)
	default:
		return vars.Secret(secret), nil
	}
}

// sinks are those of a notifier, for its metrics.
func sinks(n *notify.Notifier) func() []exposition.Sink {
	return func() []exposition.Sink {
		var out []exposition.Sink
		for _, s := range n.Stats() {
			out = append(out, exposition.Sink(s))
		}
		return out
	}
}
