// Package relay carries bytes between two connections until both directions have ended.
package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a connection whose directions end one by one, or at once.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
	Abort() // ends both directions with a reset; may be called more than once, and at any time
}

// Kernel is a connection of the kernel's.
type Kernel struct{ *net.TCPConn }

// Abort implements Conn.
func (k Kernel) Abort() {
	_ = k.SetLinger(0) // fails only on a closed one
	_ = k.TCPConn.Close()
}

// Relay carries connections. It is safe for concurrent use; the zero value is not ready, see New.
type Relay struct {
	buffers sync.Pool

	most int

	mu    sync.Mutex
	tasks sync.WaitGroup
	open  map[*pair]struct{} // nil once closed
}

// pair is what is to be aborted at Close.
type pair struct{ abort func() }

// bufferSize bounds what is read from one connection before it is written to the other.
const bufferSize = 16 << 10

// New returns a relay that runs at most so many tasks at once.
func New(most int) *Relay {
	return &Relay{
		most:    most,
		buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }},
		open:    map[*pair]struct{}{},
	}
}

// Go runs a task that Close waits for, with abort called at Close if it is still running. It reports false where the relay is
// closed or has too many; the task is then not run.
func (r *Relay) Go(task, abort func()) bool {
	p := &pair{abort: abort}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil || len(r.open) >= r.most {
		return false
	}
	r.open[p] = struct{}{}
	r.tasks.Go(func() {
		defer func() {
			r.mu.Lock()
			delete(r.open, p)
			r.mu.Unlock()
		}()
		task()
	})
	return true
}

// linger is how long a connection of which one direction has ended may be silent in the other: an end that has gone away altogether
// looks the same as one that has only said all, and would be kept until the other end says something.
const linger = 10 * time.Second

// Join carries bytes between a and b until both directions have ended, and closes them. The end of one direction is passed on as such,
// an error as a reset.
func (r *Relay) Join(a, b Conn) {
	var half atomic.Bool
	abort := func() {
		a.Abort()
		b.Abort()
	}
	carry := func(to, from Conn) {
		err := r.copy(to, from, &half)
		if errors.Is(err, io.EOF) {
			err = to.CloseWrite()
			half.Store(true)
			if err == nil { // what has begun to wait in the other direction learns of it, too
				err = to.SetReadDeadline(time.Now().Add(linger))
			}
		}
		if err != nil {
			abort()
		}
	}
	var ways sync.WaitGroup
	ways.Go(func() { carry(a, b) })
	carry(b, a)
	ways.Wait()
	_ = a.Close()
	_ = b.Close()
}

// copy carries one direction to its end, which is io.EOF, or to an error.
func (r *Relay) copy(to, from Conn, half *atomic.Bool) error {
	buffer := r.buffers.Get().(*[bufferSize]byte)
	defer r.buffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
			if half.Load() {
				if err := from.SetReadDeadline(time.Now().Add(linger)); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// Close aborts what is under way and waits for it. Nothing is carried afterwards.
func (r *Relay) Close() {
	r.mu.Lock()
	open := r.open
	r.open = nil
	aborts := make([]func(), 0, len(open))
	for p := range open {
		aborts = append(aborts, p.abort)
	}
	r.mu.Unlock()
	for _, abort := range aborts {
		abort()
	}
	r.tasks.Wait()
}
