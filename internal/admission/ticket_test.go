package admission

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
)

// lose sets what the machine has lost so far, in microseconds of pressure and nanoseconds of delay.
func lose(files fstest.MapFS, pressure, delay string) {
	files["proc/pressure/cpu"] = &fstest.MapFile{Data: []byte("some avg10=0.00 avg60=0.00 avg300=0.00 total=" + pressure + "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")}
	files["proc/self/task/1/schedstat"] = &fstest.MapFile{Data: []byte("1 " + delay + " 1\n")}
}

func TestStamp(t *testing.T) {
	for name, tt := range map[string]struct {
		browser         bool
		pressure, delay string // gained in a run of 2 s
		tainted         string // "" = not
	}{
		"calm":                          {true, "300000", "1000000", ""},
		"browser threads in a queue":    {true, "1500000", "0", "work waited for a processor: got 1500 ms of the run's 2000 ms"},
		"another program on the cores":  {true, "650000", "0", "want at most 30 %"},
		"pressure beside an http run":   {false, "1500000", "0", ""},
		"the probe itself had to wait":  {false, "0", "300000000", "the probe waited for a processor: got 300 ms of the run's 2000 ms, want at most 10 %"},
		"a browser run's probe as well": {true, "0", "300000000", "the probe waited"},
		"a moment":                      {false, "0", "9000000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := memory(4000).Files.(fstest.MapFS)
				lose(files, "0", "0")
				r := New(Machine{Files: files}, 4)
				other := acquire(t, r, page("other"))
				defer other.Release()
				slot := time.Now()
				time.Sleep(500 * time.Millisecond)
				ticket := acquire(t, r, Need{Key: "a", Browser: tt.browser})
				defer ticket.Release()
				if err := ticket.Start(t.Context(), time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				result := &runs.Result{
					Trigger: runs.TriggerSchedule, State: runs.StatePassed, Slot: slot, StartedAt: time.Now(),
					Load: &runs.Load{CPUSeconds: 1.5, LaunchMS: 300}, Tainted: []string{"speculative connection"},
				}
				time.Sleep(2 * time.Second)
				lose(files, tt.pressure, tt.delay)
				ticket.Stamp(result)
				if l := result.Load; l.Cores != 4 || l.Busy != 1 || l.LateMS != 500 || l.CPUSeconds != 1.5 || l.LaunchMS != 300 || l.PressureCPU == nil {
					t.Errorf("got %+v, want 4 cores, 1 of them busy, 500 ms late, the pressure, and what was there before", *l)
				}
				switch got := strings.Join(result.Tainted[1:], "; "); {
				case tt.tainted == "" && got != "":
					t.Errorf("got tainted %q, want not", got)
				case !strings.Contains(got, tt.tainted):
					t.Errorf("got tainted %q, want %q", got, tt.tainted)
				}
			})
		})
	}
}

// What a browser's own threads lose to each other is the page's; what others take, and machines with much left over, are told apart.
func TestCrowded(t *testing.T) {
	for name, tt := range map[string]struct {
		user, steal, idle, probe int // hundredths of a second gained in a run of 2 s on two cores, of which the browser took 1.2 s
		others                   float64
		tainted                  bool
	}{
		"alone":                   {user: 140, idle: 260, probe: 20},
		"alone, and all of it":    {user: 380, idle: 20, probe: 260},
		"another program":         {user: 320, idle: 80, probe: 20, others: 1.8, tainted: true},
		"another machine":         {user: 140, steal: 180, idle: 80, probe: 20, others: 1.8, tainted: true},
		"others, and much left":   {user: 440, idle: 360, probe: 20, others: 3},
		"a little":                {user: 170, idle: 230, probe: 20, others: 0.3},
		"a little, and none left": {user: 390, idle: 10, probe: 210, others: 0.6, tainted: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := memory(4000).Files.(fstest.MapFS)
				did := func(user, steal, idle, probe int) {
					files["proc/stat"] = &fstest.MapFile{Data: fmt.Appendf(nil, "cpu  %d 10 10 %d 10 10 10 %d 0 0\ncpu0 1 1 1 1\n", 1000+user, 5000+idle, steal)}
					files["proc/self/stat"] = &fstest.MapFile{Data: fmt.Appendf(nil, "7 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 %d 100 0 0 20 0\n", 300+probe)}
				}
				lose(files, "0", "0")
				did(0, 0, 0, 0)
				r := New(Machine{Files: files}, 2)
				ticket := acquire(t, r, page("a"))
				defer ticket.Release()
				if err := ticket.Start(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				lose(files, "1500000", "0")
				did(tt.user, tt.steal, tt.idle, tt.probe)
				result := &runs.Result{State: runs.StatePassed, Load: &runs.Load{CPUSeconds: 1.5, LaunchCPU: 0.3}}
				ticket.Stamp(result)
				if result.Load.OthersCPU != tt.others || (len(result.Tainted) > 0) != tt.tainted {
					t.Errorf("got %v s by others, tainted %q, want %v s, tainted: %v", result.Load.OthersCPU, result.Tainted, tt.others, tt.tainted)
				}
			})
		})
	}
}

// A kernel without PSI and schedstat takes nothing from the rest, and a run that waited says how long.
func TestStampWithoutPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(memory(4000), 2)
		other := acquire(t, r, page("other"))
		time.AfterFunc(3*time.Second, other.Release)
		slot := time.Now()
		ticket := acquire(t, r, page("a"))
		time.Sleep(time.Second)
		if err := ticket.Start(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		result := &runs.Result{Trigger: runs.TriggerSchedule, State: runs.StatePassed, Slot: slot, StartedAt: time.Now()}
		ticket.Stamp(result)
		ticket.Release()
		if l := result.Load; l.PressureCPU != nil || l.LateMS != 4000 || l.WaitedMS != 3000 || l.Weight != 1 || len(result.Tainted) != 0 {
			t.Errorf("got %+v, tainted %v, want 4 s late, 3 s of them for room, no pressure and no taint", *l, result.Tainted)
		}
	})
}

// On a busy machine a run takes longer for the same work. That must not make it seem lighter, or more and more would be admitted.
func TestABusyMachineMakesNoRunLighter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := memory(4000).Files.(fstest.MapFS)
		lose(files, "0", "0")
		r := New(Machine{Files: files}, 2)
		weigh := func(cpu float64, took time.Duration, pressure string) float64 {
			t.Helper()
			ticket := acquire(t, r, page("a"))
			defer ticket.Release()
			if err := ticket.Start(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(took)
			before := files["proc/pressure/cpu"]
			lose(files, pressure, "0")
			ticket.Stamp(&runs.Result{State: runs.StatePassed, Load: &runs.Load{CPUSeconds: cpu}})
			lose(files, "0", "0")
			files["proc/pressure/cpu"] = before
			return r.costs["a"].weight
		}
		for _, run := range []struct {
			cpu      float64
			took     time.Duration
			pressure string
			want     float64
		}{
			{0.5, 5 * time.Second, "4000000", 1},     // busy from the first: as if nothing were known
			{0.5, time.Second, "0", 1 - 0.3*0.5},     // calm
			{0.5, 5 * time.Second, "4000000", 0.85},  // busy
			{4.25, 5 * time.Second, "4000000", 0.85}, // busy, and just as heavy
			{5.85, 3 * time.Second, "2000000", 1.18}, // busy, and heavier
			{0.4, time.Second, "0", 1.18 - 0.3*0.78}, // calm
		} {
			if got := weigh(run.cpu, run.took, run.pressure); got < run.want-1e-9 || got > run.want+1e-9 {
				t.Errorf("%v s of CPU in %s: got a weight of %v, want %v", run.cpu, run.took, got, run.want)
			}
		}
	})
}
