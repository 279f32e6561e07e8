package evaluate_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"lastmile/internal/evaluate"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// weather makes trouble of every kind come and go, the same for the same seed.
func weather(seed uint64) func(*runs.Result) {
	return func(r *runs.Result) {
		hour := uint64(r.Slot.Unix() / 1200)
		of := func(salt string) *rand.Rand {
			return rand.New(rand.NewPCG(seed^hour, uint64(len(salt))<<32^uint64(slices.Index([]string{"region-00", "region-01", "region-02", "region-03"}, r.Region))))
		}
		chance := []float64{0.002, 0.002, 0.002, 0.3, 1}[of("region").IntN(5)]
		if rand.New(rand.NewPCG(seed^hour, 99)).IntN(6) == 0 {
			chance = 0.5
		}
		dice := rand.New(rand.NewPCG(seed, uint64(r.Slot.Unix())*31+uint64(len(r.Network))+uint64(r.Region[len(r.Region)-1])))
		switch {
		case dice.Float64() < chance:
			fail(r)
		case dice.IntN(40) == 0:
			r.State = runs.StateInvalid
		case dice.IntN(20) == 0:
			r.DurationMS = 9000
		}
	}
}

func stormy(t testing.TB, seed uint64) *stage {
	s := checkout(t, "1m", 4, "3g", "wifi")
	s.SLOs = append(s.SLOs, scenario.SLO{Name: "fast", SLI: scenario.SLILatency, Objective: 0.95, Threshold: scenario.Duration(3 * time.Second), Window: slo.Window(7 * 24 * time.Hour)})
	st := newStage(t, s)
	st.outcome = weather(seed)
	return st
}

// told is what was decided, without the words about it.
func told(changed []runs.Alert) (out []runs.Alert) {
	for _, a := range changed {
		a.Why = runs.Why{Rule: a.Why.Rule, Bad: a.Why.Bad, Of: a.Why.Of}
		out = append(out, a)
	}
	return out
}

// An engine that was saved and read back decides what it would have decided: the same alerts at the same second, and the same requests.
func TestSavedEngineDecidesTheSame(t *testing.T) {
	t.Parallel()
	changes := 0
	for seed := range uint64(3) {
		went, before := stormy(t, seed), time.Duration(1+seed)*time.Hour
		went.play(before)
		alerts, journeys := went.engine.Alerts(went.now), went.engine.Journeys(went.now)
		went.play(2 * time.Hour)
		changes += len(went.changed)
		for _, first := range []string{"load", "define"} {
			saved := stormy(t, seed)
			saved.play(before)
			var file bytes.Buffer
			if err := saved.engine.Save(&file); err != nil {
				t.Fatal(err)
			}
			file.WriteString("what follows")
			saved.engine = evaluate.New(openBooks{})
			if first == "define" {
				saved.engine.Define([]scenario.Scenario{saved.s})
			}
			if err := saved.engine.Load(&file); err != nil {
				t.Fatal(err)
			}
			if first == "load" {
				saved.engine.Define([]scenario.Scenario{saved.s})
			}
			if rest, _ := io.ReadAll(&file); string(rest) != "what follows" {
				t.Fatalf("got %.50q left, want what was written after it", rest)
			}
			if got, want := saved.engine.Alerts(saved.now), alerts; !reflect.DeepEqual(got, want) {
				t.Fatalf("got alerts %+v, want %+v", got, want)
			}
			if got, want := saved.engine.Journeys(saved.now), journeys; !reflect.DeepEqual(got, want) {
				t.Fatalf("got journeys %+v, want %+v", got, want)
			}
			saved.play(2 * time.Hour)
			if !reflect.DeepEqual(saved.changed, went.changed) || !reflect.DeepEqual(saved.asked, went.asked) {
				t.Fatalf("seed %d, %s first: got changes\n%+v\nwant\n%+v\nand confirmations %v, want %v", seed, first, told(saved.changed), told(went.changed), saved.asked, went.asked)
			}
		}
	}
	if changes < 10 {
		t.Errorf("got %d changes in all, want enough to compare", changes)
	}
}

// An engine that only listened decides, from what the leader handed on, what that one would have decided: it pages nobody a second time.
func TestAdoptedStateDecidesTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		leads, listens := stormy(t, seed), stormy(t, seed)
		listener := &follower{engine: listens.engine}
		leads.outcome = func(r *runs.Result) {
			weather(seed)(r)
			listener.engine.Result(r, leads.now)
		}
		leads.play(time.Duration(2+seed) * time.Hour)
		state, err := leads.engine.State()
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.engine.Adopt(state); err != nil {
			t.Fatal(err)
		}
		repeat := listener.engine.Tick(leads.now)
		for _, a := range repeat.Changed {
			t.Errorf("seed %d: got %+v changed by the take-over, want nothing", seed, a)
		}
		if len(repeat.Confirm) > 0 {
			t.Errorf("seed %d: got %+v asked for by the take-over, want nothing", seed, repeat.Confirm)
		}
		leads.changed, listener.changed = nil, nil
		leads.outcome = func(r *runs.Result) {
			weather(seed)(r)
			listener.engine.Result(r, leads.now)
		}
		for range 2 * 3600 {
			leads.play(time.Second)
			listener.changed = append(listener.changed, listener.engine.Tick(leads.now).Changed...)
		}
		got, want := told(listener.changed), told(leads.changed)
		if len(got) != len(want) {
			t.Errorf("seed %d: got %d changes, want %d\n%+v\n%+v", seed, len(got), len(want), got, want)
			continue
		}
		for i := range got {
			if got[i].AlertKey != want[i].AlertKey || got[i].Active() != want[i].Active() || got[i].Severity != want[i].Severity || got[i].Inhibited != want[i].Inhibited || got[i].StartsAt.Sub(want[i].StartsAt).Abs() > time.Minute {
				t.Errorf("seed %d: got %+v, want %+v", seed, got[i], want[i])
			}
		}
	}
}

// follower is an engine of a coordinator that does not lead.
type follower struct {
	engine  *evaluate.Engine
	changed []runs.Alert
}

// What is refused leaves the engine as it was.
func TestRefusedStateChangesNothing(t *testing.T) {
	st := stormy(t, 3)
	st.play(3 * time.Hour)
	var want bytes.Buffer
	if err := st.engine.Save(&want); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", "{}", `{"schema":2}`, `{"schema":1,"units":[{"scenario":"checkout"}]}`, `{"schema":1,"gone":[null]}`,
		`{"schema":1,"units":[{"standing":{"phase":"flying"}}]}`} {
		if st.engine.Adopt([]byte(bad)) == nil {
			t.Errorf("adopt %q: got no error", bad)
		}
	}
	for _, size := range []int{0, 5, 25, 100, want.Len() / 2, want.Len() - 1} {
		if st.engine.Load(bytes.NewReader(want.Bytes()[:size])) == nil {
			t.Errorf("load %d bytes of %d: got no error", size, want.Len())
		}
	}
	var got bytes.Buffer
	if err := st.engine.Save(&got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got another state after what was refused (%v)", err)
	}
}

// use drives an engine that was made from what may be damaged: nothing of it may panic or hang.
func use(t *testing.T, st *stage) {
	st.changed = nil
	st.play(time.Minute)
	st.engine.Alerts(st.now)
	st.engine.Journeys(st.now)
	if _, err := st.engine.State(); err != nil {
		t.Errorf("state after what was taken: %v", err)
	}
	if err := st.engine.Save(io.Discard); err != nil {
		t.Errorf("save after what was taken: %v", err)
	}
}

func FuzzAdopt(f *testing.F) {
	st := newStage(f, checkout(f, "1m", 2))
	st.outcome = failing("region-00")
	st.play(12 * time.Minute)
	state, err := st.engine.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add([]byte(`{"schema":1,"units":[{"scenario":"checkout","region":"region-00","standing":{"phase":"suspect","lamps":[{"alert":{"alertname":"LastmileDown"}}]}}]}`))
	f.Add([]byte(`{"schema":1,"scenarios":[{"scenario":"checkout","standing":{"calm":9223372036854775807}}]}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		st := newStage(t, checkout(t, "1m", 2))
		st.outcome = failing("region-00")
		st.play(time.Minute)
		if st.engine.Adopt(state) == nil {
			use(t, st)
		}
	})
}

func FuzzLoad(f *testing.F) {
	st := newStage(f, checkout(f, "1m", 2))
	st.outcome = failing("region-00")
	st.play(12 * time.Minute)
	var file bytes.Buffer
	if err := st.engine.Save(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, saved []byte) {
		st := newStage(t, checkout(t, "1m", 2))
		if st.engine.Load(bytes.NewReader(saved)) == nil {
			use(t, st)
		}
	})
}
