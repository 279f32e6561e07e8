package relay

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// end is one end of a connection in memory, whose directions end one by one.
type end struct {
	net.Conn // what comes in
	out      net.Conn

	mu              sync.Mutex
	closed, aborted bool
}

// ends returns both ends of a connection. A write waits for its reader.
func ends() (a, b *end) {
	in, toIn := net.Pipe()
	fromOut, out := net.Pipe()
	return &end{Conn: in, out: out}, &end{Conn: fromOut, out: toIn}
}

func (e *end) Write(b []byte) (int, error) { return e.out.Write(b) }
func (e *end) CloseWrite() error           { return e.out.Close() }

// SetReadDeadline fails on an end that was closed only, as a socket's does; a pipe's fails at the other's end as well.
func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	_ = e.Conn.SetReadDeadline(t)
	return nil
}

func (e *end) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	_ = e.Conn.Close() // a pipe's cannot fail
	return e.out.Close()
}

func (e *end) Abort() {
	_ = e.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.aborted = true
}

// state tells what was done to an end.
func (e *end) state() (closed, aborted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed, e.aborted
}

// patience is for how long the half that is left may be silent.
const patience = 10 * time.Second

// joined is a client and a server with a relay between.
type joined struct {
	client, server *end // as they see it
	near, far      *end // the relay's ends
	took           time.Duration
	done           chan struct{}
}

// join starts a relay in a bubble.
func join() *joined {
	j := &joined{done: make(chan struct{})}
	j.client, j.near = ends()
	j.far, j.server = ends()
	began := time.Now()
	go func() {
		defer close(j.done)
		New(1).Join(j.near, j.far)
		j.took = time.Since(began)
	}()
	return j
}

// over reports whether the relay has ended.
func (j *joined) over() bool {
	synctest.Wait()
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// pass sends a message from one end and has the other read it.
func pass(t *testing.T, from, to *end, message string) {
	t.Helper()
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(from, message) })
	got := make([]byte, len(message))
	if n, err := io.ReadFull(to, got); err != nil {
		t.Errorf("pass %q on: got %q and %v, want all of it", message, got[:n], err)
	}
	sending.Wait()
}

// endsWith waits for the end of the relay.
func (j *joined) endsWith(t *testing.T, took time.Duration, aborted bool) {
	t.Helper()
	<-j.done
	if j.took != took {
		t.Errorf("got the end after %v, want it after %v", j.took, took)
	}
	for what, e := range map[string]*end{"client": j.near, "server": j.far} {
		if closed, got := e.state(); !closed || got != aborted {
			t.Errorf("%s: got closed %v, aborted %v; want it closed, aborted %v", what, closed, got, aborted)
		}
	}
}

// Whichever end says that it has said all: the other may be silent for ten seconds at a time from then on, and no longer.
func TestHalfClosedConnectionLingers(t *testing.T) {
	for _, tt := range []struct {
		who string
		of  func(*joined) (ending, other *end)
	}{
		{"client", func(j *joined) (*end, *end) { return j.client, j.server }},
		{"server", func(j *joined) (*end, *end) { return j.server, j.client }},
	} {
		t.Run(tt.who+" ends, the other is gone", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := join()
				ending, other := tt.of(j)
				pass(t, ending, other, "GET /")
				time.Sleep(time.Hour) // whoever has not ended may be silent for as long as it likes
				if j.over() {
					t.Fatal("got the end of a connection that was only silent, want none")
				}
				_ = ending.CloseWrite()
				if n, err := other.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the other end: got %d bytes and %v, want the end", n, err)
				}
				j.endsWith(t, time.Hour+patience, true)
			})
		})
		t.Run(tt.who+" ends, the other goes on", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := join()
				ending, other := tt.of(j)
				_ = ending.CloseWrite()
				const words = 20
				for range words {
					time.Sleep(patience - time.Millisecond)
					pass(t, other, ending, "more")
				}
				if j.over() {
					t.Fatal("got the end while there was more to say, want none")
				}
				j.endsWith(t, words*(patience-time.Millisecond)+patience, true)
			})
		})
		t.Run(tt.who+" ends, then the other", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := join()
				ending, other := tt.of(j)
				_ = ending.CloseWrite()
				time.Sleep(patience / 2)
				pass(t, other, ending, "all of it")
				_ = other.CloseWrite()
				if n, err := ending.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the end that was first: got %d bytes and %v, want the end", n, err)
				}
				j.endsWith(t, patience/2, false)
			})
		})
		t.Run(tt.who+" ends, and is slow to take what comes", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := join()
				ending, other := tt.of(j)
				_ = ending.CloseWrite()
				long := strings.Repeat("x", 3*bufferSize)
				var sending sync.WaitGroup
				sending.Go(func() {
					_, _ = io.WriteString(other, long)
					_ = other.CloseWrite()
				})
				for left := long; left != ""; left = left[bufferSize:] {
					time.Sleep(3 * patience) // the other has not been silent: it was not asked
					if n, err := io.ReadFull(ending, make([]byte, bufferSize)); err != nil {
						t.Fatalf("got %d bytes and %v, want all that was sent", n, err)
					}
				}
				sending.Wait()
				j.endsWith(t, 9*patience, false)
			})
		})
	}
}
