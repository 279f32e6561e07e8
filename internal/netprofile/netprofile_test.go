package netprofile_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
)

func TestRateText(t *testing.T) {
	tests := []struct {
		text string
		want netprofile.Rate
		form string
	}{
		{"1600 kbit/s", 1_600_000, "1600 kbit/s"},
		{"1600kbit/s", 1_600_000, "1600 kbit/s"},
		{"1600kbit", 1_600_000, "1600 kbit/s"},
		{" 1600\tKBit/S ", 1_600_000, "1600 kbit/s"},
		{"1.6Mbit/s", 1_600_000, "1600 kbit/s"},
		{"1.600000000Mbit/s", 1_600_000, "1600 kbit/s"},
		{"12mbit", 12_000_000, "12000 kbit/s"},
		{"1 Gbit/s", 1_000_000_000, "1000000 kbit/s"},
		{"1500 bit/s", 1500, "1500 bit/s"},
		{"0.001kbit/s", 1, "1 bit/s"},
		{"0bit/s", 0, "0 bit/s"},
		{"9223372036854775807 bit/s", math.MaxInt64, "9223372036854775807 bit/s"},
	}
	for _, tt := range tests {
		var r netprofile.Rate
		if err := r.UnmarshalText([]byte(tt.text)); err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if r != tt.want || r.String() != tt.form {
			t.Errorf("%q = %d bit/s, %q; want %d, %q", tt.text, int64(r), r, int64(tt.want), tt.form)
		}
	}
}

func TestRateTextRefuses(t *testing.T) {
	tests := []string{
		"", "1600", "kbit/s", "-1kbit/s", "+1kbit/s", ".5kbit/s", "1.kbit/s", "1e3kbit/s", "0x10bit",
		"1600kbps", "1600kB/s", "1 kbit/h", "1 kbit/s/s", "1..5kbit", "1.0005kbit/s", "0.5bit/s",
		"9223372036854775808bit/s", "10000000000Gbit/s", strings.Repeat("9", 5000) + "bit/s",
	}
	for _, text := range tests {
		r := netprofile.Rate(7)
		err := r.UnmarshalText([]byte(text))
		if err == nil || r != 7 {
			t.Errorf("%.40q gave %v and error %v; want an error and the rate untouched", text, r, err)
			continue
		}
		if len(err.Error()) > 300 || !strings.Contains(err.Error(), "want") {
			t.Errorf("%.40q: error %q does not say what was wanted, briefly", text, err)
		}
	}
	if _, err := netprofile.Rate(-1).MarshalText(); err == nil {
		t.Error("a negative rate was written")
	}
}

func TestRatioText(t *testing.T) {
	tests := []struct {
		text string
		want netprofile.Ratio
		form string
	}{
		{"2%", 0.02, "2%"},
		{"0.02", 0.02, "2%"},
		{" 0.5 % ", 0.005, "0.5%"},
		{"7%", 0.07, "7%"},
		{"0.07", 0.07, "7%"},
		{"0", 0, "0%"},
		{"0%", 0, "0%"},
		{"1", 1, "100%"},
		{"100%", 1, "100%"},
		{"12.5%", 0.125, "12.5%"},
		{"0.001%", 0.00001, "0.001%"},
	}
	for _, tt := range tests {
		var r netprofile.Ratio
		if err := r.UnmarshalText([]byte(tt.text)); err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if r != tt.want || r.String() != tt.form {
			t.Errorf("%q = %v, %q; want %v, %q", tt.text, float64(r), r, float64(tt.want), tt.form)
		}
	}
	for _, text := range []string{"", "%", "2", "101%", "-1%", "NaN", "Inf", "1e-3", "2 percent", "2%%", ".5", "0x1p-2"} {
		var r netprofile.Ratio
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted as %v", text, r)
		}
	}
	for _, r := range []netprofile.Ratio{-0.1, 1.1, netprofile.Ratio(math.NaN()), netprofile.Ratio(math.Inf(1))} {
		if text, err := r.MarshalText(); err == nil {
			t.Errorf("ratio %v was written as %q", float64(r), text)
		}
	}
}

// TestPresets holds the table against a second copy of its numbers, so that a
// change is a decision: it needs a new PresetVersion.
func TestPresets(t *testing.T) {
	type row struct {
		name     string
		down, up int64 // kbit/s
		rtt      int64 // ms
		jitter   int64 // ms
		loss     float64
	}
	want := []row{
		{"none", 0, 0, 0, 0, 0},
		{"2g", 280, 256, 800, 0, 0},
		{"edge", 240, 200, 840, 0, 0},
		{"3g-slow", 400, 400, 400, 0, 0},
		{"3g", 1600, 768, 300, 0, 0},
		{"3g-fast", 1600, 768, 150, 0, 0},
		{"4g", 9000, 9000, 170, 0, 0},
		{"lte", 12000, 12000, 70, 0, 0},
		{"dsl", 1500, 384, 50, 0, 0},
		{"cable", 5000, 1000, 28, 0, 0},
		{"3g-lossy", 1600, 768, 300, 0, 0.02},
		{"3g-very-lossy", 1600, 768, 300, 0, 0.05},
		{"3g-jitter", 1200, 1200, 250, 50, 0.005},
		{"edge-lossy", 240, 200, 840, 0, 0.01},
		{"2g-rural", 20, 18, 1300, 0, 0.02},
		{"satellite", 10000, 2000, 600, 0, 0},
	}
	if netprofile.PresetVersion != "v1" {
		t.Fatalf("preset version %q: write the new table down here", netprofile.PresetVersion)
	}
	var got []row
	for _, p := range netprofile.Presets() {
		got = append(got, row{p.Name, int64(p.Down / 1000), int64(p.Up / 1000), p.RTT.Milliseconds(),
			p.Jitter.Milliseconds(), math.Round(float64(p.MeanLoss())*1e12) / 1e12})
	}
	if !slices.Equal(got, want) {
		t.Errorf("presets:\n got %v\nwant %v", got, want)
	}
}

func TestPresetsAreSound(t *testing.T) {
	var names []string
	for _, p := range netprofile.Presets() {
		names = append(names, p.Name)
		if problems := p.Validate(); len(problems) > 0 {
			t.Errorf("%s: %v", p.Name, problems)
		}
		if p.Version != "v1" || p.Source == "" || p.Description == "" {
			t.Errorf("%s: version %q, source %q, description %q", p.Name, p.Version, p.Source, p.Description)
		}
		if p.Emulated() != (p.Name != "none") {
			t.Errorf("%s: Emulated() = %v", p.Name, p.Emulated())
		}
		if p.OneWay()*2 != p.RTT {
			t.Errorf("%s: one way %v, round trip %v", p.Name, p.OneWay(), p.RTT)
		}
		found, ok := netprofile.Lookup(p.Name)
		if !ok || !reflect.DeepEqual(found, p) {
			t.Errorf("Lookup(%q) = %+v, %v", p.Name, found, ok)
		}
	}
	if !slices.Equal(netprofile.Names(), names) {
		t.Errorf("Names() = %v, want %v", netprofile.Names(), names)
	}
	for _, name := range []string{"", "3G", "wifi"} {
		if p, ok := netprofile.Lookup(name); ok {
			t.Errorf("Lookup(%q) found %+v", name, p)
		}
	}
	if !(netprofile.Profile{}).Emulated() {
		t.Error("the zero profile would run at full speed")
	}
}

func TestPresetsAreFreshCopies(t *testing.T) {
	first, _ := netprofile.Lookup("3g-very-lossy")
	first.Burst.LossBad = 1
	netprofile.Presets()[0].Name = "changed"
	if again, _ := netprofile.Lookup("3g-very-lossy"); again.Burst.LossBad == 1 {
		t.Error("a caller changed the loss model of the table")
	}
	if netprofile.Names()[0] != "none" {
		t.Error("a caller changed the table")
	}
}

func TestSet(t *testing.T) {
	own := netprofile.Profile{Name: "subway", Version: "u-1"}
	set := append(netprofile.Set(netprofile.Presets()), own)
	if names := set.Names(); !slices.Equal(names, append(netprofile.Names(), "subway")) {
		t.Errorf("names: got %v, want those of the presets, then subway", names)
	}
	if p, ok := set.Lookup("subway"); !ok || p != own {
		t.Errorf("look up subway: got %+v, %v", p, ok)
	}
	if p, ok := set.Lookup("3g"); !ok || p.Version != netprofile.PresetVersion {
		t.Errorf("look up 3g: got %+v, %v, want the preset", p, ok)
	}
	if _, ok := netprofile.Set(nil).Lookup("3g"); ok {
		t.Error("the empty set has a 3g")
	}
}

// Two links whose numbers differ anywhere never share a version, and one link has it for good: results are compared under it.
func TestOwnVersion(t *testing.T) {
	seen := map[string]string{}
	for name, p := range map[string]netprofile.Profile{
		"as it is":       change(func(*netprofile.Profile) {}),
		"down":           change(func(p *netprofile.Profile) { p.Down++ }),
		"up":             change(func(p *netprofile.Profile) { p.Up++ }),
		"rtt":            change(func(p *netprofile.Profile) { p.RTT++ }),
		"jitter":         change(func(p *netprofile.Profile) { p.Jitter++ }),
		"loss":           change(func(p *netprofile.Profile) { p.Loss = netprofile.Ratio(math.Nextafter(float64(p.Loss), 1)) }),
		"no burst":       change(func(p *netprofile.Profile) { p.Burst = nil }),
		"idle burst":     change(func(p *netprofile.Profile) { p.Burst = &netprofile.Burst{} }),
		"to bad":         change(func(p *netprofile.Profile) { p.Burst.PGoodToBad /= 2 }),
		"to good":        change(func(p *netprofile.Profile) { p.Burst.PBadToGood /= 2 }),
		"loss when good": change(func(p *netprofile.Profile) { p.Burst.LossGood = 0.001 }),
		"loss when bad":  change(func(p *netprofile.Profile) { p.Burst.LossBad /= 2 }),
		"reorder":        change(func(p *netprofile.Profile) { p.Reorder = 0.01 }),
		"queue":          change(func(p *netprofile.Profile) { p.Queue++ }),
		"mtu":            change(func(p *netprofile.Profile) { p.MTU-- }),
	} {
		version := p.OwnVersion()
		if other, twice := seen[version]; twice {
			t.Errorf("%s and %s share version %s", name, other, version)
		}
		seen[version] = name
		p.Version = version
		if problems := p.Validate(); len(problems) > 0 || !strings.HasPrefix(version, "u-") || len(version) != 10 {
			t.Errorf("%s: version %q gives %v", name, version, problems)
		}
		p.Name, p.Version, p.Description, p.Source = "another", "v1", "another", "another"
		if again := p.OwnVersion(); again != version {
			t.Errorf("%s: got %s under another name, want %s", name, again, version)
		}
	}
	p, _ := netprofile.Lookup("3g-very-lossy")
	if got, want := p.OwnVersion(), "u-d2b3dd7e"; got != want {
		t.Errorf("version of the numbers of 3g-very-lossy: got %s, want %s for ever", got, want)
	}
}

func TestMeanLoss(t *testing.T) {
	tests := []struct {
		name string
		p    netprofile.Profile
		want float64
	}{
		{"none", netprofile.Profile{}, 0},
		{"random only", netprofile.Profile{Loss: 0.02}, 0.02},
		// Bad for 0.01/(0.01+0.03) = 1/4 of the packets: 0.75*0.1 + 0.25*0.5.
		{"both states lose", netprofile.Profile{Burst: &netprofile.Burst{PGoodToBad: 0.01, PBadToGood: 0.03, LossGood: 0.1, LossBad: 0.5}}, 0.2},
		// 1 - 0.9*0.8.
		{"random and burst", netprofile.Profile{Loss: 0.1, Burst: &netprofile.Burst{PGoodToBad: 0.01, PBadToGood: 0.03, LossGood: 0.1, LossBad: 0.5}}, 0.28},
		{"never leaves good", netprofile.Profile{Burst: &netprofile.Burst{LossGood: 0.03, LossBad: 1}}, 0.03},
		{"never returns from bad", netprofile.Profile{Burst: &netprofile.Burst{PGoodToBad: 0.5, LossBad: 0.4}}, 0.4},
	}
	for _, tt := range tests {
		if got := float64(tt.p.MeanLoss()); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("%s: mean loss %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestProfileJSON(t *testing.T) {
	p := netprofile.Profile{
		Name: "odd", Version: "v7", Description: "d", Source: "s",
		Down: 1_600_001, Up: 768_000, RTT: 300*time.Millisecond + time.Nanosecond, Jitter: 1500 * time.Microsecond,
		Loss: 0.07, Burst: &netprofile.Burst{PGoodToBad: 0.1, PBadToGood: 1.0 / 3, LossBad: 1}, Reorder: 0.001,
		Queue: 100, MTU: 1400,
	}
	const want = `{"name":"odd","version":"v7","description":"d","source":"s","down":"1600001 bit/s","up":"768 kbit/s",` +
		`"loss":"7%","burst":{"p_good_to_bad":"10%","p_bad_to_good":"33.33333333333333%","loss_good":"0%","loss_bad":"100%"},` +
		`"reorder":"0.1%","queue":100,"mtu":1400,"rtt":"300.000001ms","jitter":"1.5ms"}`
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("json:\n got %s\nwant %s", got, want)
	}
	for _, original := range append(netprofile.Presets(), p, netprofile.Profile{}) {
		// As a field of another message, the way an assignment carries it.
		type message struct{ Network netprofile.Profile }
		text, err := json.Marshal(message{original})
		if err != nil {
			t.Fatal(err)
		}
		back := message{netprofile.Profile{Name: "stale", Queue: 9, Burst: &netprofile.Burst{}}}
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(back.Network, original) {
			t.Errorf("%s came back as %+v, want %+v", text, back.Network, original)
		}
	}
}

func TestProfileJSONRefuses(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{"down":1600}`, "down"},
		{`{"down":"fast"}`, `got "fast"`},
		{`{"rtt":300}`, "rtt"},
		{`{"rtt":"300"}`, `got "300"`},
		{`{"loss":"2"}`, `got "2"`},
		{`[]`, "array"},
	}
	for _, tt := range tests {
		var p netprofile.Profile
		err := json.Unmarshal([]byte(tt.text), &p)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.text, err, tt.want)
		}
	}
	if _, err := json.Marshal(netprofile.Profile{Loss: 2}); err == nil {
		t.Error("a loss of 2 was written")
	}
	var p netprofile.Profile
	if err := json.Unmarshal([]byte(`{"name":"3g","from_a_later_version":1}`), &p); err != nil || p.Name != "3g" {
		t.Errorf("a later version's field: %+v, %v", p, err)
	}
}

// change returns 3g-very-lossy as f changes it.
func change(f func(*netprofile.Profile)) netprofile.Profile {
	p, _ := netprofile.Lookup("3g-very-lossy")
	f(&p)
	return p
}

func TestValidate(t *testing.T) {
	nan := netprofile.Ratio(math.NaN())
	tests := []struct {
		name string
		p    netprofile.Profile
		want []string // the fields
	}{
		{"as it is", change(func(*netprofile.Profile) {}), nil},
		{"zero", netprofile.Profile{}, []string{"name", "version", "down", "up", "queue", "mtu"}},
		{"names", change(func(p *netprofile.Profile) { p.Name, p.Version = "3G lossy", "-1" }), []string{"name", "version"}},
		{"name too long", change(func(p *netprofile.Profile) { p.Name = strings.Repeat("a", 64) }), []string{"name"}},
		{"rates", change(func(p *netprofile.Profile) { p.Down, p.Up = 1, 11*netprofile.GbitPerSecond }), []string{"down", "up"}},
		{"negative rtt", change(func(p *netprofile.Profile) { p.RTT = -1 }), []string{"rtt"}},
		{"rtt too long", change(func(p *netprofile.Profile) { p.RTT = 300 * time.Second }), []string{"rtt"}},
		{"jitter beyond the delay", change(func(p *netprofile.Profile) { p.Jitter = 151 * time.Millisecond }), []string{"jitter"}},
		{"jitter up to the delay", change(func(p *netprofile.Profile) { p.Jitter = 150 * time.Millisecond }), nil},
		{"one percent written as 1", change(func(p *netprofile.Profile) { p.Loss = 1 }), []string{"loss"}},
		{"burst loses all", change(func(p *netprofile.Profile) { p.Burst = &netprofile.Burst{LossGood: 1} }), []string{"loss"}},
		{"not numbers", change(func(p *netprofile.Profile) {
			p.Loss, p.Reorder = nan, nan
			p.Burst = &netprofile.Burst{PGoodToBad: 2, PBadToGood: -1, LossGood: nan, LossBad: netprofile.Ratio(math.Inf(1))}
		}), []string{"loss", "burst.p_good_to_bad", "burst.p_bad_to_good", "burst.loss_good", "burst.loss_bad", "reorder"}},
		{"reorder without delay", change(func(p *netprofile.Profile) { p.RTT, p.Reorder = 0, 0.1 }), []string{"reorder"}},
		{"queue and mtu", change(func(p *netprofile.Profile) { p.Queue, p.MTU = -1, 64_000 }), []string{"queue", "mtu"}},
		{"none with numbers", change(func(p *netprofile.Profile) { p.Name = "none" }), []string{"down", "up", "rtt", "burst", "queue", "mtu"}},
	}
	for _, tt := range tests {
		var got []string
		for _, problem := range tt.p.Validate() {
			got = append(got, problem.Field)
			if problem.Got == "" || problem.Want == "" {
				t.Errorf("%s: %+v does not say got and want", tt.name, problem)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: bad fields %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestProblemReadsAsAnError(t *testing.T) {
	p, _ := netprofile.Lookup("3g")
	p.Queue, p.Loss = 0, 1
	var errs []error
	for _, problem := range p.Validate() {
		errs = append(errs, problem)
	}
	const want = "loss: got 100% in the mean, want less than 100% (one percent is \"1%\" or \"0.01\")\n" +
		"queue: got 0 packets, want 1 to 100000 packets"
	if got := errors.Join(errs...).Error(); got != want {
		t.Errorf("error:\n got %s\nwant %s", got, want)
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"1600 kbit/s", "1.6Mbit/s", "12mbit", "0.001 kbit", "9223372036854775807bit/s", "1kbps"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, back netprofile.Rate
		if r.UnmarshalText([]byte(s)) != nil {
			return
		}
		text, err := r.MarshalText()
		if err != nil {
			t.Fatalf("%q was read as %d but not written: %v", s, int64(r), err)
		}
		if err := back.UnmarshalText(text); err != nil || back != r {
			t.Fatalf("%q: wrote %s, read %d (%v), want %d", s, text, int64(back), err, int64(r))
		}
	})
}

func FuzzRatio(f *testing.F) {
	for _, s := range []string{"2%", "0.02", "0", "100%", "33.333333333333336%", "0.000000000000000000001%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, back netprofile.Ratio
		if r.UnmarshalText([]byte(s)) != nil {
			return
		}
		text, err := r.MarshalText()
		if err != nil {
			t.Fatalf("%q was read as %v but not written: %v", s, float64(r), err)
		}
		if err := back.UnmarshalText(text); err != nil || back != r {
			t.Fatalf("%q: wrote %s, read %v (%v), want %v", s, text, float64(back), err, float64(r))
		}
	})
}

// FuzzRatioValues starts from values, which reach float64s that few texts do.
func FuzzRatioValues(f *testing.F) {
	for _, v := range []float64{0, 0.02, 0.07, 1.0 / 3, math.SmallestNonzeroFloat64, math.Nextafter(1, 0), math.Copysign(0, -1)} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		text, err := netprofile.Ratio(v).MarshalText()
		if (err == nil) != (v >= 0 && v <= 1) {
			t.Fatalf("%v written as %q, %v", v, text, err)
		}
		if err != nil {
			return
		}
		var back netprofile.Ratio
		if err := back.UnmarshalText(text); err != nil || float64(back) != v {
			t.Fatalf("%v: wrote %s, read %v, %v", v, text, float64(back), err)
		}
	})
}

func FuzzProfileJSON(f *testing.F) {
	for _, p := range netprofile.Presets() {
		text, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, int64(p.RTT))
	}
	f.Add([]byte(`{"down":"1 bit/s","rtt":"-2562047h47m16.854775808s"}`), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, data []byte, jitter int64) {
		var p, back netprofile.Profile
		if json.Unmarshal(data, &p) != nil {
			return
		}
		p.Jitter = time.Duration(jitter)
		p.Validate()
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatalf("%s was read but not written: %v", data, err)
		}
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, p) {
			t.Fatalf("wrote %s, read %+v (%v), want %+v", text, back, err, p)
		}
	})
}
