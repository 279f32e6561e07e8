package linkemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync/atomic"

	"lastmile/internal/linkemu/namespace"
	"lastmile/internal/linkemu/netstack"
)

// Child is the inner half of a browser's start in a namespace. Programs and test binaries that open networks with browsers in namespaces
// call it first thing; it returns where args are not those of the inner half.
func Child(args []string) { namespace.Child(args) }

// CheckNamespace reports why a browser cannot be in a network namespace on this machine, and what would help; nil where it can.
func CheckNamespace(ctx context.Context) error { return namespace.Check(ctx) }

// inside is the browser's end of the link: the kernel's stack in the browser's network namespace.
type inside struct {
	device *namespace.Device
	ended  chan struct{}
	lost   atomic.Int64 // packets that the kernel did not take
}

// startInside starts a command in a namespace, whose packets go to send.
func startInside(cmd *exec.Cmd, config namespace.Config, send func(netstack.Packet)) (*inside, error) {
	device, err := namespace.Start(cmd, config)
	if err != nil {
		return nil, err
	}
	in := &inside{device: device, ended: make(chan struct{})}
	go func() {
		defer close(in.ended)
		packet := make([]byte, config.MTU)
		for {
			n, err := device.Read(packet)
			if err != nil {
				return
			}
			if p, ok := netstack.ParsePacket(packet[:n]); ok {
				send(p)
			}
		}
	}()
	return in, nil
}

// deliver hands a packet to the browser's kernel.
func (i *inside) deliver(p netstack.Packet) {
	if _, err := i.device.Write(p.AppendTo(nil)); err != nil && !errors.Is(err, os.ErrClosed) {
		i.lost.Add(1)
	}
	p.Drop()
}

// close takes the network from the browser.
func (i *inside) close() {
	_ = i.device.Close()
	<-i.ended
}
