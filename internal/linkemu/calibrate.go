package linkemu

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
)

// The calibration exchange crosses the link before the run's first step: a few packets there and back give the round trip, a train of
// packets sent at once in each direction gives its rate by the distance at which they come out.

// proof is what the exchange measured; zero where it did not come to an end.
type proof struct {
	rtt      time.Duration // without the time to serialise the packets
	pings    int           // round trips behind rtt
	down, up netprofile.Rate
}

const (
	pingCount   = 8
	pingRounds  = 3 // of pings, where all are lost
	minTrain    = 12
	maxTrain    = 400
	minArrivals = 6
	leastPacket = 64 // bytes of IP
	headers     = 28 // bytes of IPv4 and UDP
	pingSize    = headers + 8
	echoPort    = 7
)

// trainTime is how long a train should keep the link busy.
func trainTime(p netprofile.Profile) time.Duration { return max(250*time.Millisecond, 10*p.Jitter) }

// calibrate measures the link. What it could not measure stays zero.
func (e *emulation) calibrate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+10*(e.profile.RTT+e.profile.Jitter))
	defer cancel()
	device, err := e.device.ListenUDP(netip.AddrPortFrom(deviceV4, 0))
	if err != nil {
		return
	}
	gateway, err := e.gateway.ListenUDP(netip.AddrPortFrom(gatewayV4, echoPort))
	if err != nil {
		_ = device.Close()
		return
	}
	end := sync.OnceFunc(func() {
		_ = device.Close()
		_ = gateway.Close()
	})
	defer end()
	defer context.AfterFunc(ctx, end)()
	for range pingRounds {
		if e.ping(ctx, device, gateway); e.proof.pings > 0 || ctx.Err() != nil {
			break
		}
	}
	var trains sync.WaitGroup
	trains.Go(func() { e.proof.up = e.train(e.profile.Up, device, gateway) })
	e.proof.down = e.train(e.profile.Down, gateway, device)
	trains.Wait()
}

// ping sends packets so far apart that neither a queue nor jitter lets them meet, and takes the round trips.
func (e *emulation) ping(ctx context.Context, device, gateway net.PacketConn) {
	p := e.profile
	ends := time.Now().Add(p.RTT + 2*p.Jitter + pingCount*e.pingSpacing() + 500*time.Millisecond)
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
			if _, err := device.WriteTo(message, net.UDPAddrFromAddrPort(netip.AddrPortFrom(gatewayV4, echoPort))); err != nil {
				return
			}
			select {
			case <-time.After(e.pingSpacing()):
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
	if e.proof.pings = len(trips); len(trips) > 0 {
		e.proof.rtt = typical(trips, p.Reorder > 0) - serialise(p.Up, pingSize) - serialise(p.Down, pingSize)
	}
}

// pingSpacing keeps pings from meeting each other on the link.
func (e *emulation) pingSpacing() time.Duration {
	p := e.profile
	return max(10*time.Millisecond, 2*p.Jitter, 2*max(serialise(p.Up, pingSize), serialise(p.Down, pingSize)))
}

// typical is the median, or where packets may skip the delay, which makes two kinds of trips, the mean.
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

// serialise is the time that an IP packet of size bytes takes up a link.
func serialise(r netprofile.Rate, size int) time.Duration {
	return time.Duration(float64((size+link.Framing)*8) / float64(r) * float64(time.Second))
}

// trainOf returns how many packets of which size, in bytes of IP, make a train for the rate; none where the queue has no room for it.
func trainOf(p netprofile.Profile, r netprofile.Rate) (count, size int) {
	budget := float64(r) / 8 * trainTime(p).Seconds() // bytes
	size = min(p.MTU, max(leastPacket, int(budget/minTrain)-link.Framing))
	count = min(maxTrain, p.Queue/2, max(minTrain, int(budget)/(size+link.Framing)))
	if count < minArrivals {
		return 0, 0
	}
	return count, size
}

// train sends packets at once from one end, and compares their arrivals at the other.
func (e *emulation) train(r netprofile.Rate, from, to net.PacketConn) netprofile.Rate {
	count, size := trainOf(e.profile, r)
	if count == 0 {
		return 0
	}
	target := to.LocalAddr()
	message := make([]byte, size-headers)
	for i := range count {
		binary.BigEndian.PutUint32(message, uint32(i))
		if _, err := from.WriteTo(message, target); err != nil {
			return 0
		}
	}
	took := time.Duration(count) * serialise(r, size)
	_ = to.SetReadDeadline(time.Now().Add(took + e.profile.RTT + 2*e.profile.Jitter + 500*time.Millisecond)) // gVisor's cannot fail
	arrivals := make([]time.Time, 0, count)
	b := make([]byte, e.profile.MTU)
	for last := -1; last < count-1; {
		n, _, err := to.ReadFrom(b)
		if err != nil {
			break
		}
		if n != len(message) {
			continue // a late ping
		}
		// A packet that has overtaken others tells nothing of the rate.
		if i := int(binary.BigEndian.Uint32(b)); i > last {
			arrivals = append(arrivals, time.Now())
			last = i
		}
	}
	return rateOf(arrivals, size)
}

// rateOf is the median of the rates between packets half a train apart. Packets that were lost took no time on the link, so those that
// came in between are all that did.
func rateOf(arrivals []time.Time, size int) netprofile.Rate {
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
