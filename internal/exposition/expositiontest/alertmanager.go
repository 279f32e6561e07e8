package expositiontest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Alertmanager is a running Alertmanager that notifies nobody.
type Alertmanager struct{ *server }

// Alert is an alert that Alertmanager holds.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// StartAlertmanager starts an Alertmanager on a free port of 127.0.0.1, without a cluster, and waits until it is ready. The server and its
// data are gone when the test has ended.
func StartAlertmanager(t testing.TB) *Alertmanager {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(config, []byte("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Alertmanager{start(t, "alertmanager", exec.Command(program(t, "prometheus-alertmanager", "prometheus-alertmanager", "alertmanager"),
		"--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--cluster.listen-address="))}
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
