package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
	"lastmile/internal/vars"
)

// Outbox keeps what is to be told, beyond the life of a coordinator. It is safe for concurrent use.
type Outbox interface {
	// Put stores a message for a sink about an alert and returns its sequence, greater than those of all before it. One with the same id that was
	// stored shortly before stays, and its sequence is returned.
	Put(ctx context.Context, sink, alert, id string, body []byte) (sequence uint64, err error)
	// Done notes that the sink needs no message about the alert any more up to one with that sequence.
	Done(ctx context.Context, sink, alert string, sequence uint64) error
	// Load calls each for what is kept, by sequence. Some of what is done is kept, too, always the last message about an alert.
	Load(ctx context.Context, each func(sink, alert string, sequence uint64, done bool, body []byte)) error
}

// Config says who is told, and where what is said leads to. The zero value tells nobody.
type Config struct {
	Alertmanagers []string    // base URLs of all replicas; user:password@ is sent as basic authentication
	PagerDutyKey  vars.Secret // integration key of a service (Events API v2), which is told of pages and of no tickets; "" = PagerDuty is not told
	PagerDutyURL  string      // base URL; "" = DefaultPagerDutyURL
	Webhook       string      // full URL; "" = none. It is never printed beyond its host: many have a secret in them
	WebhookSecret vars.Secret // signs what the webhook gets; "" = it is not signed

	// DryRun, where it is set, has written to it what the sinks would be told, and nobody is told anything, nor is the outbox used. Without any sink
	// all alerts are written.
	DryRun io.Writer

	ExternalURL string // base URL of the coordinator's API as people reach it; "" = no links to runs
	GrafanaURL  string // base URL of Grafana; "" = no links to dashboards
}

// DefaultPagerDutyURL is PagerDuty's address in its region US. That of the region EU is https://events.eu.pagerduty.com.
const DefaultPagerDutyURL = "https://events.pagerduty.com"

// SinkStats counts what has become of what a sink was to be told, since this process began.
type SinkStats struct {
	Sink    string // kind and host
	Sent    int64  // alerts that it has accepted, those that were said again included
	Failed  int64  // attempts that will be, or were, repeated
	Dropped int64  // alerts that it will not be told of: it refuses them, or could not be reached for a day, or more came than are kept
	Pending int64  // waiting now
}

// Notifier tells the sinks. It is safe for concurrent use.
type Notifier struct {
	log    *slog.Logger
	outbox Outbox
	sinks  []*sink
	times  timing

	wake chan struct{} // there is something to be kept

	mu        sync.Mutex
	announced []*announcement
	all       map[string]runs.Alert // by identity, as they were last refreshed
	refreshed bool                  // since Run began
	missing   map[string]time.Time  // since when alerts that sinks have been told of are not among all, by identity
}

// announcement is what one call of Announce brought.
type announcement struct {
	alerts []runs.Alert
	kept   chan struct{} // closed when all of it is in the outbox
}

// maxAnnounced bounds what waits for an outbox that does not work.
const maxAnnounced = 1000

// timing is how long everything takes. Tests shorten it.
type timing struct {
	resend   time.Duration // between two times that an Alertmanager is told the same
	resolved time.Duration // for how long it is told of an end
	attempt  time.Duration // of one request
	first    time.Duration // between the first two attempts
	most     time.Duration // between any two
	giveUp   time.Duration // after which a message is not tried any more
	orphan   time.Duration // after which an alert that is not known any more is said to have ended
	announce time.Duration // that Announce waits for the outbox
	again    time.Duration // until the outbox is tried again
}

// remembered is how many resends an Alertmanager may miss until it takes an alert for ended.
const remembered = 4

func timings() timing {
	return timing{
		resend: time.Minute, resolved: 15 * time.Minute, attempt: 10 * time.Second, first: time.Second, most: time.Minute, giveUp: 24 * time.Hour,
		orphan: 15 * time.Minute, announce: 2 * time.Second, again: time.Second,
	}
}

// New checks the configuration and reports all that is wrong with it at once. No error has a secret in it.
func New(log *slog.Logger, outbox Outbox, cfg Config) (*Notifier, error) {
	return build(log, outbox, cfg, timings())
}

func build(log *slog.Logger, outbox Outbox, cfg Config, times timing) (*Notifier, error) {
	var errs []error
	check := func(what, text string) *url.URL {
		u, err := base(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return u
	}
	words := wording.Words{External: strings.TrimRight(cfg.ExternalURL, "/"), Grafana: strings.TrimRight(cfg.GrafanaURL, "/")}
	if cfg.ExternalURL != "" {
		check("external URL", cfg.ExternalURL)
	}
	if cfg.GrafanaURL != "" {
		check("grafana URL", cfg.GrafanaURL)
	}
	n := &Notifier{log: log, outbox: outbox, times: times, wake: make(chan struct{}, 1), missing: map[string]time.Time{}}
	for i, text := range cfg.Alertmanagers {
		if u := check(fmt.Sprintf("alertmanager %d", i+1), text); u != nil {
			n.add("alertmanager", u.Host+strings.TrimRight(u.Path, "/"), text, delivery.NewAlertmanager(u, words, remembered*times.resend), &sink{labelled: true, repeats: true})
		}
	}
	if cfg.PagerDutyKey != "" {
		text := cfg.PagerDutyURL
		if text == "" {
			text = DefaultPagerDutyURL
		}
		if u := check("pagerduty URL", text); u != nil {
			n.add("pagerduty", u.Host, text+" "+cfg.PagerDutyKey.Reveal(), delivery.NewPagerDuty(u, cfg.PagerDutyKey, words), &sink{pages: true})
		}
	}
	switch {
	case cfg.Webhook != "":
		if u := check("webhook URL", cfg.Webhook); u != nil {
			n.add("webhook", u.Host, cfg.Webhook, delivery.NewWebhook(u, cfg.WebhookSecret, words), &sink{labelled: true})
		}
	case cfg.WebhookSecret != "":
		errs = append(errs, errors.New("webhook secret: got one without a webhook, want the URL of it, too"))
	}
	for i, secret := range []vars.Secret{cfg.PagerDutyKey, cfg.WebhookSecret} {
		if secret != "" && len(secret) < vars.MinSecret {
			errs = append(errs, fmt.Errorf("%s: got %d bytes, want at least %d", []string{"pagerduty key", "webhook secret"}[i], len(secret), vars.MinSecret))
		}
	}
	for i, s := range n.sinks {
		for _, other := range n.sinks[:i] {
			if s.id == other.id || s.name == other.name {
				errs = append(errs, fmt.Errorf("%s: got it twice, want each sink once", s.name))
			}
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("configure notifications: %w", errors.Join(errs...))
	}
	if cfg.DryRun != nil {
		n.dry(cfg.DryRun, words)
	}
	return n, nil
}

// add takes a sink on. where is for people; what is all that makes it another sink, so that one that is new is told of what is active.
func (n *Notifier) add(kind, where, what string, to sender, s *sink) {
	sum := sha256.Sum256([]byte(kind + " " + what))
	s.name, s.id, s.to = kind+":"+where, kind+"-"+hex.EncodeToString(sum[:4]), to
	n.take(s)
}

func (n *Notifier) take(s *sink) {
	s.log, s.times, s.wake = n.log, n.times, make(chan struct{}, 1)
	s.forget()
	n.sinks = append(n.sinks, s)
}

// base reads an address. Its errors do not quote it, for it may have a secret in it.
func base(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("got no URL, want http://host or https://host")
	}
	return u, nil
}

// Announce puts what has changed (began, rose or ended) into the outbox, in that order. It is called by the coordinator that leads, while Run runs. It
// waits for two seconds at most; on an error, what was announced is kept in memory and tried again.
func (n *Notifier) Announce(ctx context.Context, changed []runs.Alert) error {
	if len(changed) == 0 || len(n.sinks) == 0 {
		return nil
	}
	n.mu.Lock()
	a := n.hold(changed)
	for i := range changed { // what is refreshed must not be older than what was announced
		if id := wording.Identity(&changed[i]); n.all != nil {
			n.all[id] = changed[i]
		}
	}
	n.mu.Unlock()
	n.poke()
	ctx, cancel := context.WithTimeout(ctx, n.times.announce)
	defer cancel()
	select {
	case <-a.kept:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("announce %d alerts: they are not in the outbox yet: %w", len(changed), ctx.Err())
	}
}

// said is one change of an alert.
type said struct {
	identity     string
	severity     slo.Severity
	inhibited    bool
	starts, ends int64 // Unix nanoseconds
}

func saidOf(a *runs.Alert) said {
	return said{wording.Identity(a), a.Severity, a.Inhibited, a.StartsAt.UnixNano(), a.EndsAt.UnixNano()}
}

// hold takes up what is not waiting for the outbox yet: who announces does so again until it is there. It returns the announcement after which all of it is.
// The lock must be held.
func (n *Notifier) hold(changed []runs.Alert) *announcement {
	waiting := map[said]bool{}
	for _, a := range n.announced {
		for i := range a.alerts {
			waiting[saidOf(&a.alerts[i])] = true
		}
	}
	a := &announcement{kept: make(chan struct{})}
	for i := range changed {
		if !waiting[saidOf(&changed[i])] {
			a.alerts = append(a.alerts, changed[i])
		}
	}
	if len(a.alerts) == 0 {
		return n.announced[len(n.announced)-1]
	}
	n.announced = append(n.announced, a)
	if over := len(n.announced) - maxAnnounced; over > 0 { // Refresh makes up for it
		n.announced = n.announced[over:]
	}
	return a
}

// Refresh says which alerts there are: all that are active, and those that ended in the last quarter of an hour. Alertmanagers are told of them each
// minute. What was not announced, by whatever accident, is now: an alert that a sink does not know, and the end of one that it believes to be active. An
// alert that a sink was told of and that is not known any more ends after a quarter of an hour. Refresh does not wait.
func (n *Notifier) Refresh(_ context.Context, all []runs.Alert) error {
	if len(n.sinks) == 0 {
		return nil
	}
	latest := make(map[string]runs.Alert, len(all))
	for i := range all {
		id := wording.Identity(&all[i])
		if other, ok := latest[id]; !ok || newer(&all[i], &other) {
			latest[id] = all[i]
		}
	}
	n.mu.Lock()
	n.all, n.refreshed = latest, true
	n.mu.Unlock()
	n.poke()
	return nil
}

// newer says which of two alerts of one identity counts.
func newer(a, b *runs.Alert) bool {
	if a.Active() != b.Active() {
		return a.Active()
	}
	return a.EndsAt.After(b.EndsAt)
}

// poke wakes the keeper.
func (n *Notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Stats counts, one for each sink, in the order of the configuration. What waits for an outbox that does not work waits for the sinks, too.
func (n *Notifier) Stats() []SinkStats {
	n.mu.Lock()
	var pages, all int64
	for _, a := range n.announced {
		for i := range a.alerts {
			if all++; a.alerts[i].Severity == slo.SeverityPage {
				pages++
			}
		}
	}
	n.mu.Unlock()
	out := make([]SinkStats, len(n.sinks))
	for i, s := range n.sinks {
		if out[i] = s.statistics(); s.pages {
			out[i].Pending += pages
		} else {
			out[i].Pending += all
		}
	}
	return out
}
