package linkemu

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// custom is a link without loss that no preset has.
func custom(rate netprofile.Rate, rtt time.Duration) netprofile.Profile {
	return netprofile.Profile{
		Name: "custom", Version: "v1", Down: rate, Up: rate, RTT: rtt, Queue: netprofile.DefaultQueue, MTU: netprofile.DefaultMTU,
	}
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// source serves zeros without end on every connection.
func source(b *testing.B) string {
	zeros := make([]byte, 64<<10)
	return serve(b, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(zeros); err != nil {
				return // the reader has had enough
			}
		}
	}).String()
}

// plain opens a network without the calibration exchange.
func plain(b *testing.B, p netprofile.Profile) *Network {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	cancel() // so that the exchange ends before it has begun
	n, err := New(discard(), Options{AllowNets: prefixes("127.0.0.0/8")}).Open(ctx, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkBulk downloads for three seconds over one connection. The processor time is that of the whole process: the server and the
// client, whose own share is what net=none takes, are in it.
func BenchmarkBulk(b *testing.B) {
	none, _ := netprofile.Lookup(netprofile.None)
	lte := preset(b, "lte")
	for _, tt := range []struct {
		name    string
		profile netprofile.Profile
	}{
		{"none", none},
		{"lte", lte},
		{"100Mbit", custom(100*netprofile.MbitPerSecond, 20*time.Millisecond)},
		{"1Gbit", custom(netprofile.GbitPerSecond, 5*time.Millisecond)},
		{"10Gbit", custom(10*netprofile.GbitPerSecond, time.Millisecond)},
	} {
		b.Run("net="+tt.name, func(b *testing.B) {
			address := source(b)
			n := plain(b, tt.profile)
			defer n.Close()
			c, err := n.DialContext(b.Context(), "tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			download(b, c, time.Second) // slow start
			var mbit float64
			began, used := time.Now(), processorTime(b)
			for b.Loop() {
				mbit += download(b, c, 3*time.Second)
			}
			b.ReportMetric(mbit/time.Since(began).Seconds(), "Mbit/s")
			b.ReportMetric((processorTime(b)-used).Seconds()*1e6/mbit, "cpu-us/Mbit")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// download reads for that long and returns how many megabits came.
func download(b *testing.B, c net.Conn, d time.Duration) (mbit float64) {
	b.Helper()
	buffer := make([]byte, 64<<10)
	for ends := time.Now().Add(d); time.Now().Before(ends); {
		n, err := c.Read(buffer)
		if err != nil {
			b.Fatal(err)
		}
		mbit += float64(n) * 8 / 1e6
	}
	return mbit
}

// BenchmarkConnect opens and closes a connection over a link of 2 ms, and without one.
func BenchmarkConnect(b *testing.B) {
	none, _ := netprofile.Lookup(netprofile.None)
	for _, tt := range []struct {
		name    string
		profile netprofile.Profile
	}{
		{"none", none}, {"2ms", custom(100*netprofile.MbitPerSecond, 2*time.Millisecond)},
	} {
		b.Run("net="+tt.name, func(b *testing.B) {
			address := serve(b, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }).String()
			n := plain(b, tt.profile)
			defer n.Close()
			b.ReportAllocs()
			used := processorTime(b)
			for b.Loop() {
				c, err := n.DialContext(b.Context(), "tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkOpen opens and closes a network, without its calibration exchange and with it.
func BenchmarkOpen(b *testing.B) {
	for _, name := range []string{"lte", "3g"} {
		for _, calibrated := range []bool{false, true} {
			b.Run(fmt.Sprintf("net=%s/calibrated=%t", name, calibrated), func(b *testing.B) {
				p := preset(b, name)
				b.ReportAllocs()
				used := processorTime(b)
				for b.Loop() {
					n := plainOr(b, calibrated, p)
					n.Close()
				}
				b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
			})
		}
	}
}

func plainOr(b *testing.B, calibrated bool, p netprofile.Profile) *Network {
	b.Helper()
	if !calibrated {
		return plain(b, p)
	}
	n, err := New(discard(), Options{AllowNets: prefixes("127.0.0.0/8")}).Open(b.Context(), p, nil)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkSaturated keeps as many 3g links busy at once and reports how late packets were: the hundredth latest of a hundred, in the
// median of the links and in the worst of them, and how many links were late more often than their verdict allows. A link tolerates
// 3 ms. The links start one after another, as runs do: at the same instant their packets would come in step. What one processor can do
// is seen with -cpu 1, and the process tied to it (taskset -c 0).
func BenchmarkSaturated(b *testing.B) {
	for _, links := range []int{25, 50, 100, 150, 200} {
		b.Run(fmt.Sprintf("links=%d", links), func(b *testing.B) {
			for b.Loop() {
				saturate(b, links)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func saturate(b *testing.B, links int) {
	b.Helper()
	all := load(b, links)
	began, used := time.Now(), processorTime(b)
	<-time.After(10 * time.Second)
	cores := (processorTime(b) - used).Seconds() / time.Since(began).Seconds()
	late := all.close()
	var p99 []float64
	off := 0
	for _, l := range late {
		p99 = append(p99, runs.Milliseconds(l.P99))
		if l.P99 > 3*time.Millisecond {
			off++
		}
	}
	slices.Sort(p99)
	b.ReportMetric(cores, "cores")
	b.ReportMetric(p99[len(p99)/2], "p99-late-ms")
	b.ReportMetric(p99[len(p99)-1], "worst-p99-ms")
	b.ReportMetric(float64(off), "late-links")
}

// loaded is a number of networks, each with a download under way.
type loaded struct {
	networks []*Network
	readers  sync.WaitGroup
}

// load opens networks over 3g one after another and starts a download over each.
func load(b *testing.B, count int) *loaded {
	b.Helper()
	address := source(b)
	l := new(loaded)
	for range count {
		n := plain(b, preset(b, "3g"))
		l.networks = append(l.networks, n)
		l.readers.Go(func() {
			c, err := n.DialContext(b.Context(), "tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, c) // ends with the network
			_ = c.Close()
		})
		<-time.After(time.Duration(10+rand.IntN(20)) * time.Millisecond)
	}
	return l
}

// close ends the networks and returns how late their downlinks were.
func (l *loaded) close() []link.Lateness {
	var late []link.Lateness
	for _, n := range l.networks {
		late = append(late, n.link.down.Stats().Late)
	}
	for _, n := range l.networks {
		n.Close()
	}
	l.readers.Wait()
	return late
}

// BenchmarkMemory reports what a network takes, in kilobytes of heap and stacks and in goroutines: idle, and with a download under way
// that has filled its queue.
func BenchmarkMemory(b *testing.B) {
	const count = 50
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			before := footprint()
			var all []*Network
			for range count {
				all = append(all, plain(b, preset(b, "3g")))
			}
			before.report(b, count)
			for _, n := range all {
				n.Close()
			}
		}
	})
	b.Run("loaded", func(b *testing.B) {
		for b.Loop() {
			before := footprint()
			all := load(b, count)
			<-time.After(5 * time.Second) // slow start
			before.report(b, count)
			all.close()
		}
	})
}

// use is what the process takes.
type use struct {
	bytes      uint64
	goroutines int
}

func footprint() use {
	runtime.GC()
	runtime.GC() // what pools hold survives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return use{bytes: m.HeapAlloc + m.StackInuse, goroutines: runtime.NumGoroutine()}
}

// report tells what each of a number of networks has added.
func (u use) report(b *testing.B, count int) {
	b.Helper()
	now := footprint()
	b.ReportMetric(float64(now.bytes-u.bytes)/1000/float64(count), "kB/network")
	b.ReportMetric(float64(now.goroutines-u.goroutines)/float64(count), "goroutines/network")
	b.ReportMetric(0, "ns/op")
}
