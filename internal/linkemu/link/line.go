// Package link is one direction of an emulated access link: packets that are sent into a Line come out of it when, and if, a real
// link of that rate, delay, jitter, loss and queue would deliver them. It knows nothing of what is in a packet.
package link

import (
	"container/heap"
	"sync"
	"time"
)

// Line carries packets of type P. It is safe for concurrent use.
type Line[P any] struct {
	deliver func(P)
	drop    func(P)
	watch   *Watch
	start   time.Time
	alarm   alarm
	ended   chan struct{}

	mu     sync.Mutex
	shaper shaper
	flight flight[P]
	armed  time.Duration // what the alarm is set to; 0 = nothing
	count  int64         // accepted so far
	closed bool
	stats  Stats
	late   lateness
}

// Stats is what a line has done so far. Every packet sent was delivered, or dropped for one of two reasons, or is under way.
type Stats struct {
	Sent, Delivered, DroppedLoss, DroppedQueue, UnderWay int64

	Bytes int64         // of the packets that took up the link, framing included
	Busy  time.Duration // spent on serialising them
	Late  Lateness
}

// New starts a line. deliver is called for each packet at its arrival, one after another; it must not block for long, as the packets
// behind wait. drop is called for each packet that does not arrive, Close included, possibly within Send. The watch is told of
// deliveries that come late.
func New[P any](spec Spec, watch *Watch, deliver, drop func(P)) (*Line[P], error) {
	alarm, err := newAlarm()
	if err != nil {
		return nil, err
	}
	l := &Line[P]{
		deliver: deliver, drop: drop, start: time.Now(), alarm: alarm, ended: make(chan struct{}),
		shaper: newShaper(spec), watch: watch,
	}
	go l.run()
	return l, nil
}

// Send puts a packet of size bytes on the line.
func (l *Line[P]) Send(packet P, size int) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.drop(packet)
		return
	}
	l.stats.Sent++
	arrival, fate := l.shaper.admit(time.Since(l.start), size)
	switch fate {
	case lost:
		l.stats.DroppedLoss++
	case overflowed:
		l.stats.DroppedQueue++
	case delivered:
		l.count++
		heap.Push(&l.flight, inFlight[P]{packet: packet, at: arrival, number: l.count})
		l.arm()
	}
	l.mu.Unlock()
	if fate != delivered {
		l.drop(packet)
	}
}

// arm sets the alarm to the next arrival. The caller holds mu.
func (l *Line[P]) arm() {
	if len(l.flight) == 0 || l.armed != 0 && l.armed <= l.flight[0].at {
		return
	}
	l.armed = l.flight[0].at
	l.alarm.set(l.armed - time.Since(l.start))
}

// run delivers until the line is closed.
func (l *Line[P]) run() {
	defer close(l.ended)
	for l.alarm.wait() {
		l.mu.Lock()
		l.armed = 0
		for len(l.flight) > 0 && !l.closed {
			now := time.Since(l.start)
			if l.flight[0].at > now {
				break
			}
			next := heap.Pop(&l.flight).(inFlight[P])
			l.stats.Delivered++
			l.late.add(now - next.at)
			l.mu.Unlock()
			l.watch.late(l.start.Add(next.at), l.start.Add(now))
			l.deliver(next.packet)
			l.mu.Lock()
		}
		l.arm()
		l.mu.Unlock()
	}
}

// Stats returns what the line has done so far, or had done when it was closed.
func (l *Line[P]) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Bytes, s.Busy, s.UnderWay, s.Late = l.shaper.bytes, l.shaper.busy, s.UnderWay+int64(len(l.flight)), l.late.sum()
	return s
}

// Close stops the line and drops what is under way. No packet is delivered after it has returned. deliver must not call it.
func (l *Line[P]) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.ended
		return
	}
	l.closed = true
	rest := l.flight
	l.flight = nil
	l.stats.UnderWay = int64(len(rest))
	l.mu.Unlock()
	l.alarm.close()
	<-l.ended
	for _, f := range rest {
		l.drop(f.packet)
	}
}

// inFlight is a packet on its way. number keeps the order of packets that arrive together.
type inFlight[P any] struct {
	packet P
	at     time.Duration
	number int64
}

// flight is a heap of packets by arrival.
type flight[P any] []inFlight[P]

func (f flight[P]) Len() int { return len(f) }
func (f flight[P]) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].number < f[j].number
}
func (f flight[P]) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight[P]) Push(x any)   { *f = append(*f, x.(inFlight[P])) }
func (f *flight[P]) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = inFlight[P]{}
	*f = (*f)[:last]
	return x
}
