package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lastmile/internal/notify/wording"
	"lastmile/internal/vars"
)

// poster posts JSON to one sink. Its errors name neither the path of its address nor any secret, though the sink quote them.
type poster struct {
	what    string // the sink, for errors
	address *url.URL
	secrets []string
	client  *http.Client
}

func newPoster(what string, address *url.URL, secrets ...string) *poster {
	p := &poster{what: what, address: address, client: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second},
		// Another address would be told what was meant for this one, or, for most, a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if password, ok := address.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, s := range secrets {
		if s != "" {
			p.secrets = append(p.secrets, s, url.QueryEscape(s), url.PathEscape(s))
		}
	}
	return p
}

// maxAnswer is how much of an answer is read, quoted how much of it an error has, both in bytes.
const (
	maxAnswer = 64 << 10
	quoted    = 300
)

// post posts a body. Its error is a *Busy where the sink was not reached, or is overloaded; a *Refusal where it says that it is what was sent that is
// wrong. Anything else, wrong credentials for one, may be mended while it is tried again.
func (p *poster) post(ctx context.Context, body []byte, headers http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address.String(), bytes.NewReader(body))
	if err != nil {
		return p.fault("got an address that cannot be used")
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lastmile")
	resp, err := p.client.Do(req)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) { // which quotes the address
			err = wrapped.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("got no answer in time")
		}
		return &Busy{Err: p.fault(err.Error())}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil // whatever became of the rest of the answer
	}
	text := "got status " + strconv.Itoa(resp.StatusCode)
	if quote := strings.TrimSpace(string(answer)); err == nil && quote != "" {
		text += ": " + strconv.Quote(wording.Clip(p.redact(quote), quoted))
	}
	fault := p.fault(text + ", want 2xx")
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return &Refusal{fault}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return &Busy{Err: fault, After: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return fault
}

func (p *poster) fault(text string) error {
	return fmt.Errorf("post to %s: %s", p.what, p.redact(text))
}

// redact takes out what must not be seen. The whole comes before its parts.
func (p *poster) redact(text string) string {
	for _, s := range p.secrets {
		text = strings.ReplaceAll(text, s, vars.Redacted)
	}
	return text
}

// retryAfter reads the header of that name: seconds or a date; 0 where it has neither, or one that is over.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// encodeJSON writes a payload without escapes for HTML, which people would have to read.
func encodeJSON(payload any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(payload); err != nil {
		return nil, &Refusal{fmt.Errorf("encode payload: %w", err)}
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
