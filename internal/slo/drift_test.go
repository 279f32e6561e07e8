package slo

import (
	"math"
	"testing"
)

// By hand: at 99.9 % a bad run adds ln(0.05/0.001) = 3.912, a good one ln(0.95/0.999) = -0.0503; four bad ones in a row reach 14.
func TestDrift(t *testing.T) {
	d := NewDrift(0.001)
	if g := d.Add(0, 0, 1); math.Abs(g-3.912) > 0.001 {
		t.Errorf("got %v for a bad run, want 3.912", g)
	}
	if g := d.Add(10, 100, 0); math.Abs(g-(10-5.03)) > 0.01 {
		t.Errorf("got %v after 100 good runs from 10, want 4.97", g)
	}
	if g := d.Add(0, 0, 4); g < d.Limit {
		t.Errorf("got %v after four bad runs, want %v reached", g, d.Limit)
	}
	if g := d.Add(1, 1000, 0); g != 0 {
		t.Errorf("got %v, want it never below 0", g)
	}
	if g := d.Add(0, 0, 1000); g > d.Limit*4/3 {
		t.Errorf("got %v, want it bounded", g)
	}
	for _, p0 := range []Ratio{0, 1e-9, 0.001, 0.01, 0.05, 0.16, 0.5, 1, Ratio(math.NaN())} {
		d := NewDrift(p0)
		if up, down := d.Add(1, 0, 1)-1, d.Add(1, 1, 0)-1; !math.IsNaN(float64(p0)) && !(up > 0 && down < 0 && d.P1 > d.P0) {
			t.Errorf("p0 %v: got %+v for a bad run and %+v for a good one, want one up and one down", p0, up, down)
		}
	}
}

// By hand: of five runs at 99.9 % one bad is rarer than one slice in ten (0.005), at 95 % (0.226) it takes two (0.0226).
func TestSliceTest(t *testing.T) {
	for _, tc := range []struct {
		n     int64
		p0    Ratio
		count int64
		q     Ratio
	}{{5, 0.001, 1, 0.00499}, {5, 0.05, 2, 0.02259}, {60, 0.001, 1, 0.05826}, {0, 0.001, 1, 0.001}, {5, 0.6, 5, 0.07776}} {
		if count, q := SliceTest(tc.n, tc.p0); count != tc.count || math.Abs(float64(q-tc.q)) > 1e-5 {
			t.Errorf("%d runs at %v: got %d and %v, want %d and %v", tc.n, tc.p0, count, q, tc.count, tc.q)
		}
	}
}

// By hand: C(12,3) 0.005^3 is about 2.7e-5 for three slices of twelve, C(12,2) 0.005^2 about 1.6e-3 for two.
func TestSpread(t *testing.T) {
	if got := Spread(3, 12, 0.00499).Probability(); got < 2.5e-5 || got > 2.8e-5 {
		t.Errorf("got %v for three slices of twelve, want about 2.7e-5", got)
	}
	if got := Spread(2, 12, 0.00499).Probability(); got < 1.5e-3 || got > 1.7e-3 {
		t.Errorf("got %v for two slices of twelve, want about 1.6e-3", got)
	}
	if Spread(12, 12, 1) != 0 || Spread(12, 12, Ratio(math.NaN())) != 0 {
		t.Error("got evidence from slices that are always hit, want none")
	}
}
