package delivery

import (
	"context"
	"net/url"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/vars"
)

// PagerDuty is a service of PagerDuty, by version 2 of its Events API. An event with the dedup_key of an open incident becomes a part of that, and wakes
// nobody again.
type PagerDuty struct {
	*poster
	key   vars.Secret
	words wording.Words
}

// NewPagerDuty returns the service with an integration key, at a base URL.
func NewPagerDuty(base *url.URL, key vars.Secret, words wording.Words) *PagerDuty {
	return &PagerDuty{newPoster("pagerduty", base.JoinPath("v2/enqueue"), key.Reveal()), key, words}
}

// event is what PagerDuty takes.
type event struct {
	RoutingKey string        `json:"routing_key"`
	Action     string        `json:"event_action"`
	DedupKey   string        `json:"dedup_key"`
	Client     string        `json:"client,omitempty"`
	ClientURL  string        `json:"client_url,omitempty"`
	Payload    *eventPayload `json:"payload,omitempty"` // of a trigger
	Links      []eventLink   `json:"links,omitempty"`
}

type eventPayload struct {
	Summary   string       `json:"summary"`
	Source    string       `json:"source"`
	Severity  string       `json:"severity"`
	Timestamp time.Time    `json:"timestamp"`
	Component string       `json:"component"`
	Group     string       `json:"group"`
	Class     string       `json:"class"`
	Details   eventDetails `json:"custom_details"`
}

// eventDetails is all that is known: in words, and as it was decided on.
type eventDetails struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Why         runs.Why          `json:"why"`
}

type eventLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

// event puts a notice into PagerDuty's form. Only pages come here, and wake somebody: their severity is critical.
func (d *PagerDuty) event(n *Notice) event {
	e := event{RoutingKey: d.key.Reveal(), Action: "resolve", DedupKey: "lastmile-" + n.Identity}
	if !n.Firing() {
		return e
	}
	a := &n.Alert
	e.Action, e.Client, e.ClientURL = "trigger", "lastmile", d.words.External
	group := a.Region
	if group == "" {
		group = string(a.Scope)
	}
	annotations := d.words.Annotations(a)
	e.Payload = &eventPayload{
		Summary: annotations["summary"], Source: a.Where(), Severity: "critical", Timestamp: a.StartsAt.UTC(), Component: a.Scenario, Group: group, Class: a.Name,
		Details: eventDetails{Labels: wording.Labels(a), Annotations: annotations, Why: a.Why},
	}
	for _, link := range []eventLink{
		{annotations["runbook_url"], "Runbook"}, {annotations["dashboard_url"], "Dashboard"}, {annotations["run_url"], "First run that failed"},
		{annotations["latest_run_url"], "Latest run that failed"},
	} {
		if link.Href != "" {
			e.Links = append(e.Links, link)
		}
	}
	return e
}

// Send implements a sender, for one notice at a time, as the API takes them.
func (d *PagerDuty) Send(ctx context.Context, notices []Notice) error {
	for i := range notices {
		body, err := encodeJSON(d.event(&notices[i]))
		if err != nil {
			return err
		}
		if err := d.post(ctx, body, nil); err != nil {
			return err
		}
	}
	return nil
}
