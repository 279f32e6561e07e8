package httprunner

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"lastmile/internal/answer"
	"lastmile/internal/cause"
	"lastmile/internal/clientcert"
	"lastmile/internal/httprunner/coding"
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
	secretHeaders []string // names of the headers that hold a secret, or tell who asks
	identity      *clientcert.Identity
	err           error // the first thing wrong with the step
}

// newPlan expands the step. The error is without the values of variables.
func newPlan(step *scenario.Step, scope *vars.Scope, userAgent string, judge *answer.Judge) (*plan, error) {
	p := &plan{
		step:   step,
		scope:  scope,
		method: cmp.Or(step.Method, http.MethodGet),
		header: http.Header{"User-Agent": {userAgent}, "Accept-Encoding": {coding.Accepted}},
	}
	p.setURL()
	p.setBody()
	p.setAuth()
	p.setIdentity()
	for name, template := range step.Headers {
		value := p.expand("header "+name, template)
		p.header.Set(name, value)
		if tellsWho(name) || strings.Contains(template, "${secrets.") || scope.Redact(value) != value { // a variable may be one too
			p.secretHeaders = append(p.secretHeaders, name)
		}
	}
	if err := judge.Ready(step, scope); err != nil && p.err == nil {
		p.err = err
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
		p.check("url", cause.Bare(err))
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

// request makes a new request. The redirects that follow from it inherit its header.
func (p *plan) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, p.method, p.url, bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	req.Header = p.header.Clone()
	if host := req.Header.Get("Host"); host != "" { // net/http takes it from here only
		req.Host = host
		req.Header.Del("Host")
	}
	return req, nil
}

// tellsWho reports whether a header says who asks.
func tellsWho(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Proxy-Authorization", "Cookie":
		return true
	}
	return false
}

// redirect is the policy of http.Client.CheckRedirect. net/http itself keeps Authorization and Cookie from other names, but not from other
// ports, nor from names below the first, nor from the same one without TLS; here they stay with the step's first server, and so does what
// the scenario calls a secret, whatever header it stands in. Of the address that it came from another server is told the host alone, as
// browsers have it: net/http would tell it the query too.
func (p *plan) redirect(req *http.Request, via []*http.Request) error {
	if p.step.FollowRedirects != nil && !*p.step.FollowRedirects {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errRedirects
	}
	if left := func(r *http.Request) bool { return elsewhere(via[0], r) }; left(req) || slices.ContainsFunc(via, left) {
		for _, name := range p.secretHeaders {
			req.Header.Del(name)
		}
	}
	if last := via[len(via)-1]; p.header.Get("Referer") == "" && req.Header.Get("Referer") != "" && elsewhere(last, req) {
		req.Header.Set("Referer", last.URL.Scheme+"://"+last.URL.Host+"/")
	}
	return nil
}

// bareURL is a URL without what may hold a secret: user, query and fragment.
func bareURL(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return clip(bare.String(), maxURL)
}
