package expositiontest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Alertmanager is a running Alertmanager. What it holds it keeps in memory only: Restart makes it forget.
type Alertmanager struct{ *server }

// Alert is an alert that Alertmanager holds.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	UpdatedAt   time.Time         `json:"updatedAt"` // when it was last told of it
}

// StartAlertmanager starts an Alertmanager that notifies nobody, without a cluster, on a free port of 127.0.0.1, and waits until it is ready. The
// server and its data are gone when the test has ended.
func StartAlertmanager(t testing.TB) *Alertmanager {
	t.Helper()
	return StartNotifyingAlertmanager(t, "")
}

// StartNotifyingAlertmanager starts one that notifies a webhook, at once and each second, of beginnings and ends; "" = nobody.
func StartNotifyingAlertmanager(t testing.TB, webhook string) *Alertmanager {
	t.Helper()
	dir := t.TempDir()
	receiver := "{name: test}"
	if webhook != "" {
		receiver = fmt.Sprintf("{name: test, webhook_configs: [{url: %q, send_resolved: true}]}", webhook)
	}
	config := filepath.Join(dir, "alertmanager.yml")
	text := "route: {receiver: test, group_by: [...], group_wait: 0s, group_interval: 1s}\nreceivers: [" + receiver + "]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := program(t, "prometheus-alertmanager", "prometheus-alertmanager", "alertmanager")
	return &Alertmanager{start(t, "alertmanager", func(listen string) *exec.Cmd {
		return exec.Command(path, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen, "--cluster.listen-address=")
	})}
}

// Alerts lists the alerts that are firing, by version 2 of Alertmanager's API.
func (a *Alertmanager) Alerts(t testing.TB) []Alert {
	t.Helper()
	var alerts []Alert
	a.eventually(t, dataLimit, "list alerts", func() error {
		body, err := a.get("/api/v2/alerts")
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &alerts)
	})
	return alerts
}
