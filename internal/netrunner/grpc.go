package netrunner

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"lastmile/internal/answer"
	"lastmile/internal/cause"
	"lastmile/internal/runs"
)

// stageSettings is that of a gRPC connection which is there but for the server's first frame.
const stageSettings cause.Stage = "waiting for the server's HTTP/2 settings"

// grpc asks a server for the health of a service (grpc.health.v1).
func (e *exchange) grpc(ctx context.Context) (*runs.Cause, error) {
	call := &call{exchange: e}
	client, err := grpc.NewClient("passthrough:///"+e.address, call.options(ctx)...)
	if err != nil {
		return answer.Cause(runs.ClassScript, "%s", err), nil
	}
	defer client.Close()
	defer context.AfterFunc(ctx, e.line.hangUp)()
	asked := metadata.NewOutgoingContext(ctx, e.metadata())
	health, err := grpc_health_v1.NewHealthClient(client).Check(asked, &grpc_health_v1.HealthCheckRequest{Service: e.service})
	e.clock.set(&e.clock.end)
	if err != nil {
		return call.failed(ctx, err)
	}
	e.request.Status = http.StatusOK
	got := health.GetStatus()
	body, err := json.Marshal(map[string]string{"status": got.String()})
	if err != nil {
		return nil, err
	}
	if got != grpc_health_v1.HealthCheckResponse_SERVING {
		return answer.Cause(runs.ClassAssertion, "health of %s: got %s, want SERVING", e.whose(), got), nil
	}
	return e.judge(body), nil
}

// whose names the service whose health is asked for.
func (e *exchange) whose() string {
	if e.service == "" {
		return "the server"
	}
	return e.service
}

// metadata returns the step's headers as gRPC wants them.
func (e *exchange) metadata() metadata.MD {
	md := metadata.MD{}
	for name, values := range e.header {
		if name = strings.ToLower(name); name != "user-agent" {
			md[name] = values
		}
	}
	return md
}

// call is a call under way. It is also the stats.Handler that learns how far it got, and the credentials of the connection.
type call struct {
	*exchange
	begun    atomic.Bool // the request was sent
	answered atomic.Bool // the server ended the call, and the status is its own
}

// options returns what makes a client that asks once, over the run's network.
func (c *call) options(ctx context.Context) []grpc.DialOption {
	secure := insecure.NewCredentials()
	if c.step.TLS {
		secure = handshake{credentials.NewTLS(c.secure.config.Clone()), c.exchange}
	}
	patience := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(time.Until(deadline), time.Second)
	}
	return []grpc.DialOption{
		grpc.WithContextDialer(c.dial),
		grpc.WithTransportCredentials(secure),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: patience}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithUserAgent(c.header.Get("User-Agent")),
		grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxHeader)),
		grpc.WithStatsHandler(c),
	}
}

func (c *call) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := c.line.dial(ctx, address)
	if err == nil && !c.step.TLS {
		c.clock.set(&c.clock.ready)
	}
	return conn, err
}

// handshake is the credentials of a connection whose handshake is watched.
type handshake struct {
	credentials.TransportCredentials
	exchange *exchange
}

// ClientHandshake implements credentials.TransportCredentials.
func (h handshake) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	e := h.exchange
	e.clock.set(&e.clock.tlsStart)
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	var state tls.ConnectionState
	if secured, ok := info.(credentials.TLSInfo); ok {
		state = secured.State
	}
	e.done(state, err)
	if err != nil {
		return nil, nil, err
	}
	e.clock.set(&e.clock.ready)
	return overheard{conn, e.secure}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (h handshake) Clone() credentials.TransportCredentials {
	return handshake{h.TransportCredentials.Clone(), h.exchange}
}

// overheard is a connection that notes an alert: by one a server refuses our certificate, when the handshake is over for us.
type overheard struct {
	net.Conn
	secure *security
}

// Read implements net.Conn.
func (o overheard) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if cause.Alert(err) {
		o.secure.mu.Lock()
		o.secure.err = err
		o.secure.mu.Unlock()
	}
	return n, err
}

// HandleRPC implements stats.Handler.
func (c *call) HandleRPC(_ context.Context, event stats.RPCStats) {
	switch event.(type) {
	case *stats.OutHeader:
		c.begun.Store(true)
	case *stats.OutPayload:
		c.clock.set(&c.clock.wrote)
	case *stats.InHeader:
		c.clock.set(&c.clock.firstByte)
	case *stats.InTrailer:
		c.clock.set(&c.clock.firstByte)
		c.answered.Store(true)
	}
}

// TagRPC implements stats.Handler.
func (*call) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements stats.Handler.
func (*call) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (*call) HandleConn(context.Context, stats.ConnStats) {}

// failed tells apart why a call failed: the network, TLS, or the server's own word. The library keeps the text of the first two only.
func (c *call) failed(ctx context.Context, err error) (*runs.Cause, error) {
	_, dialed, broke := c.line.told()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case ctx.Err() != nil:
		f := c.failure()
		if f.Stage == cause.StageSend && !c.begun.Load() {
			f.Stage = stageSettings
		}
		return f.Timeout(""), nil
	case c.answered.Load():
		return c.refused(status.Code(err)), nil
	case dialed != nil:
		return nil, dialed
	case c.secure.failed() != nil:
		return nil, c.secure.failed()
	case broke != nil:
		return nil, broke
	}
	return nil, errors.New(status.Convert(err).Message())
}

// refused is the cause of a call that the server ended otherwise than by an answer. What it says is left out: it may quote what was sent.
func (c *call) refused(code codes.Code) *runs.Cause {
	why := map[codes.Code]string{
		codes.Unimplemented:    ": the server does not offer grpc.health.v1.Health",
		codes.NotFound:         ": the server knows no such service",
		codes.Unavailable:      ": the server, or a proxy in front of it, cannot serve now",
		codes.Unauthenticated:  ": the server wants credentials",
		codes.PermissionDenied: ": the server does not accept the credentials",
	}[code]
	return answer.Cause(runs.ClassAssertion, "health of %s: got code %s%s, want SERVING", c.whose(), code, why)
}
