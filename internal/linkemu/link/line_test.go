package link

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/netprofile"
)

func idle(t testing.TB) *Watch {
	t.Helper()
	w, err := NewWatch(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// What is sent is delivered, dropped or under way: always, and exactly once.
func TestEveryPacketIsAccountedFor(t *testing.T) {
	spec := Spec{Rate: 10 * netprofile.MbitPerSecond, Delay: 5 * time.Millisecond, Loss: 0.1, Queue: 50, Seed: 1}
	var came, dropped atomic.Int64
	line, err := New(spec, idle(t), func(int) { came.Add(1) }, func(int) { dropped.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range 500 {
				line.Send(i, 1000)
			}
		})
	}
	senders.Wait()
	if now := line.Stats(); now.Sent != now.Delivered+now.DroppedLoss+now.DroppedQueue+now.UnderWay {
		t.Errorf("under way: %+v does not add up", now)
	}
	line.Close()
	line.Close()
	line.Send(0, 1000) // into the closed line
	s := line.Stats()
	if s.Sent != 2000 || s.Sent != s.Delivered+s.DroppedLoss+s.DroppedQueue+s.UnderWay {
		t.Errorf("closed: %+v does not add up to 2000", s)
	}
	if s.Delivered != came.Load() || s.Sent-s.Delivered+1 != dropped.Load() {
		t.Errorf("got %d delivered and %d let go, want %d and %d", came.Load(), dropped.Load(), s.Delivered, s.Sent-s.Delivered+1)
	}
	if s.DroppedLoss == 0 || s.DroppedQueue == 0 || s.UnderWay == 0 {
		t.Errorf("got %+v, want some of each fate", s)
	}
}

// A packet sent later may be due earlier; the alarm has to go off for it.
func TestTheNextArrivalIsWaitedFor(t *testing.T) {
	came := make(chan int, 100)
	spec := Spec{Rate: netprofile.GbitPerSecond, Delay: 300 * time.Millisecond, Reorder: 0.5, Queue: 100, Seed: 1}
	line, err := New(spec, idle(t), func(i int) { came <- i }, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	began, watch := time.Now(), linktest.Start(t)
	for i := range 20 {
		line.Send(i, 100)
	}
	<-came
	watch.Within("first of the packets that skip the delay", 0)
	for range 19 {
		<-came
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("last came after %v, want the delay of 300 ms at least", took)
	}
}

func BenchmarkLine(b *testing.B) {
	b.ReportAllocs()
	done := make(chan struct{}, 1)
	count := 0
	line, err := New(Spec{Rate: 10 * netprofile.GbitPerSecond, Queue: 1 << 30}, idle(b), func(int) {
		if count++; count == b.N {
			done <- struct{}{}
		}
	}, func(int) {})
	if err != nil {
		b.Fatal(err)
	}
	defer line.Close()
	b.ResetTimer()
	for i := range b.N {
		line.Send(i, 1500)
	}
	<-done
}
