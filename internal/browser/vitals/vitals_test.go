package vitals

import (
	"fmt"
	"testing"
	"time"
)

func TestShiftWindows(t *testing.T) {
	for name, tt := range map[string]struct {
		at, values []float64
		want       float64
	}{
		"none":                       {nil, nil, 0},
		"one window":                 {[]float64{0, 900, 1800}, []float64{.1, .1, .1}, .3},
		"a second's pause":           {[]float64{0, 1000, 1900}, []float64{.1, .1, .1}, .2},
		"five seconds at most":       {[]float64{0, 900, 1800, 2700, 3600, 4500, 5000}, []float64{.1, .1, .1, .1, .1, .1, .5}, .6},
		"the worst need not be last": {[]float64{0, 3000}, []float64{.4, .1}, .4},
	} {
		var s shifts
		for i := range tt.at {
			s.add(tt.at[i], tt.values[i])
		}
		if diff := s.worst - tt.want; diff > 1e-9 || diff < -1e-9 {
			t.Errorf("%s: got %v, want %v", name, s.worst, tt.want)
		}
	}
}

func TestInteractions(t *testing.T) {
	var i inputs
	if i.inp() != nil {
		t.Error("nobody did anything: got a time, want none")
	}
	i.add(1, 24, 1)
	i.add(1, 200, 1) // a later event of the same
	i.add(2, 104, 2)
	if got := *i.inp(); got != 200 {
		t.Errorf("two: got %v, want the longest", got)
	}
	i.add(3, 48, 50) // most of them too short to be told of
	if got := *i.inp(); got != 104 {
		t.Errorf("fifty: got %v, want the longest but one", got)
	}
	for n := range 600 {
		i.add(float64(10+n), 16, 650)
	}
	if got := *i.inp(); got != 16 || len(i.longest) != maxInputs {
		t.Errorf("650: got %v out of %d, want one of the %d longest", got, len(i.longest), maxInputs)
	}
}

// tell makes a document tell, as the script does.
func tell(l *Log, origin float64, interactions int, what string) {
	l.Hear(fmt.Sprintf(`{"origin":%f,"interactions":%d,"told":[%s]}`, origin, interactions, what))
}

func TestLateNewsGoToTheirStep(t *testing.T) {
	start := time.UnixMilli(1_800_000_000_000)
	origin := float64(start.UnixMilli())
	var l Log
	tell(&l, origin, 0, `{"kind":"fcp","value":1}`) // of nobody
	l.Begin("open", start)
	l.Navigated("https://a.example/", start, false)
	tell(&l, origin, 0, `{"kind":"begin"},{"kind":"ttfb","value":20}`)
	if l.Painted() {
		t.Error("painted: got true before any paint")
	}
	tell(&l, origin, 0, `{"kind":"fcp","value":30},{"kind":"lcp","value":40}`)
	l.Begin("click", start.Add(time.Second))
	l.Begin("look", start.Add(2*time.Second))
	tell(&l, origin, 1, `{"kind":"input","id":7,"at":1500,"value":96,"last":true},{"kind":"shift","at":2500,"value":0.25}`)
	tell(&l, origin-1, 1, `{"kind":"lcp","value":9999}`) // of a document that has been left
	l.Hear("{")
	if got := l.Late()["click"]; got.INP == nil || *got.INP != 96 || got.LCP != nil {
		t.Errorf("click: got %+v, want the interaction alone", got)
	}
	if got := l.Step(); got == nil || got.INP != nil || *got.CLS != 0.25 {
		t.Errorf("look: got %+v, want the shift alone", got)
	}
	n := l.Navigations()
	if len(n) != 1 || n[0].Step != "open" || *n[0].Vitals.INP != 96 || *n[0].Vitals.CLS != 0.25 || *n[0].Vitals.LCP != 40 {
		t.Errorf("navigations: got %+v, want all of it", n)
	}
	l.Left()
	tell(&l, origin, 1, `{"kind":"lcp","value":9999}`)
	if got := *l.Navigations()[0].Vitals.LCP; got != 40 || !l.Painted() {
		t.Errorf("after it was left: got %v, want 40", got)
	}
}

func TestRestoredDocumentTellsAhead(t *testing.T) {
	start := time.UnixMilli(1_800_000_000_000)
	var l Log
	l.Begin("back", start)
	l.Navigated("https://a.example/b", start, false)
	tell(&l, 2, 0, `{"kind":"begin"}`)
	tell(&l, 1, 3, `{"kind":"begin"},{"kind":"ttfb","value":0}`)
	tell(&l, 1, 3, `{"kind":"fcp","value":5}`)
	l.Navigated("https://a.example/a", start.Add(time.Second), true)
	if n := l.Navigations(); len(n) != 2 || n[1].Vitals.FCP == nil || *n[1].Vitals.FCP != 5 || n[0].Vitals.FCP != nil {
		t.Errorf("got %+v, want what was told ahead with the second", n)
	}
}

// FuzzHear feeds anything: the page is somebody else's.
func FuzzHear(f *testing.F) {
	f.Add(`{"origin":1,"interactions":1,"told":[{"kind":"begin"},{"kind":"soft","at":1e300,"value":-1,"url":"x"},{"kind":"shift","at":1,"value":2},{"kind":"input","id":1,"value":8}]}`)
	f.Fuzz(func(_ *testing.T, payload string) {
		var l Log
		l.Begin("a", time.UnixMilli(0))
		for range maxNavigations + 1 {
			l.Navigated("u", time.UnixMilli(1), true)
			l.Hear(payload)
		}
		l.Navigations()
		l.Late()
		l.Step()
	})
}
