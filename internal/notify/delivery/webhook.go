package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/vars"
)

// The headers of what a webhook gets.
const (
	// SignatureHeader has "sha256=" and the hexadecimal HMAC-SHA256 of the body under the secret.
	SignatureHeader = "X-Lastmile-Signature"
	// KeyHeader is the same whenever the same is sent again.
	KeyHeader = "Idempotency-Key"
)

// Webhook is told in the form in which Alertmanager tells its webhooks, version 4, so that what understands that understands this. Each alert comes by
// itself.
type Webhook struct {
	*poster
	secret vars.Secret
	words  wording.Words
}

// NewWebhook returns the webhook at an address. secret signs what it gets; "" = that is not signed.
func NewWebhook(address *url.URL, secret vars.Secret, words wording.Words) *Webhook {
	path := address.EscapedPath()
	secrets := []string{secret.Reveal(), address.RawQuery}
	if len(path) > len("/x") { // a path of a letter or none is no secret, and would tear text apart
		secrets = append(secrets, path, strings.Trim(path, "/"))
	}
	return &Webhook{newPoster("webhook "+address.Host, address, secrets...), secret, words}
}

// message is Alertmanager's payload.
type message struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []messageAlert    `json:"alerts"`
}

type messageAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // year 1 while it is active
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// message puts a notice into Alertmanager's form.
func (h *Webhook) message(n *Notice) message {
	a := &n.Alert
	status := "firing"
	if !n.Firing() {
		status = "resolved"
	}
	labels, annotations := wording.Labels(a), h.words.Annotations(a)
	return message{
		Version: "4", GroupKey: groupKey(labels), Status: status, Receiver: "lastmile", GroupLabels: labels, CommonLabels: labels,
		CommonAnnotations: annotations, ExternalURL: h.words.External,
		Alerts: []messageAlert{{
			Status: status, Labels: labels, Annotations: annotations, StartsAt: a.StartsAt.UTC(), EndsAt: a.EndsAt.UTC(),
			GeneratorURL: h.words.Source(a), Fingerprint: Fingerprint(labels),
		}},
	}
}

// groupKey is Alertmanager's for the group of the alerts with these labels under its first route.
func groupKey(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{}:{" + strings.Join(pairs, ", ") + "}"
}

// Fingerprint is the one by which Alertmanager and Prometheus know labels (LabelSet.Fingerprint in github.com/prometheus/common): FNV-1a over names and
// values, each followed by a byte that neither has.
func Fingerprint(labels map[string]string) string {
	sum := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		for _, part := range []string{name, labels[name]} {
			_, _ = sum.Write(append([]byte(part), 0xff)) // it has no error
		}
	}
	return fmt.Sprintf("%016x", sum.Sum64())
}

// Send implements a sender, for one notice at a time.
func (h *Webhook) Send(ctx context.Context, notices []Notice) error {
	for i := range notices {
		body, err := encodeJSON(h.message(&notices[i]))
		if err != nil {
			return err
		}
		headers := http.Header{}
		headers.Set(KeyHeader, notices[i].Key)
		if h.secret != "" {
			headers.Set(SignatureHeader, "sha256="+signature(h.secret, body))
		}
		if err := h.post(ctx, body, headers); err != nil {
			return err
		}
	}
	return nil
}

func signature(secret vars.Secret, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write(body) // it has no error
	return hex.EncodeToString(mac.Sum(nil))
}
