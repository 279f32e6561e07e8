// Package trial puts an emulated access network to the test the way a program meets it: with look-ups, connections, TLS and transfers of
// real TCP across it, against a server of its own on 127.0.0.1, which the network must allow. It holds what it finds against what the
// profile's numbers make of such a link.
package trial

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"lastmile/internal/linkemu/link"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// Network is the network on trial. Both methods call the hooks of the httptrace.ClientTrace in ctx.
type Network interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
}

// Direction is one of a link's two.
type Direction string

// The directions, from the device's point of view.
const (
	Down Direction = "down"
	Up   Direction = "up"
)

// Sample is what one network did on trial.
type Sample struct {
	setUps  []setUp
	goodput goodput
	Link    runs.Link // what the network says of itself at its end; set by the caller, who closes it
}

// The sizes of packets, in bytes of IP.
const (
	overhead = 52 // IPv4 20, TCP 20, timestamps 12
	syn      = 60 // a SYN's options take 20
)

// Run tries a network that nothing else uses: connections on the idle link first, then one transfer in the direction for as long as
// period, after a time to get up to speed. An error means that nothing could be tried; what the link does to a trial is in its sample.
func Run(ctx context.Context, n Network, p netprofile.Profile, d Direction, period time.Duration) (*Sample, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("try network %s: %w", p.Name, err)
	}
	s := new(Sample)
	if s.setUps, err = setUps(ctx, n, p, identity, period); err != nil {
		return nil, fmt.Errorf("try network %s: %w", p.Name, err)
	}
	if s.goodput, err = transfer(ctx, n, p, d, period); err != nil {
		return nil, fmt.Errorf("try network %s: %w", p.Name, err)
	}
	return s, nil
}

// rate is the profile's in a direction.
func rate(p netprofile.Profile, d Direction) netprofile.Rate {
	if d == Down {
		return p.Down
	}
	return p.Up
}

// payload is what a full packet carries.
func payload(p netprofile.Profile) int { return p.MTU - overhead }

// limit is the goodput of a link that is never idle.
func limit(p netprofile.Profile, d Direction) netprofile.Rate {
	return netprofile.Rate(float64(rate(p, d)) * float64(payload(p)) / float64(p.MTU+link.Framing))
}

// identity is what a server shows to TLS.
type identity struct{ server, client *tls.Config }
