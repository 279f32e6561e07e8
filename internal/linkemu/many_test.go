package linkemu

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"lastmile/internal/linkemu/linktest"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// Twenty links at once, each with a round trip of its own, every one busy: each keeps to its own.
func TestLinksDoNotDisturbEachOther(t *testing.T) {
	address := serve(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = c.Write(make([]byte, 40_000))
	})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			p := far(time.Duration(100+50*i) * time.Millisecond)
			p.Name, p.Down = fmt.Sprint("far-", i), netprofile.Rate(1+i%4)*netprofile.MbitPerSecond
			n := open(t, p, Options{})
			watch := linktest.Start(t)
			c, err := n.DialContext(t.Context(), "tcp", address.String())
			if err != nil {
				t.Error(err)
				return
			}
			connect := watch.Elapsed()
			began := time.Now()
			_, _ = c.Write([]byte("x"))
			if got, err := io.Copy(io.Discard, c); got != 40_000 || err != nil {
				t.Errorf("%s: got %d bytes and %v, want 40000", p.Name, got, err)
			}
			// Three round trips: ten segments, twenty, and the rest would be more; the rate decides at the least.
			least := p.RTT + time.Duration(40_000*8*float64(time.Second)/float64(p.Down))
			if took := time.Since(began); took < least {
				t.Errorf("%s: got 40 kB in %v, want no less than %v", p.Name, took, least)
			}
			_ = c.Close()
			link := n.Close()
			if link.Profile != p.Name || link.Down.Sent != link.Down.Delivered+link.Down.UnderWay || link.Blocked != 0 {
				t.Errorf("%s: got %+v, want a link without drops", p.Name, link)
			}
			if unproven := linktest.Unproven(link, p.RTT); len(unproven) > 0 {
				t.Errorf("%s: got misses %q, want none but what a busy machine does", p.Name, unproven)
			}
			if link.Verdict != runs.OffProfile {
				watch.Holds(p.Name+" connect", connect, p.RTT)
			}
		})
	}
	all.Wait()
}

// resources counts what a network could leave behind.
func resources(t *testing.T) (goroutines, descriptors int, heap uint64) {
	t.Helper()
	runtime.GC()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return runtime.NumGoroutine(), len(entries), memory.HeapAlloc
}

// A thousand runs leave no goroutine, no descriptor and no memory, whatever state their connections are left in.
func TestNothingLeaksOverAThousandRuns(t *testing.T) {
	address := serve(t, echo)
	p := far(2 * time.Millisecond)
	p.Queue = 20 // calibrates within milliseconds
	run := func() {
		n, err := New(discard(), Options{AllowNets: prefixes("127.0.0.0/8")}).Open(t.Context(), p, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for i := range 3 {
			c, err := n.DialContext(t.Context(), "tcp", address.String())
			if err != nil {
				t.Error(err)
				continue
			}
			_, _ = c.Write(make([]byte, 2000))
			_, _ = io.ReadFull(c, make([]byte, 1000*i)) // nothing, half and all of it
			if i > 0 {
				_ = c.Close() // the first is left open
			}
		}
		if c, err := socksDial(proxy(t, n), "127.0.0.1", address.Port()); err == nil {
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		} else {
			t.Error(err)
		}
		n.Close()
	}
	batch := func(runs int) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range runs / 8 {
					run()
				}
			})
		}
		all.Wait()
	}
	batch(80)
	goroutines, descriptors, heap := resources(t)
	batch(1000)
	var g, d int
	var h uint64
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // what the server of this test still closes
		if g, d, h = resources(t); g <= goroutines && d <= descriptors || time.Now().After(deadline) {
			break
		}
	}
	if g > goroutines || d > descriptors {
		t.Errorf("after 1000 runs: got %d goroutines and %d descriptors, want no more than the %d and %d before", g, d, goroutines, descriptors)
	}
	if h > heap+4<<20 {
		t.Errorf("after 1000 runs: got %d bytes of heap, want about the %d before", h, heap)
	}
}

// A run may end at any time: Close cuts off what is under way, and says what the link did until then.
func TestCloseCutsOff(t *testing.T) {
	n := open(t, far(time.Second), Options{})
	address := serve(t, echo)
	var all sync.WaitGroup
	all.Go(func() {
		if c, err := n.DialContext(t.Context(), "tcp", address.String()); err == nil {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("read from a network that is closed")
			}
		}
	})
	all.Go(func() {
		_, _ = n.LookupNetIP(t.Context(), "example.com")
	})
	all.Go(func() {
		_, _ = socksDial(proxy(t, n), "127.0.0.1", address.Port())
	})
	time.Sleep(100 * time.Millisecond) // somewhere in the midst of it; nothing depends on where
	began := time.Now()
	link := n.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	all.Wait()
	if link.Up.Sent == 0 || link.Verdict == "" {
		t.Errorf("got %+v, want what the link did", link)
	}
	if again := n.Close(); again.Up.Sent != link.Up.Sent || again.Verdict != link.Verdict {
		t.Errorf("closed again: got %+v, want the same as before", again)
	}
	if _, err := n.DialContext(t.Context(), "tcp", address.String()); err == nil {
		t.Error("dialled over a network that is closed")
	}
}

// A profile that only just passes validation is still a link.
func TestExtremeProfiles(t *testing.T) {
	address := serve(t, echo)
	for _, p := range []netprofile.Profile{
		{Name: "narrow", Version: "v1", Down: 64_000, Up: 64_000, RTT: 10 * time.Millisecond, Queue: 1, MTU: 1280},
		{Name: "wide", Version: "v1", Down: 10 * netprofile.GbitPerSecond, Up: 10 * netprofile.GbitPerSecond, Queue: 100_000, MTU: 9000},
		{Name: "torn", Version: "v1", Down: 1e6, Up: 1e6, RTT: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Reorder: 0.5, Queue: 5, MTU: 1280},
	} {
		if problems := p.Validate(); len(problems) > 0 {
			t.Fatalf("%s: %v", p.Name, problems)
		}
		n := open(t, p, Options{})
		c, err := n.DialContext(t.Context(), "tcp", address.String())
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		sent := make([]byte, 5000)
		_, _ = c.Write(sent)
		if _, err := io.ReadFull(c, sent); err != nil {
			t.Errorf("%s: echo: %v", p.Name, err)
		}
		_ = c.Close()
		if link := n.Close(); link.Mode != runs.LinkDial {
			t.Errorf("%s: got %+v", p.Name, link)
		}
	}
}
