package links

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

func TestPrintCalibration(t *testing.T) {
	var out strings.Builder
	all := []*linkemu.Measurement{{Network: "3g", Verdict: runs.OnProfile}, {Network: "3g-lossy", Verdict: runs.OffProfile, Misses: []string{"rtt: too long"}}}
	all[0].Handshake.MedianMS, all[0].Handshake.WantMS = new(301.44), 301.14
	all[0].SetUp.RoundTrips, all[0].SetUp.Want = new(4.01), 4
	all[0].Down.GoodputKbit, all[0].Down.LimitKbit = new(1525.0), 1530.25
	all[0].Loss.Sent, all[0].Loss.Inside = 1000, true
	all[1].Up.LimitKbit, all[1].Up.ModelKbit = 734.5, new(286.4)
	all[1].Loss.Sent, all[1].Loss.Lost, all[1].Loss.Percent, all[1].Loss.Want, all[1].Loss.Low, all[1].Loss.High = 1000, 50, 5, 2, 9, 32
	if err := printCalibration(&out, all, 34*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"301.4/301.1", "4.01/4", "1525/1530 99.7%", "0 of 1000", "on profile", "-/734 ~286", "50 of 1000 (5%), 9-32 outside", "off profile",
		"3g-lossy: rtt: too long\n", "1 of 2 networks on profile, in 34 s",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, &out)
		}
	}
}

func TestCalibrateProvesAllThatAreEmulated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "networks.yaml")
	own := "apiVersion: lastmile/v1\nnetworks:\n  quick: {down: 8 Mbit/s, up: 4 Mbit/s, rtt: 20ms}\n  slow: {down: 2 Mbit/s, up: 2 Mbit/s, rtt: 20ms}\n"
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Calibrate{For: time.Second, Path: file}
	all, err := c.profiles()
	if want := len(netprofile.Presets()) - 1 + 2; err != nil || len(all) != want {
		t.Errorf("got %d networks (%v), want %d", len(all), err, want)
	}
}

// The line that comes and goes is for people: a device is watched by one, as far as anybody can know.
func TestProgress(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = device.Close() }()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	shown := newProgress(device, 1)
	shown.end()
	silent := newProgress(file, 1)
	silent.end()
	if info, err := file.Stat(); err != nil || info.Size() > 0 || shown.out == nil || silent.out != nil {
		t.Errorf("got a file of %d bytes (%v), want the line on devices only", info.Size(), err)
	}
}
