package slo_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"lastmile/internal/slo"
)

func TestObjectiveReadsAndPrintsExactly(t *testing.T) {
	for _, test := range []struct {
		text string
		want slo.Objective
		back string
	}{
		{"99.9%", 0.999, "99.9%"},
		{"99.99%", 0.9999, "99.99%"},
		{"99.5%", 0.995, "99.5%"},
		{"95%", 0.95, "95%"},
		{"99.90%", 0.999, "99.9%"},
		{"5%", 0.05, "5%"},
		{"0.1%", 0.001, "0.1%"},
		{"00.10%", 0.001, "0.1%"},
		{"50%", 0.5, "50%"},
		{"33.3333333333333%", 0.333333333333333, "33.3333333333333%"},
		{"99.9999999999999%", 0.999999999999999, "99.9999999999999%"},
	} {
		got, err := slo.ParseObjective(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseObjective(%q) = %v, %v, want %v", test.text, float64(got), err, float64(test.want))
		}
		if got.String() != test.back {
			t.Errorf("ParseObjective(%q) prints %q, want %q", test.text, got, test.back)
		}
	}
}

func TestObjectiveRefusesWithGotAndWant(t *testing.T) {
	for _, text := range []string{
		"", "%", "99.9", "0.999", "99,9%", "99.9 %", " 99.9%", "+99%", "-1%", "1e1%", "0x1p4%", "9_9%",
		".5%", "5.%", "1.2.3%", "NaN%", "Inf%", "0%", "0.0%", "100%", "100.1%", "99.99999999999999999999%",
		"0." + strings.Repeat("0", 400) + "1%", strings.Repeat("9", 400) + "%",
	} {
		got, err := slo.ParseObjective(text)
		if err == nil {
			t.Errorf("ParseObjective(%q) = %v, want an error", text, float64(got))
			continue
		}
		if m := err.Error(); !strings.Contains(m, "got") || !strings.Contains(m, "want") || len(m) > 160 {
			t.Errorf("ParseObjective(%.40q): %q, want a short message with got and want", text, m)
		}
	}
	for _, o := range []slo.Objective{0, 1, -0.5, 1.5, slo.Objective(math.NaN()), slo.Objective(math.Inf(1))} {
		if o.Validate() == nil {
			t.Errorf("Validate(%v) = nil, want an error", float64(o))
		}
		if _, err := o.MarshalText(); err == nil {
			t.Errorf("MarshalText(%v) = nil, want an error", float64(o))
		}
	}
}

func TestObjectiveBudgetHasNoBinaryDust(t *testing.T) {
	for o, want := range map[slo.Objective]slo.Ratio{
		0.999: 0.001, 0.9999: 0.0001, 0.99: 0.01, 0.995: 0.005, 0.95: 0.05, 0.9: 0.1, 0.5: 0.5,
	} {
		if got := o.Budget(); got != want {
			t.Errorf("Budget(%v) = %v, want %v", o, got, want)
		}
	}
	if got := slo.Objective(math.Nextafter(1, 0)).Budget(); got <= 0 {
		t.Errorf("budget just below 100%% = %v, want above 0", got)
	}
}

func TestWindowText(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"5m", 5 * time.Minute, "5m"},
		{"30m", 30 * time.Minute, "30m"},
		{"1h", time.Hour, "1h"},
		{"60m", time.Hour, "1h"},
		{"90m", 90 * time.Minute, "90m"},
		{"24h", 24 * time.Hour, "1d"},
		{"36h", 36 * time.Hour, "36h"},
		{"7d", 7 * 24 * time.Hour, "7d"},
		{"30d", 30 * 24 * time.Hour, "30d"},
		{"90d", 90 * 24 * time.Hour, "90d"},
	} {
		got, err := slo.ParseWindow(test.text)
		if err != nil || got.Duration() != test.want || got.String() != test.back {
			t.Errorf("ParseWindow(%q) = %v, %v, prints %q, want %v and %q",
				test.text, got.Duration(), err, got, test.want, test.back)
		}
	}
	for _, text := range []string{
		"", "d", "0m", "0d", "-1h", "+1h", "1.5h", "1h30m", "30s", "4w", "30", "91d", "2161h",
		"9223372036854775807d", "99999999999999999999d", " 1h", "1 h", "1H", "٣d",
	} {
		if got, err := slo.ParseWindow(text); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("ParseWindow(%q) = %v, %v, want an error with got and want", text, got, err)
		}
	}
	for _, w := range []time.Duration{0, -time.Hour, time.Second, 90 * time.Second, 91 * 24 * time.Hour} {
		if _, err := slo.Window(w).MarshalText(); err == nil {
			t.Errorf("MarshalText(%v) = nil, want an error", w)
		}
	}
}

func TestObjectiveAndWindowInJSON(t *testing.T) {
	type target struct {
		Objective slo.Objective `json:"objective"`
		Window    slo.Window    `json:"window"`
	}
	const text = `{"objective":"99.9%","window":"30d"}`
	var got target
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if want := (target{0.999, slo.Window(30 * 24 * time.Hour)}); got != want {
		t.Errorf("read %+v, want %+v", got, want)
	}
	back, err := json.Marshal(got)
	if err != nil || string(back) != text {
		t.Errorf("wrote %s, %v, want %s", back, err, text)
	}
	before := got
	if err := json.Unmarshal([]byte(`{"objective":"100%"}`), &got); err == nil || got != before {
		t.Errorf("a bad objective gave %v and %+v, want an error and %+v", err, got, before)
	}
}

func FuzzObjectiveText(f *testing.F) {
	for _, seed := range []string{"99.9%", "0.1%", "100%", "1e400%", "%", "33.333333333333336%", "0.00000000000000000001%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := slo.ParseObjective(text)
		if err != nil {
			return
		}
		if o <= 0 || o >= 1 || o.Budget() <= 0 {
			t.Fatalf("ParseObjective(%q) = %v with budget %v", text, float64(o), o.Budget())
		}
		back, err := o.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again slo.Objective
		if err := again.UnmarshalText(back); err != nil || again != o {
			t.Fatalf("%q -> %v -> %q -> %v, %v", text, float64(o), back, float64(again), err)
		}
	})
}

func FuzzObjectiveValue(f *testing.F) {
	for _, seed := range []float64{0.999, 0.1 + 0.2, 5e-324, math.Nextafter(1, 0), math.NaN(), -1, 2, math.Inf(1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value float64) {
		o := slo.Objective(value)
		text := o.String()
		if o.Validate() != nil {
			return
		}
		if again, err := slo.ParseObjective(text); err != nil || again != o {
			t.Fatalf("%v prints %q and reads back as %v, %v", value, text, float64(again), err)
		}
	})
}

func FuzzWindowText(f *testing.F) {
	for _, seed := range []string{"30d", "1h", "90m", "0d", "9223372036854775807m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := slo.ParseWindow(text)
		if err != nil {
			return
		}
		back, err := w.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again slo.Window
		if err := again.UnmarshalText(back); err != nil || again != w {
			t.Fatalf("%q -> %v -> %q -> %v, %v", text, w.Duration(), back, again.Duration(), err)
		}
	})
}
