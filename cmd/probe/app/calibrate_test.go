package app

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"lastmile/internal/cli"
	"lastmile/internal/cli/clitest"
	"lastmile/internal/linkemu"
	"lastmile/internal/runs"
)

// quickNetworks are two that take little time, of which one loses packets in bursts.
const quickNetworks = `  quick: {down: 8 Mbit/s, up: 4 Mbit/s, rtt: 20ms}
  holey: {down: 2 Mbit/s, up: 2 Mbit/s, rtt: 20ms, burst: {pGoodToBad: 2%, pBadToGood: 18%, lossBad: 50%}}
`

// What is asserted here no busy machine can disturb: whether its links are on profile, it can.
func TestCalibrateAsJSON(t *testing.T) {
	t.Parallel()
	code, out, errs := clitest.Run(t, Main, "calibrate", "--output", "json", "--for", "300ms",
		"--network", "holey", "--network", "quick", "--network", "cable", ownNetworks(t, quickNetworks))
	if errs != "" {
		t.Errorf("got %q, want nothing to say where nobody watches", errs)
	}
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	var all []linkemu.Measurement
	if err := decoder.Decode(&all); err != nil || decoder.More() || len(all) != 3 {
		t.Fatalf("got %q (%v), want a list of three", out, err)
	}
	proved := 0
	for i, name := range []string{"holey", "quick", "cable"} {
		m := all[i]
		if m.Network != name || m.Version == "" || m.Handshake.Count == 0 || m.Down.Sent == 0 || m.Up.Bytes == 0 || m.Tolerances.LateMS != 2 {
			t.Errorf("%s: got %+v, want it tried and in the order asked for", name, m)
		}
		if (m.Verdict == runs.OnProfile) != (len(m.Misses) == 0) {
			t.Errorf("%s: got %s with misses %v", name, m.Verdict, m.Misses)
		}
		if m.Tolerances.GoodputShare != nil {
			t.Errorf("%s: got a goodput judged after 300 ms", name)
		}
		if lossy := name == "holey"; (m.Loss.Want > 0) != lossy || (m.Down.ModelKbit != nil) != lossy || (m.Tolerances.HandshakeMS == nil) != lossy {
			t.Errorf("%s: got loss %+v, model %v, tolerances %+v", name, m.Loss, m.Down.ModelKbit, m.Tolerances)
		}
		if m.Verdict == runs.OnProfile {
			proved++
		}
	}
	// A full packet carries 1448 of the 1514 bytes that it takes up.
	if got, want := all[1].Down.LimitKbit, 8000*1448.0/1514; math.Abs(got-want) > 0.01 {
		t.Errorf("got a limit of %v kbit/s, want %v", got, want)
	}
	if want := map[bool]int{true: 0, false: cli.ExitInvalid}[proved == 3]; code != want {
		t.Errorf("got status %d with %d of 3 on profile, want %d", code, proved, want)
	}
}

func TestCalibratePrintsATable(t *testing.T) {
	t.Parallel()
	code, out, errs := clitest.Run(t, Main, "calibrate", "--for", "100ms", "--network", "cable")
	if code != 0 && code != cli.ExitInvalid || errs != "" {
		t.Errorf("got status %d and %q, want a verdict", code, errs)
	}
	for _, want := range []string{"HANDSHAKE MS", "99 % range", "cable", "/28.7", "/4782", " profile", " of 1 networks on profile"} {
		if !strings.Contains(out, want) {
			t.Errorf("text lacks %q:\n%s", want, out)
		}
	}
}

func TestCalibrateRefusesBadInput(t *testing.T) {
	dir := ownNetworks(t, quickNetworks)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--network", "wifi", dir}, "holey"},
		{[]string{"--network", "quick"}, "satellite"},
		{[]string{"--network", "none"}, `got "none"`},
		{[]string{"--for", "1ms"}, "--for"},
		{[]string{"--for", "1h"}, "--for"},
		{[]string{t.TempDir()}, "networks.yaml"},
	} {
		code, out, errs := clitest.Run(t, Main, append([]string{"calibrate"}, tt.args...)...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: got status %d, %q, %q; want %d and an error with %q", tt.args, code, out, errs, cli.ExitUsage, tt.want)
		}
	}
}

func TestCalibrateStops(t *testing.T) {
	p := clitest.Start(t, Main, "calibrate", "--network", "satellite", "--for", "10m")
	if code := p.Stop(); code != cli.ExitFailed || strings.Contains(p.String(), "VERDICT") {
		t.Errorf("got status %d and %q, want %d and no table", code, p, cli.ExitFailed)
	}
}
