package autonomy

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADamagedPlanIsSetAside(t *testing.T) {
	whole := t.TempDir()
	if err := (store{whole}).save(planOf(t, "r1", "@every 1m")); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(whole, planFile))
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	for name, tc := range map[string]struct{ body, region, want string }{
		"empty":         {"", "us", "unexpected end"},
		"cut":           {text[:len(text)/2], "us", "unexpected end"},
		"changed":       {strings.Replace(text, "http://shop/", "http://shoq/", 1), "us", "sha256"},
		"another place": {text, "eu", "region us"},
		"zeros":         {string(make([]byte, 4096)), "us", "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, planFile), []byte(tc.body), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			p := New(slog.New(slog.NewTextHandler(&log, nil)), &air{}, Options{Region: tc.region, Probe: "one", Dir: dir})
			if p.Stats().Plan != "" || !strings.Contains(log.String(), tc.want) || !strings.Contains(log.String(), "set aside") {
				t.Errorf("got plan %q and log %q, want none, and %q", p.Stats().Plan, log.String(), tc.want)
			}
			aside, err := os.ReadFile(filepath.Join(dir, asideFile))
			if err != nil || string(aside) != tc.body {
				t.Errorf("got %q (%v) set aside, want what was there", aside, err)
			}
			if _, err := os.Stat(filepath.Join(dir, planFile)); !os.IsNotExist(err) {
				t.Errorf("got %v, want the file gone from its place", err)
			}
		})
	}
	if p := New(slog.New(slog.NewTextHandler(io.Discard, nil)), &air{}, Options{Region: "us", Probe: "one", Dir: whole}); p.Stats().Plan != "r1" {
		t.Errorf("got plan %q of a whole file, want r1", p.Stats().Plan)
	}
}

func FuzzPlanFile(f *testing.F) {
	dir := f.TempDir()
	if err := (store{dir}).save(planOf(f, "r1", "@every 1m")); err != nil {
		f.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"sha256":"","plan":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePlan(body, "us")
		if err == nil && (p.Check() != nil || p.Region != "us") {
			t.Errorf("got a plan that does not hold: %+v", p)
		}
	})
}
