package linkemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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
	if !n.relay.Go(func() { n.acceptSOCKS(l) }, func() { _ = l.Close() }) {
		_ = l.Close()
		return fmt.Errorf("open proxy: %w", net.ErrClosed)
	}
	n.note(func() { n.socks = l })
	return nil
}

// acceptPause is the wait after a client that could not be taken: what this machine lacks, others may give back.
const acceptPause = 20 * time.Millisecond

// acceptSOCKS takes clients until the listener is closed.
func (n *Network) acceptSOCKS(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			n.note(func() { n.refused = err })
			select {
			case <-time.After(acceptPause):
			case <-n.ctx.Done():
			}
			continue
		}
		client := relay.Kernel{TCPConn: c}
		if !n.relay.Go(func() { n.serveSOCKS(client) }, client.Abort) {
			n.note(func() { n.refused = fmt.Errorf("got more than %d connections at once", maxTasks) })
			client.Abort()
		}
	}
}

// lacking returns why the proxy refused a client, which the run's page took for the target's doing; nil if it never did.
func (n *Network) lacking() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refused
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
	target, err := n.connectFor(client, host, port)
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

// connectFor connects for as long as the client waits for it.
func (n *Network) connectFor(client relay.Kernel, host string, port uint16) (*conn, error) {
	ctx, cancel := context.WithTimeout(n.ctx, connectWait)
	defer cancel()
	watched := make(chan struct{})
	go func() { // a client says nothing until it has its reply: what ends the read is that it has gone, or the deadline below
		defer close(watched)
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel()
		}
	}()
	target, err := n.connect(ctx, "tcp", host, port)
	_ = client.SetReadDeadline(time.Now()) // fails only on a closed one
	<-watched
	_ = client.SetReadDeadline(time.Time{})
	if err == nil && ctx.Err() != nil {
		target.Abort()
		return nil, ctx.Err()
	}
	return target, err
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
