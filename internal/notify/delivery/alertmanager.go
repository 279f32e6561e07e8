package delivery

import (
	"context"
	"net/url"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
)

// Alertmanager is one replica, by version 2 of its API. Each replica is told by itself, as Alertmanager's documentation asks for.
type Alertmanager struct {
	*poster
	words wording.Words
	lasts time.Duration
}

// NewAlertmanager returns the replica with a base URL. lasts is after how long it takes for ended what it has not been told again.
func NewAlertmanager(base *url.URL, words wording.Words, lasts time.Duration) *Alertmanager {
	return &Alertmanager{newPoster("alertmanager "+base.Host, base.JoinPath("api/v2/alerts")), words, lasts}
}

// postable is an alert as Alertmanager takes it.
type postable struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// postable puts an alert into Alertmanager's form. It has both times always: where only the end is given, Alertmanager takes that for the beginning, too.
func (m *Alertmanager) postable(a *runs.Alert, now time.Time) postable {
	ends := a.EndsAt
	if a.Active() {
		ends = now.Add(m.lasts)
	}
	if ends.Before(a.StartsAt) { // it would be refused; the end counts
		ends = a.StartsAt
	}
	return postable{
		Labels: wording.Labels(a), Annotations: m.words.Annotations(a), StartsAt: a.StartsAt.UTC(), EndsAt: ends.UTC(), GeneratorURL: m.words.Source(a),
	}
}

// Send implements a sender. Alertmanager accepts the good alerts of a batch, and answers 400 for the bad ones.
func (m *Alertmanager) Send(ctx context.Context, notices []Notice) error {
	now := time.Now()
	alerts := make([]postable, len(notices))
	for i := range notices {
		alerts[i] = m.postable(&notices[i].Alert, now)
	}
	body, err := encodeJSON(alerts)
	if err != nil {
		return err
	}
	return m.post(ctx, body, nil)
}
