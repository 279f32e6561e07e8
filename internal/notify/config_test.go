package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
)

// All that is wrong is said at once, and no secret.
func TestConfigurationsThatCannotBe(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want []string
	}{
		"no URLs": {
			Config{Alertmanagers: []string{"localhost:9093", "ftp://h"}, Webhook: "://secret-hook", ExternalURL: "lastmile", GrafanaURL: "/x"},
			[]string{"alertmanager 1: got no URL", "alertmanager 2", "webhook URL", "external URL", "grafana URL", "want http://host or https://host"},
		},
		"pagerduty":        {Config{PagerDutyKey: "secret-key", PagerDutyURL: "events.example"}, []string{"pagerduty URL: got no URL"}},
		"short secrets":    {Config{PagerDutyKey: "abc", Webhook: "http://h", WebhookSecret: "xyz"}, []string{"pagerduty key: got 3 bytes, want at least 6", "webhook secret: got 3"}},
		"secret alone":     {Config{WebhookSecret: "secret-sign"}, []string{"webhook secret: got one without a webhook"}},
		"a replica twice":  {Config{Alertmanagers: []string{"http://h:1", "http://h:1"}}, []string{"alertmanager:h:1: got it twice"}},
		"twice by its end": {Config{Alertmanagers: []string{"http://h:1", "http://us:secret-pass@h:1/"}}, []string{"alertmanager:h:1: got it twice"}},
	} {
		_, err := New(slog.New(slog.DiscardHandler), newBox(), tc.cfg)
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-") {
				t.Errorf("%s: got %v, want an error with %q, and no secret", name, err, want)
			}
		}
	}
}

// The names of sinks are for metrics and logs: kind and host, no user, no password, no path of a webhook.
func TestNamesOfSinks(t *testing.T) {
	cfg := Config{
		Alertmanagers: []string{"http://us:pass@a:9093/", "https://b/prefix"}, PagerDutyKey: "secret-key", PagerDutyURL: "https://events.eu.pagerduty.com", Webhook: "https://hooks/T0/x?y",
	}
	n, err := New(slog.New(slog.DiscardHandler), newBox(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []SinkStats{{Sink: "alertmanager:a:9093"}, {Sink: "alertmanager:b/prefix"}, {Sink: "pagerduty:events.eu.pagerduty.com"}, {Sink: "webhook:hooks"}}
	if got := n.Stats(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, s := range n.sinks {
		if !regexp.MustCompile(`^[a-z]+-[0-9a-f]{8}$`).MatchString(s.id) {
			t.Errorf("got id %q of %s", s.id, s.name)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", cfg.PagerDutyKey, cfg.PagerDutyKey, cfg.PagerDutyKey); strings.Contains(text, "secret") {
		t.Errorf("got the key as %s", text)
	}
}

// Without sinks nothing is done, and nothing waits.
func TestNobodyIsTold(t *testing.T) {
	n, err := New(slog.New(slog.DiscardHandler), nil, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := n.Announce(ctx, []runs.Alert{down("eu")}); err != nil {
		t.Error(err)
	}
	if err := n.Refresh(ctx, []runs.Alert{down("eu")}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := n.Run(ctx); err != nil || len(n.Stats()) != 0 {
		t.Errorf("got %v and %+v", err, n.Stats())
	}
}

// A dry run writes what each sink would be told, once, and touches neither a sink nor the outbox.
func TestDryRun(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want []string
	}{
		"no sink": {Config{}, []string{"dry run, to nobody, for there is no sink: FIRING ticket LastmileDegraded", "dry run, to nobody, for there is no sink: FIRING page LastmileDown"}},
		"sinks": {
			Config{Alertmanagers: []string{"http://alertmanager.invalid"}, PagerDutyKey: "secret-key"},
			[]string{
				"dry run, to alertmanager:alertmanager.invalid: FIRING ticket LastmileDegraded", "dry run, to alertmanager:alertmanager.invalid: FIRING page LastmileDown",
				"dry run, to pagerduty:events.pagerduty.com: FIRING page LastmileDown",
			},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			cfg := tc.cfg
			cfg.DryRun = &out
			n, err := New(slog.New(slog.DiscardHandler), nil, cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- n.Run(ctx) }()
			all := []runs.Alert{degraded("eu"), down("us")}
			if err := n.Announce(ctx, all); err != nil {
				t.Error(err)
			}
			for range 180 {
				if err := n.Refresh(ctx, all); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			text := out.String()
			for _, want := range tc.want {
				if strings.Count(text, want) != 1 {
					t.Errorf("%s: got\n%s\nwant %q once", name, text, want)
				}
			}
			if strings.Count(text, "dry run") != len(tc.want) || strings.Contains(text, "secret") || !strings.Contains(text, "checkout in us is down: 6 of the last 6 bad") {
				t.Errorf("%s: got\n%s\nwant %d alerts and no secret", name, text, len(tc.want))
			}
		})
	}
}
