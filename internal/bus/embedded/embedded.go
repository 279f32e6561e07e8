// Package embedded runs the NATS server of a bus in this process.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options configure a server.
type Options struct {
	Dir    string // where JetStream stores its streams; required; one server at a time may own it
	Listen string // "host:port"; empty = in-process connections only; port 0 = any free port
	Token  string // what clients must present; required where Listen is not a loopback address

	// SyncInterval is how long a stored message may wait for its fsync; zero = it is synced before it is acknowledged. Anything
	// else loses acknowledged messages when the power fails.
	SyncInterval time.Duration
}

// Server is a NATS server in this process.
type Server struct {
	Token string // what clients must present

	nats *server.Server
	lock *os.File
	sync time.Duration
}

// SyncTime is how long the disk took to make one small write last when the server started: the least that each stored message takes. Zero
// where messages are not synced one by one.
func (s *Server) SyncTime() time.Duration { return s.sync }

// InProcessConn returns a connection to the server that needs no network: nats.go's InProcessServer takes a Server.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

const (
	// readyTimeout bounds what is left of the start once the streams have been read back.
	readyTimeout = 60 * time.Second
	// tellEvery is how often a start that takes longer says so. To read back a million messages takes about half a second, and minutes after a crash where
	// there are many gigabytes of them; nothing bounds that, for to give up would not make it any faster.
	tellEvery = 10 * time.Second
)

// Start starts a server and returns when it takes connections. The caller stops it with Stop.
func Start(log *slog.Logger, o Options) (*Server, error) {
	opts, err := o.nats()
	if err != nil {
		return nil, fmt.Errorf("start bus server: %w", err)
	}
	lock, err := lockFolder(o.Dir) // JetStream does not lock its folder, and two servers on one store destroy it
	if err != nil {
		return nil, fmt.Errorf("start bus server: %w", err)
	}
	var took time.Duration
	if opts.SyncAlways {
		if took, err = syncTime(o.Dir); err != nil {
			lock.Close()
			return nil, fmt.Errorf("start bus server: %w", err)
		}
		warnSlow(log, o.Dir, took)
	}
	srv, err := run(log, opts)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("start bus server: %w", err)
	}
	return &Server{nats: srv, Token: o.Token, lock: lock, sync: took}, nil
}

// run runs a server until it is ready.
func run(log *slog.Logger, opts *server.Options) (*server.Server, error) {
	if !opts.DontListen { // the server would recover its whole store before it met a taken port
		l, err := net.Listen("tcp", net.JoinHostPort(opts.Host, strconv.Itoa(max(opts.Port, 0))))
		if err != nil {
			return nil, err // names the address and the cause
		}
		l.Close()
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	sink := &serverLog{log: log}
	srv.SetLoggerV2(sink, false, false, false)
	told := tell(log, tellEvery)
	srv.Start() // reads back the streams
	told()
	deadline := time.Now().Add(readyTimeout)
	for ready := false; !ready && err == nil; {
		ready = srv.ReadyForConnections(100 * time.Millisecond)
		if err = sink.fatal(ready); err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("got a server that is not ready, want it ready within %s", readyTimeout)
		}
	}
	if err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return srv, nil
}

// tell says again and again that the server is still starting, until the function that it returns is called.
func tell(log *slog.Logger, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for began := time.Now(); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
				log.Info("bus server is still reading back what it keeps", "since", time.Since(began).Round(time.Millisecond))
			}
		}
	})
	return func() {
		close(done)
		telling.Wait()
	}
}

// URL returns the address for clients, without the token; "" where the server takes in-process connections only.
func (s *Server) URL() string {
	addr := s.nats.Addr()
	if addr == nil {
		return ""
	}
	return "nats://" + addr.String()
}

// Stop shuts the server down and frees its folder. Connections end; what was acknowledged is on disk. Where ctx ends first, Stop
// returns its error and the shutdown goes on behind it.
func (s *Server) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		s.lock.Close() // frees it
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop bus server: %w", ctx.Err())
	}
}

// nats turns the options into the server's own.
func (o Options) nats() (*server.Options, error) {
	opts := &server.Options{
		ServerName:   "lastmile",
		NoSigs:       true,
		DontListen:   true,
		JetStream:    true,
		StoreDir:     o.Dir,
		SyncAlways:   o.SyncInterval == 0,
		SyncInterval: o.SyncInterval,

		Authorization: o.Token,
	}
	if o.Dir == "" {
		return nil, errors.New("got no folder, want one to store streams in")
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, err
	}
	if !loopback(host) && o.Token == "" {
		return nil, fmt.Errorf("got listen address %q without a token, want a loopback address or a token", o.Listen)
	}
	opts.DontListen, opts.Host, opts.Port = false, host, port
	return opts, nil
}

// splitListen takes a listen address apart. Port 0 becomes the server's own sign for any free port.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("got listen address %q, want host:port", listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("got port %q in listen address %q, want 0 to 65535", text, listen)
	}
	if host == "" {
		host = server.DEFAULT_HOST
	}
	if port <= 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// loopback reports whether only this machine can reach the host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// lockFolder makes the folder and takes it for this process. The lock ends with the file or with the process.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("store %s is in use by another server", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// serverLog hands the server's log to slog. What the server calls a notice is of interest at debug level only.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	ready bool  // whether the start is over and nobody asks for the cause any more
	cause error // the first fatal message; it does not end the process, nor does an embedded server report it otherwise
}

// fatal returns what has stopped the server. ready ends the start.
func (l *serverLog) fatal(ready bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = ready
	return l.cause
}

// Fatalf keeps the first fatal message for Start to return; later ones are logged.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready {
		l.log.Error("bus server", "text", fmt.Sprintf(format, v...))
	} else if l.cause == nil {
		l.cause = fmt.Errorf(format, v...)
	}
}

func (l *serverLog) Errorf(format string, v ...any)  { l.warn(format, v...) }
func (l *serverLog) Warnf(format string, v ...any)   { l.warn(format, v...) }
func (l *serverLog) Noticef(format string, v ...any) { l.debug(format, v...) }
func (l *serverLog) Debugf(format string, v ...any)  { l.debug(format, v...) }
func (l *serverLog) Tracef(format string, v ...any)  { l.debug(format, v...) }

func (l *serverLog) warn(format string, v ...any) {
	l.log.Warn("bus server", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) debug(format string, v ...any) {
	l.log.Debug("bus server", "text", fmt.Sprintf(format, v...))
}
