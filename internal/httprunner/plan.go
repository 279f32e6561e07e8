package httprunner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/theory/jsonpath"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// plan is a step with its templates expanded: all that its requests need. It is made before the first request, so that a step
// that cannot be carried out as written sends nothing.
type plan struct {
	step          *scenario.Step
	scope         *vars.Scope
	method        string
	url           string
	header        http.Header // Host included
	body          []byte
	secretHeaders []string // names of the headers that hold a secret
	paths         map[string]*jsonpath.Path
	err           error // the first thing wrong with the step
}

// newPlan expands the step. The error is without the values of variables.
func newPlan(step *scenario.Step, scope *vars.Scope, userAgent string, paths *jsonpath.Parser) (*plan, error) {
	p := &plan{
		step:   step,
		scope:  scope,
		method: cmp.Or(step.Method, http.MethodGet),
		header: http.Header{"User-Agent": {userAgent}, "Accept-Encoding": {"gzip"}},
	}
	p.setURL()
	p.setBody()
	for name, template := range step.Headers {
		p.header.Set(name, p.expand("header "+name, template))
		if strings.Contains(template, "${secrets.") {
			p.secretHeaders = append(p.secretHeaders, name)
		}
	}
	for i := range step.Assert {
		a := &step.Assert[i]
		p.parse(paths, a.JSON)
		p.expand("assert body", a.Body) // for the error: a missing variable does not appear while polling
		p.expand("assert "+a.Subject(), a.Contains)
		if a.Equals != nil {
			p.expand("assert "+a.Subject(), string(*a.Equals))
		}
	}
	for _, x := range step.Extract {
		p.parse(paths, x.JSON)
	}
	return p, p.err
}

// check keeps the first error and says what it is about.
func (p *plan) check(what string, err error) {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (p *plan) expand(what, template string) string {
	text, err := p.scope.Expand(template)
	p.check(what, err)
	return text
}

func (p *plan) setURL() {
	p.url = p.expand("url", p.step.URL)
	u, err := url.Parse(p.url)
	if err != nil {
		p.check("url", bareError(err))
	} else if u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		p.check("url", fmt.Errorf("got %s, want an absolute http or https URL", clip(bareURL(u), maxValue)))
	} else {
		p.check("url", p.secure(u))
	}
}

// secure checks that a URL has the TLS that the step's protocol needs.
func (p *plan) secure(u *url.URL) error {
	if u.Scheme == "https" || !p.step.Protocol.Secure() {
		return nil
	}
	return fmt.Errorf("protocol: got %s for an http URL, want https", p.step.Protocol)
}

func (p *plan) setBody() {
	switch {
	case p.step.Body != "":
		p.body = []byte(p.expand("body", p.step.Body))
	case p.step.JSON != nil:
		value, err := p.scope.ExpandJSON(p.step.JSON)
		p.check("json", err)
		p.body, err = json.Marshal(value)
		p.check("json", err)
		p.header.Set("Content-Type", "application/json")
	case p.step.Form != nil:
		form := url.Values{}
		for name, template := range p.step.Form {
			form.Set(name, p.expand("form "+name, template))
		}
		p.body = []byte(form.Encode())
		p.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

// parse parses a JSONPath once for all attempts.
func (p *plan) parse(parser *jsonpath.Parser, text string) {
	if text == "" {
		return
	}
	path, err := parser.Parse(text)
	p.check("json "+clip(text, maxValue), err)
	if p.paths == nil {
		p.paths = map[string]*jsonpath.Path{}
	}
	p.paths[text] = path
}

// request makes a new request. The redirects that follow from it inherit its header, traceparent included.
func (p *plan) request(ctx context.Context, traceparent string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, p.method, p.url, bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	req.Header = p.header.Clone()
	if req.Header.Get("Traceparent") == "" {
		req.Header.Set("Traceparent", traceparent)
	}
	if host := req.Header.Get("Host"); host != "" { // net/http takes it from here only
		req.Host = host
		req.Header.Del("Host")
	}
	return req, nil
}

// redirect is the policy of http.Client.CheckRedirect. net/http itself keeps Authorization and Cookie from other hosts; what
// the scenario calls a secret is kept from them as well, whatever header it stands in.
func (p *plan) redirect(req *http.Request, via []*http.Request) error {
	if p.step.FollowRedirects != nil && !*p.step.FollowRedirects {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errRedirects
	}
	elsewhere := func(r *http.Request) bool { return r.URL.Host != via[0].URL.Host }
	if elsewhere(req) || slices.ContainsFunc(via, elsewhere) {
		for _, name := range p.secretHeaders {
			req.Header.Del(name)
		}
	}
	return nil
}

// bareURL is a URL without what may hold a secret: user, query and fragment.
func bareURL(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return clip(bare.String(), maxURL)
}

// bareError is the cause of an error of net/url or net/http that repeats the whole URL.
func bareError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
