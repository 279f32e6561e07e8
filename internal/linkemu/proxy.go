package linkemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"lastmile/internal/linkemu/relay"
	"lastmile/internal/linkemu/socks"
	"lastmile/internal/runs"
)

// greetingLimit bounds the handshake of a client, connectWait a connection for it: browsers give up on their own before.
const (
	greetingLimit = 10 * time.Second
	connectWait   = 4 * time.Minute
)

// listenSOCKS opens the proxy through which browsers reach the network.
func (n *Network) listenSOCKS() error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("open proxy: %w", err)
	}
	n.socks = l
	n.relay.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			client := relay.Kernel{TCPConn: c}
			if !n.relay.Go(func() { n.serveSOCKS(client) }, client.Abort) {
				client.Abort()
			}
		}
	}, func() { _ = l.Close() })
	return nil
}

// serveSOCKS answers one client, and carries its connection.
func (n *Network) serveSOCKS(client relay.Kernel) {
	_ = client.SetDeadline(time.Now().Add(greetingLimit)) // fails only on a closed one, as what follows will
	host, port, reply := socks.ReadRequest(client)
	if reply != socks.OK {
		refuseSOCKS(client, reply)
		return
	}
	_ = client.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(n.ctx, connectWait)
	target, err := n.connect(ctx, host, port)
	cancel()
	if err != nil {
		refuseSOCKS(client, replyTo(err))
		return
	}
	if err := socks.OK.Write(client); err != nil {
		target.Abort()
		client.Abort()
		return
	}
	stop := context.AfterFunc(n.ctx, target.Abort)
	defer stop()
	n.relay.Join(client, target)
}

func refuseSOCKS(client relay.Kernel, reply socks.Reply) {
	_ = reply.Write(client) // whoever has gone away needs no reply
	_ = client.Close()
}

// replyTo is how SOCKS says why there is no connection.
func replyTo(err error) socks.Reply {
	if errors.Is(err, context.Canceled) {
		return socks.Failed
	}
	switch causeOf(err).Class {
	case runs.ClassBlockedHost:
		return socks.Blocked
	case runs.ClassDNS:
		return socks.NoHost
	case runs.ClassTimeout:
		return socks.Timeout
	}
	return socks.Refused
}
