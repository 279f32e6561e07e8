package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/runs"
)

// recordingOf is a recording as Chrome exports it: a form is filled in and sent.
func recordingOf(base, button string) string {
	return fmt.Sprintf(`{
    "title": "Send the form",
    "steps": [
        {"type": "setViewport", "width": 800, "height": 600, "deviceScaleFactor": 1, "isMobile": false, "hasTouch": false, "isLandscape": false},
        {"type": "navigate", "url": "%s/?n=${1}", "assertedEvents": [{"type": "navigation", "url": "%[1]s/", "title": "Form"}]},
        {"type": "change", "target": "main", "selectors": [["aria/Name"], ["#name"]], "value": "${Ada} $${x}"},
        {"type": "click", "timeout": 3000, "target": "main", "selectors": [["%[2]s"], ["xpath///button[@id='%[2]s']"]], "offsetX": 5, "offsetY": 5, "assertedEvents": [{"type": "navigation", "url": "https://elsewhere.example.com/as-recorded", "title": "not checked"}]}
    ]
}`, base, button)
}

// TestRunRecording runs recordings as they are, with no other file beside them.
func TestRunRecording(t *testing.T) {
	got := make(chan string, 4)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sent" {
			got <- r.FormValue("name")
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><title>Form</title><form action="/sent"><label>Name <input id="name" name="name"></label><button id="send">Send</button></form>`)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "rec.json"), recordingOf(server.URL, "#send"))
	code, r := runJSON(t, file, "--no-sandbox")
	if code != 0 || r.State != runs.StatePassed || r.Scenario != "send-the-form" || r.Region != "local" || len(r.Steps) != 4 {
		t.Errorf("got status %d, %+v, want 0 and a run of four steps in region local", code, r)
	}
	if r.State == runs.StatePassed {
		if name := <-got; name != "${Ada} $${x}" {
			t.Errorf("typed: got %q, want the text as it was recorded", name)
		}
	}
	file = write(t, filepath.Join(dir, "bad.json"), strings.Replace(recordingOf(server.URL, "#nowhere"), "3000", "500", 1))
	if code, r := runJSON(t, file, "--no-sandbox", "--region", "eu", "--network", "none"); code != cli.ExitFailed || r.Region != "eu" || r.Cause == nil || r.Cause.Step == "" {
		t.Errorf("got status %d, %+v, want %d and the step that failed, in region eu", code, r, cli.ExitFailed)
	}
	// Regions that are listed count.
	write(t, filepath.Join(dir, "regions.yaml"), "apiVersion: lastmile/v1\nregions:\n  us: {description: here}\n")
	if code, _, errs := clitest.Run(t, Main, "run", file, "--region", "eu"); code != cli.ExitUsage || !strings.Contains(errs, `--region: got "eu", want one of us`) {
		t.Errorf("got status %d and %s, want %d and the regions that there are", code, errs, cli.ExitUsage)
	}
	file = write(t, filepath.Join(dir, "rec.json"), `{"title": "t", "steps": [{"type": "tap"}]}`)
	if code, _, errs := clitest.Run(t, Main, "run", file); code != cli.ExitUsage || !strings.Contains(errs, `rec.json:1:35: steps[0].type: got "tap", want one of navigate`) {
		t.Errorf("got status %d and %s, want %d and where the error is", code, errs, cli.ExitUsage)
	}
}
