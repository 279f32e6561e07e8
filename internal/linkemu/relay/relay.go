// Package relay carries bytes between two connections until both directions have ended.
package relay

import (
	"io"
	"net"
	"sync"
)

// Conn is a connection whose directions end one by one, or at once.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
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

	mu    sync.Mutex
	tasks sync.WaitGroup
	open  map[*pair]struct{} // nil once closed
}

// pair is what is to be aborted at Close.
type pair struct{ abort func() }

// bufferSize bounds what is read from one connection before it is written to the other.
const bufferSize = 16 << 10

// New returns a relay that carries nothing yet.
func New() *Relay {
	return &Relay{
		buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }},
		open:    map[*pair]struct{}{},
	}
}

// Go runs a task that Close waits for, with abort called at Close if it is still running. It reports false where the relay is
// closed; the task is then not run.
func (r *Relay) Go(task, abort func()) bool {
	p := &pair{abort: abort}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
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

// Join carries bytes between a and b until both directions have ended, and closes them. The end of one direction is passed on as such,
// an error as a reset.
func (r *Relay) Join(a, b Conn) {
	abort := func() {
		a.Abort()
		b.Abort()
	}
	var ways sync.WaitGroup
	carry := func(to, from Conn) {
		buffer := r.buffers.Get().(*[bufferSize]byte)
		defer r.buffers.Put(buffer)
		// The structs hide ReadFrom and WriteTo, which would allocate buffers of their own.
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer[:])
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			abort()
		}
	}
	ways.Go(func() { carry(a, b) })
	carry(b, a)
	ways.Wait()
	_ = a.Close()
	_ = b.Close()
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
