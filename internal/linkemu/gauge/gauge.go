// Package gauge measures a link by an exchange of packets across it: a few there and back give the round trip, a train of packets sent at
// once in each direction gives its rate, by the distance at which they come out.
package gauge

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
)

// Proof is what the exchange measured; zero where it did not come to an end.
type Proof struct {
	RTT      time.Duration // without the time to serialise the packets
	Pings    int           // round trips behind it
	Down, Up netprofile.Rate
}

const (
	pingCount   = 8
	rounds      = 3 // of pings, where all are lost, and of trains, where too many are
	minTrain    = 12
	maxTrain    = 400
	minArrivals = 6
	leastPacket = 64 // bytes of IP
	headers     = 28 // bytes of IPv4 and UDP
	pingSize    = headers + 8
)

// trainTime is how long a train should keep the link busy.
func trainTime(p netprofile.Profile) time.Duration { return max(250*time.Millisecond, 10*p.Jitter) }

// gauge is an exchange under way.
type gauge struct {
	profile         netprofile.Profile
	device, gateway net.PacketConn
	proof           Proof
}

// Measure measures a link that nothing else uses, between a socket of the device and one of the gateway, which it closes. What it cannot
// measure before ctx ends, or within some seconds, stays zero.
func Measure(ctx context.Context, p netprofile.Profile, device, gateway net.PacketConn) Proof {
	slow := min(p.Down, p.Up)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+10*(p.RTT+p.Jitter)+4*minTrain*link.Serialise(slow, 1, 2*leastPacket))
	defer cancel()
	end := sync.OnceFunc(func() {
		_ = device.Close()
		_ = gateway.Close()
	})
	defer end()
	defer context.AfterFunc(ctx, end)()
	g := &gauge{profile: p, device: device, gateway: gateway}
	for range rounds {
		if g.ping(ctx); g.proof.Pings > 0 || ctx.Err() != nil {
			break
		}
	}
	trains := func(r netprofile.Rate, from, to net.PacketConn) (found netprofile.Rate) {
		for i := 0; i < rounds && found == 0 && ctx.Err() == nil; i++ {
			found = g.train(r, uint32(i), from, to)
		}
		return found
	}
	var both sync.WaitGroup
	both.Go(func() { g.proof.Up = trains(p.Up, device, gateway) })
	g.proof.Down = trains(p.Down, gateway, device)
	both.Wait()
	return g.proof
}

// ping sends packets so far apart that neither a queue nor jitter lets them meet, and takes the round trips.
func (g *gauge) ping(ctx context.Context) {
	p, device, gateway := g.profile, g.device, g.gateway
	ends := time.Now().Add(p.RTT + 2*p.Jitter + pingCount*g.spacing() + 500*time.Millisecond)
	_ = device.SetReadDeadline(ends) // gVisor's cannot fail
	_ = gateway.SetReadDeadline(ends)
	var echo sync.WaitGroup
	echo.Go(func() {
		b := make([]byte, p.MTU)
		for {
			n, from, err := gateway.ReadFrom(b)
			if err != nil {
				return
			}
			if _, err := gateway.WriteTo(b[:n], from); err != nil {
				return
			}
		}
	})
	var mu sync.Mutex
	var sent [pingCount]time.Time
	echo.Go(func() {
		for i := range pingCount {
			mu.Lock()
			sent[i] = time.Now()
			mu.Unlock()
			message := binary.BigEndian.AppendUint64(nil, uint64(i))
			if _, err := device.WriteTo(message, gateway.LocalAddr()); err != nil {
				return
			}
			select {
			case <-time.After(g.spacing()):
			case <-ctx.Done():
				return
			}
		}
	})
	var trips []time.Duration
	b := make([]byte, p.MTU)
	for len(trips) < pingCount {
		n, _, err := device.ReadFrom(b)
		if err != nil {
			break
		}
		now := time.Now()
		if i := binary.BigEndian.Uint64(append(b[:n:n], make([]byte, 8)...)); n == 8 && i < pingCount {
			mu.Lock()
			trips = append(trips, now.Sub(sent[i]))
			mu.Unlock()
		}
	}
	_ = gateway.SetReadDeadline(time.Now())
	echo.Wait()
	if g.proof.Pings = len(trips); len(trips) > 0 {
		g.proof.RTT = typical(trips, p.Reorder >= MeanFrom) - link.Serialise(p.Up, 1, pingSize) - link.Serialise(p.Down, 1, pingSize)
	}
}

// spacing keeps pings from meeting each other on the link.
func (g *gauge) spacing() time.Duration {
	p := g.profile
	return max(10*time.Millisecond, 2*p.Jitter, 2*max(link.Serialise(p.Up, 1, pingSize), link.Serialise(p.Down, 1, pingSize)))
}

// MeanFrom is the share of reordered packets from which the median trip may be one that skipped a delay.
const MeanFrom = 0.25

// typical is the median, or where many packets skip the delay, which makes two kinds of trips, the mean.
func typical(trips []time.Duration, mean bool) time.Duration {
	if mean {
		var sum time.Duration
		for _, t := range trips {
			sum += t
		}
		return sum / time.Duration(len(trips))
	}
	slices.Sort(trips)
	return (trips[(len(trips)-1)/2] + trips[len(trips)/2]) / 2
}

// Compared is the time between the packets of a train that are compared: half of it. It is zero where there is no train.
func Compared(p netprofile.Profile, r netprofile.Rate) time.Duration {
	count, size := Train(p, r)
	return time.Duration(count/2) * link.Serialise(r, 1, size)
}

// Train returns how many packets of which size, in bytes of IP, make a train for the rate; none where the queue has no room for it.
func Train(p netprofile.Profile, r netprofile.Rate) (count, size int) {
	budget := float64(r) / 8 * trainTime(p).Seconds() // bytes
	size = min(p.MTU, max(leastPacket, int(budget/minTrain)-link.Framing))
	count = min(maxTrain, p.Queue/2, max(minTrain, int(budget)/(size+link.Framing)))
	if count < minArrivals {
		return 0, 0
	}
	return count, size
}

// train sends packets at once from one end, and compares their arrivals at the other. Trains are told apart by their round.
func (g *gauge) train(r netprofile.Rate, round uint32, from, to net.PacketConn) netprofile.Rate {
	count, size := Train(g.profile, r)
	if count == 0 {
		return 0
	}
	target := to.LocalAddr()
	message := make([]byte, size-headers)
	binary.BigEndian.PutUint32(message[4:], round)
	for i := range count {
		binary.BigEndian.PutUint32(message, uint32(i))
		if _, err := from.WriteTo(message, target); err != nil {
			return 0
		}
	}
	took := time.Duration(count) * link.Serialise(r, 1, size)
	_ = to.SetReadDeadline(time.Now().Add(took + g.profile.RTT + 2*g.profile.Jitter + 500*time.Millisecond)) // gVisor's cannot fail
	arrivals := make([]time.Time, count)                                                                     // zero where a packet was lost
	b := make([]byte, g.profile.MTU)
	for came := 0; came < count; {
		n, _, err := to.ReadFrom(b)
		if err != nil {
			break
		}
		if n != len(message) || binary.BigEndian.Uint32(b[4:]) != round {
			continue // late, of a ping or another train
		}
		if i := binary.BigEndian.Uint32(b); int(i) < count && arrivals[i].IsZero() {
			arrivals[i] = time.Now()
			came++
		}
	}
	return rateOf(arrivals, size)
}

// rateOf is the median of the rates between packets half a train apart, in the order in which they were sent: the few that skip the delay
// and overtake others do not move it. Packets that were lost took no time on the link, so those that were not are all that did.
func rateOf(arrivals []time.Time, size int) netprofile.Rate {
	arrivals = slices.DeleteFunc(arrivals, time.Time.IsZero)
	if len(arrivals) < minArrivals {
		return 0
	}
	half := len(arrivals) / 2
	var gaps []time.Duration
	for i := range len(arrivals) - half {
		gaps = append(gaps, arrivals[i+half].Sub(arrivals[i]))
	}
	slices.Sort(gaps)
	gap := max(gaps[len(gaps)/2], 1)
	return netprofile.Rate(float64(half*(size+link.Framing)*8) / gap.Seconds())
}
