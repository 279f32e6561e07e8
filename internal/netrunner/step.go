package netrunner

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"lastmile/internal/answer"
	"lastmile/internal/cachestate"
	"lastmile/internal/cause"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// Step carries out one step: the exchange, the assertions, then the variables, which are taken from a failed answer too, as far as they are
// there.
//
// ctx ends at the step's limit, which is the target's failure (class timeout), or is cancelled, which is ours (a *runs.Fault).
func (s *Session) Step(ctx context.Context, step *scenario.Step, scope *vars.Scope) (runs.Step, error) {
	e := &exchange{session: s, step: step, scope: scope, began: time.Now()}
	if err := e.prepare(); err != nil {
		detail := answer.Cause(runs.ClassScript, "%s", scope.Redact(err.Error()))
		return runs.Step{State: runs.StepFailed, Cause: detail}, nil
	}
	found, err := e.run(ctx)
	e.clock.set(&e.clock.end)
	e.line.close()
	if err != nil {
		found, err = e.explain(ctx, err)
	}
	out := runs.Step{State: runs.StepPassed, Cause: found, Requests: 1}
	if found != nil {
		out.State, e.request.Error = runs.StepFailed, found.Detail
	}
	e.request.Phases, e.request.Bytes = e.clock.phases(), e.line.received.Load()
	e.request.RemoteAddr, _, _ = e.line.told()
	out.Bytes = e.request.Bytes
	out.DurationMS = runs.Milliseconds(max(e.clock.end.Sub(e.began), 0))
	s.record(e.request)
	return out, err
}

// exchange is a step under way.
type exchange struct {
	session *Session
	step    *scenario.Step
	scope   *vars.Scope
	began   time.Time
	clock   clock
	line    *line
	request runs.Request

	// The step with its templates expanded: all that the exchange needs, so that a step that cannot be carried out as written sends
	// nothing.
	host    string // that is connected to or asked for
	address string // host:port that is connected to
	url     *url.URL
	send    string
	service string
	header  http.Header
	secure  *security

	credentials []string // never shown
	err         error    // the first thing wrong with the step
	foreign     int      // packets that were no answer to what dns asked
}

// run carries out the exchange. An error is still to be told apart: what the target did from what we did.
func (e *exchange) run(ctx context.Context) (*runs.Cause, error) {
	if !e.session.scenario.AllowsHost(e.host) {
		return nil, &runs.BlockedError{Host: answer.Clip(e.host, answer.MaxValue), Want: "one that allowHosts lists"}
	}
	switch e.step.Type {
	case scenario.StepTCP:
		return e.tcp(ctx)
	case scenario.StepTLS:
		return e.tls(ctx)
	case scenario.StepDNS:
		return e.dns(ctx)
	case scenario.StepGRPC:
		return e.grpc(ctx)
	}
	return e.websocket(ctx)
}

// prepare expands the step. The error is without the values of variables.
func (e *exchange) prepare() error {
	family := "tcp"
	if e.step.IPVersion != 0 {
		family = fmt.Sprintf("tcp%d", e.step.IPVersion)
	}
	e.line = &line{network: e.session.network, family: family, clock: &e.clock}
	e.request = runs.Request{Step: e.step.ID, Cache: cachestate.Classify(nil), StartedAt: e.began}
	e.send, e.service = e.expand("send", e.step.Send), e.expand("service", e.step.Service)
	e.header = http.Header{"User-Agent": {e.session.options.UserAgent}}
	for name, template := range e.step.Headers {
		e.header.Set(name, e.expand("header "+name, template))
	}
	e.authorise()
	switch e.step.Type {
	case scenario.StepDNS:
		e.askFor()
	case scenario.StepWebSocket:
		e.open()
	default:
		e.connectTo("address", e.expand("address", e.step.Address))
		e.request.URL = answer.Clip(string(e.step.Type)+"://"+e.address, maxURL)
		e.request.Method, e.request.Protocol = "CONNECT", "tcp"
		if e.step.Type == scenario.StepGRPC {
			e.request.Method, e.request.Protocol = "CHECK", "h2"
		}
	}
	e.secure = e.security()
	if err := e.session.judge.Ready(e.step, e.scope); err != nil {
		e.check("assert", err)
	}
	return e.err
}

const maxURL = 1000 // bytes of a request's URL in a result

// check keeps the first error and says what it is about.
func (e *exchange) check(what string, err error) {
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (e *exchange) expand(what, template string) string {
	text, err := e.scope.Expand(template)
	e.check(what, err)
	return text
}

// connectTo takes the host:port that the step connects to.
func (e *exchange) connectTo(key, address string) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = fmt.Errorf("got %q, want a host and a port", answer.Clip(address, answer.MaxValue))
	}
	e.check(key, err)
	e.host, e.address = host, address
}

// authorise adds the Authorization header, and notes what of the headers must never be shown.
func (e *exchange) authorise() {
	if a := e.step.Auth; a != nil && a.Basic != nil {
		user, password := e.expand("auth", a.Basic.User), e.expand("auth", a.Basic.Password)
		e.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		e.credentials = append(e.credentials, password)
	} else if a != nil {
		e.header.Set("Authorization", "Bearer "+e.expand("auth", a.Bearer))
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		for _, value := range e.header[name] {
			_, token, _ := strings.Cut(value, " ")
			e.credentials = append(e.credentials, value, token)
		}
	}
}

// judge holds what came against the step, and takes the variables out of it.
func (e *exchange) judge(body []byte, records ...string) *runs.Cause {
	a := &answer.Answer{
		Body: body, Phases: e.clock.phases(), Duration: time.Since(e.began), Records: records, Credentials: e.credentials,
	}
	if state := e.secure.agreed(); state != nil {
		a.Certificates, a.TLSVersion = state.PeerCertificates, tls.VersionName(state.Version)
	}
	found := e.session.judge.Assert(e.step, a, e.scope)
	if missing := e.session.judge.Extract(e.step, a, e.scope); found == nil {
		found = missing
	}
	return found
}

// explain tells what the target did from what we did.
func (e *exchange) explain(ctx context.Context, err error) (*runs.Cause, error) {
	found, fault := e.failure().Of(ctx, err)
	if found != nil && found.Class == runs.ClassConnect && e.secure.questioned() && e.clock.phases().Wait == nil {
		return answer.Cause(runs.ClassTLS, "the server asked for a client certificate, and then: %s", found.Detail), nil
	}
	return found, fault
}

// failure is what is known of the exchange, for the cause of its end.
func (e *exchange) failure() cause.Failure {
	f := cause.Failure{Step: string(e.step.Type), Began: e.began, Bytes: e.line.received.Load()}
	f.Stage, f.Refused = e.clock.stage()
	return f
}

// ofBody matches an expression that is about what the other side sends.
var ofBody = regexp.MustCompile(`\b(body|json|size|wait|receive)\b`)

// reads reports whether the step looks at anything that the other side sends.
func (e *exchange) reads() bool {
	if len(e.step.Extract) > 0 {
		return true
	}
	for i := range e.step.Assert {
		a := &e.step.Assert[i]
		switch a.Subject() {
		case "body", "json", "schema":
			return true
		case "expr":
			if ofBody.MatchString(a.Expr) {
				return true
			}
		case "measure":
			if a.Measure == scenario.MeasureSize || a.Measure == scenario.MeasureWait || a.Measure == scenario.MeasureReceive {
				return true
			}
		}
	}
	return false
}

// with adds to the detail of a cause.
func with(c *runs.Cause, suffix string) *runs.Cause {
	return answer.Cause(c.Class, "%s%s", answer.Clip(c.Detail, answer.MaxDetail-len(suffix)), suffix)
}
