package netrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"lastmile/internal/answer"
	"lastmile/internal/cause"
	"lastmile/internal/runs"
)

// open takes the URL of a websocket step.
func (e *exchange) open() {
	u, err := url.Parse(e.expand("url", e.step.URL))
	switch {
	case err != nil:
		e.check("url", cause.Bare(err))
		u = new(url.URL)
	case u.Hostname() == "" || u.Scheme != "ws" && u.Scheme != "wss":
		e.check("url", fmt.Errorf("got scheme %q, want an absolute ws or wss URL", answer.Clip(u.Scheme, answer.MaxValue)))
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	e.url, e.host = u, u.Hostname()
	e.request.URL, e.request.Method, e.request.Protocol = answer.Clip(bare.String(), maxURL), http.MethodGet, "websocket"
}

// websocket opens a connection, sends, and where the step looks at what comes, reads messages until one is as it should be.
func (e *exchange) websocket(ctx context.Context) (*runs.Cause, error) {
	transport := &http.Transport{
		DialContext:            e.plain,
		DialTLSContext:         e.secured,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols), // a handshake over HTTP/2 is another one
	}
	transport.Protocols.SetHTTP1(true)
	defer transport.CloseIdleConnections()
	defer context.AfterFunc(ctx, e.line.hangUp)()
	conn, response, err := websocket.Dial(httptrace.WithClientTrace(ctx, e.opening()), e.url.String(), &websocket.DialOptions{ //nolint:bodyclose // the library keeps of it what may be read, and closes it
		HTTPHeader: e.header, Host: e.header.Get("Host"),
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if response != nil {
		e.request.Status = response.StatusCode
	}
	if err != nil {
		return e.unopened(response, err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(int64(e.session.options.MaxBody))
	if e.send != "" {
		if err := conn.Write(ctx, websocket.MessageText, []byte(e.send)); err != nil {
			return nil, e.broken(ctx, err)
		}
	}
	var found *runs.Cause
	if e.reads() {
		found, err = e.messages(ctx, conn)
	} else {
		found = e.judge(nil)
	}
	e.clock.set(&e.clock.end)
	if err == nil && found == nil && ctx.Err() == nil {
		e.leave(conn)
	}
	return found, err
}

// plain dials for a ws URL, secured for a wss one.
func (e *exchange) plain(ctx context.Context, _, address string) (net.Conn, error) {
	raw, err := e.line.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return newListener(raw), nil
}

func (e *exchange) secured(ctx context.Context, _, address string) (net.Conn, error) {
	raw, err := e.line.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	conn, err := e.handshake(ctx, raw)
	if err != nil {
		return nil, err
	}
	return newListener(conn), nil
}

// listener is a connection that nothing is read from before something was written. What a server says before it was asked would have
// net/http write it to the program's log, and whether that happens be a matter of chance.
type listener struct {
	net.Conn
	once  sync.Once
	spoke chan struct{} // closed once something was written, or nothing will be
}

func newListener(conn net.Conn) *listener { return &listener{Conn: conn, spoke: make(chan struct{})} }

// Read implements net.Conn.
func (l *listener) Read(p []byte) (int, error) {
	<-l.spoke
	return l.Conn.Read(p)
}

// Write implements net.Conn.
func (l *listener) Write(p []byte) (int, error) {
	l.once.Do(func() { close(l.spoke) })
	return l.Conn.Write(p)
}

// Close implements net.Conn.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.spoke) })
	return l.Conn.Close()
}

// opening returns the trace that feeds the clock what the network does not tell.
func (e *exchange) opening() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { e.clock.set(&e.clock.ready) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { e.clock.set(&e.clock.wrote) },
		GotFirstResponseByte: func() { e.clock.set(&e.clock.firstByte) },
	}
}

// unopened is why there is no connection; response is what the server said instead, if it said anything.
func (e *exchange) unopened(response *http.Response, err error) (*runs.Cause, error) {
	if response == nil {
		return nil, err
	}
	class := runs.ClassAssertion
	switch response.StatusCode / 100 {
	case 4:
		class = runs.ClassHTTP4xx
	case 5:
		class = runs.ClassHTTP5xx
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return answer.Cause(runs.ClassScript, "handshake: the server's answer is none of WebSocket (RFC 6455, section 4.2.2)"), nil
	}
	return answer.Cause(class, "handshake: got status %d, want 101", response.StatusCode), nil
}

// messages reads until a message satisfies the step: each is looked at by itself.
func (e *exchange) messages(ctx context.Context, conn *websocket.Conn) (*runs.Cause, error) {
	var last *runs.Cause // of the last message
	limit := int64(e.session.options.MaxBody)
	for count, total := 0, int64(0); ; {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return e.silenced(ctx, last, err)
		}
		count, total = count+1, total+int64(len(message))
		if last = e.judge(message); last == nil {
			return nil, nil
		}
		if count == maxMessages || total > limit {
			return with(last, fmt.Sprintf(", in the last of %d messages of %d bytes", count, total)), nil
		}
	}
}

// silenced ends the step when no message comes any more; last is what the last one lacked.
func (e *exchange) silenced(ctx context.Context, last *runs.Cause, err error) (*runs.Cause, error) {
	e.clock.set(&e.clock.end)
	code := websocket.CloseStatus(err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil && last != nil:
		return e.failure().Timeout(last.Detail), nil
	case ctx.Err() != nil:
		return e.failure().Timeout("no message"), nil
	case errors.Is(err, websocket.ErrMessageTooBig):
		return answer.Cause(runs.ClassScript, "message: got more than %d bytes", int64(e.session.options.MaxBody)), nil
	case last != nil && code >= 0:
		return with(last, fmt.Sprintf(", and then the server closed with status %d", code)), nil
	case last != nil:
		return with(last, ", and then the connection broke"), nil
	case code >= 0:
		return answer.Cause(runs.ClassConnect, "connection closed with status %d while waiting for a message", code), nil
	}
	if err = e.broken(ctx, err); errors.Is(err, io.EOF) {
		return answer.Cause(runs.ClassConnect, "connection closed while waiting for a message"), nil
	}
	return nil, err
}

// broken is what the network says of a connection that broke, or what the library does where the network says nothing.
func (e *exchange) broken(ctx context.Context, err error) error {
	if _, _, broke := e.line.told(); broke != nil && ctx.Err() == nil {
		return broke
	}
	return err
}

// maxLeave bounds the closing handshake. A server that does not take part in it does no harm.
const maxLeave = time.Second

func (e *exchange) leave(conn *websocket.Conn) {
	timer := time.AfterFunc(maxLeave, e.line.hangUp)
	defer timer.Stop()
	_ = conn.Close(websocket.StatusNormalClosure, "")
}
