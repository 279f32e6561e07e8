package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// Notice is one thing that a sink is told: that an alert is active, or has ended.
type Notice struct {
	Key   string     `json:"key"` // the same however often this is told, and of no other
	At    time.Time  `json:"at"`  // when it was put into the outbox
	Alert runs.Alert `json:"alert"`

	Identity string `json:"-"` // of the alert
	Sequence uint64 `json:"-"` // in the outbox
}

// Firing reports whether the alert is active.
func (n *Notice) Firing() bool { return n.Alert.Active() }

// NewNotice makes a notice. after is the sequence of the one before it about the same alert: a beginning that comes again after an end is another one.
func NewNotice(a *runs.Alert, after uint64, now time.Time) Notice {
	n := Notice{At: now.UTC(), Alert: Tidy(*a), Identity: wording.Identity(a)}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d %d", n.Identity, a.Severity, a.StartsAt.UnixNano(), ended(a), after))
	n.Key = hex.EncodeToString(sum[:16])
	return n
}

// ended is when an alert ended, in Unix nanoseconds; 0 = it has not.
func ended(a *runs.Alert) int64 {
	if a.Active() {
		return 0
	}
	return a.EndsAt.UnixNano()
}

// The bounds of what is kept and told of one alert.
const (
	maxNames         = 200
	maxConfirmations = 20
	maxWindows       = 20
	maxLabels        = 20
	maxText          = 1000 // bytes
)

// Tidy returns an alert that can be kept and told whatever it was decided on: a page must not be lost because of a number in it.
func Tidy(a runs.Alert) runs.Alert {
	w := &a.Why
	w.Expected, w.Log10P = finite(w.Expected), finite(w.Log10P)
	w.Remaining, w.Coverage = finitePointer(w.Remaining), finitePointer(w.Coverage)
	if w.Over.Validate() != nil {
		w.Over = 0
	}
	var burn []runs.WindowBurn
	for _, b := range w.Burn {
		if b.Window.Validate() == nil && len(burn) < maxWindows {
			burn = append(burn, runs.WindowBurn{Window: b.Window, Burn: finite(b.Burn)})
		}
	}
	w.Burn = burn
	w.Regions, w.Healthy, w.Networks = names(w.Regions), names(w.Healthy), names(w.Networks)
	w.First, w.Latest = failure(w.First), failure(w.Latest)
	w.Confirmations = slices.Clone(w.Confirmations[max(0, len(w.Confirmations)-maxConfirmations):])
	w.Usual, a.Runbook, a.Team = wording.Clip(w.Usual, maxText), wording.Clip(a.Runbook, maxText), wording.Clip(a.Team, maxText)
	var labels map[string]string
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		if labels == nil {
			labels = map[string]string{}
		}
		if len(labels) < maxLabels {
			labels[name] = wording.Clip(a.Labels[name], maxText)
		}
	}
	a.Labels = labels
	return a
}

func finite[F ~float64](f F) F {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return 0
	}
	return f
}

func finitePointer(r *slo.Ratio) *slo.Ratio {
	if r == nil {
		return nil
	}
	f := finite(*r)
	return &f
}

func names(all []string) []string { return slices.Clone(all[:min(len(all), maxNames)]) }

func failure(f *runs.Failure) *runs.Failure {
	if f == nil || f.Cause == nil {
		return f
	}
	c := *f.Cause
	c.Step, c.Detail = wording.Clip(c.Step, maxText), wording.Clip(c.Detail, maxText)
	return &runs.Failure{RunID: f.RunID, At: f.At, Cause: &c}
}

// Encode is what is put into the outbox.
func (n *Notice) Encode() ([]byte, error) {
	body, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode notice of %s: %w", n.Alert.Name, err)
	}
	return body, nil
}

// Decode reads a notice from the outbox, where others may write, too.
func Decode(identity string, sequence uint64, body []byte) (Notice, error) {
	var n Notice
	if err := json.Unmarshal(body, &n); err != nil {
		return Notice{}, fmt.Errorf("decode notice: %w", err)
	}
	a := &n.Alert
	switch {
	case a.Name == "" || a.Scenario == "" || a.StartsAt.IsZero():
		return Notice{}, errors.New("decode notice: got an alert without a name, a scenario or a beginning, want all of them")
	case a.Severity != slo.SeverityPage && a.Severity != slo.SeverityTicket:
		return Notice{}, fmt.Errorf("decode notice: got severity %.20q, want page or ticket", a.Severity)
	case !keyForm(n.Key):
		return Notice{}, fmt.Errorf("decode notice: got key %.50q, want 32 hexadecimal digits", n.Key)
	}
	n.Alert, n.Identity, n.Sequence = Tidy(n.Alert), identity, sequence
	return n, nil
}

// keyForm reports whether a text can be the key of a notice: it becomes the value of a header.
func keyForm(key string) bool {
	_, err := hex.DecodeString(key)
	return err == nil && len(key) == 32
}
