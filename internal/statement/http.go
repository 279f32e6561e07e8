package statement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/slo"
)

// Path is where a coordinator answers with statements: GET with the parameters scenario, and optionally region, network, since (such as 30m,
// 24h, 3d), fold (true or false) and limit.
const Path = "/api/v1/ledger"

// StandbyError says that another coordinator's books are the ones that count.
type StandbyError struct {
	Leader string // who leads; "" = nobody knows
}

// Error implements error.
func (e *StandbyError) Error() string {
	if e.Leader == "" {
		return "this coordinator stands by, and does not know of one that leads"
	}
	return "this coordinator stands by: ask " + e.Leader
}

// problem is an answer that is no statement.
type problem struct {
	Error  string `json:"error"`
	Got    string `json:"got,omitempty"`
	Want   string `json:"want,omitempty"`
	Leader string `json:"leader,omitempty"`
}

// badQuery is a parameter that cannot be used.
type badQuery struct{ name, got, want string }

func (e *badQuery) Error() string {
	return fmt.Sprintf("%s: got %.100q, want %s", e.name, e.got, e.want)
}

// Handler answers GET Path from the source that open returns, one statement at a time. Where open fails the answer is 503: with who leads
// where the error is a *StandbyError.
func Handler(open func(context.Context) (Source, error)) http.Handler {
	turn := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := parse(r.URL.Query())
		if err != nil {
			refuse(w, err)
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-r.Context().Done():
			return
		}
		source, err := open(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		s, err := Draw(source, q)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, s)
	})
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	var bad *badQuery
	var unknown *UnknownError
	var standby *StandbyError
	switch {
	case errors.As(err, &bad):
		answer(w, http.StatusBadRequest, problem{Error: err.Error(), Got: bad.got, Want: bad.want})
	case errors.As(err, &unknown):
		answer(w, http.StatusNotFound, problem{Error: err.Error(), Got: unknown.Got, Want: unknown.Want()})
	case errors.As(err, &standby):
		answer(w, http.StatusServiceUnavailable, problem{Error: err.Error(), Leader: standby.Leader})
	default:
		answer(w, http.StatusServiceUnavailable, problem{Error: err.Error()})
	}
}

// answer writes JSON. The reader may have gone; nobody is left to be told.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// parameters are what a query may have.
func parameters() []string {
	return []string{"scenario", "region", "network", "since", "fold", "limit"}
}

// parse reads a query.
func parse(values url.Values) (Query, error) {
	q := Query{Since: DefaultSince, Limit: DefaultLimit}
	for name, given := range values {
		if !slices.Contains(parameters(), name) {
			return q, &badQuery{"parameter", clip(name), "one of " + strings.Join(parameters(), ", ")}
		}
		if len(given) != 1 {
			return q, &badQuery{name, clip(strings.Join(given, ", ")), "one value"}
		}
	}
	for name, into := range map[string]*string{"scenario": &q.Scenario, "region": &q.Region, "network": &q.Network} {
		*into = values.Get(name)
		if *into == "" && name != "scenario" {
			continue
		}
		if !scenario.ValidName(*into) {
			return q, &badQuery{name, clip(*into), "a name"}
		}
	}
	if text := values.Get("since"); text != "" {
		since, err := slo.ParseWindow(text)
		if err != nil || since > Longest {
			return q, &badQuery{"since", clip(text), "1m to " + Longest.String() + ", such as 30m, 24h, 3d: single slots are kept that long"}
		}
		q.Since = since
	}
	if text := values.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > MaxLimit {
			return q, &badQuery{"limit", clip(text), "1 to " + strconv.Itoa(MaxLimit)}
		}
		q.Limit = limit
	}
	if text := values.Get("fold"); text != "" {
		if text != "true" && text != "false" {
			return q, &badQuery{"fold", clip(text), "true or false"}
		}
		q.Fold = text == "true"
	}
	return q, nil
}

// clip bounds what is quoted of a request.
func clip(text string) string { return text[:min(len(text), 100)] }

// values is the query as a request has it.
func (q Query) values() url.Values {
	v := url.Values{"scenario": {q.Scenario}, "since": {q.Since.String()}, "limit": {strconv.Itoa(q.Limit)}, "fold": {strconv.FormatBool(q.Fold)}}
	for name, value := range map[string]string{"region": q.Region, "network": q.Network} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// RefusedError is a coordinator's answer that it cannot draw the statement.
type RefusedError struct {
	Status int    // of HTTP
	Text   string // what it said
}

// Error implements error.
func (e *RefusedError) Error() string { return e.Text }

// maxAnswer bounds what is read of an answer, in bytes: MaxLimit entries fit well.
const maxAnswer = 64 << 20

// Ask asks the coordinator at an address such as http://127.0.0.1:9464, or 127.0.0.1:9464. The error is a *RefusedError where it answered that it cannot.
func Ask(ctx context.Context, client *http.Client, address string, q Query) (Statement, error) {
	var s Statement
	whole := address
	if !strings.Contains(address, "://") {
		whole = "http://" + address
	}
	base, err := url.Parse(whole)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return s, fmt.Errorf("ask coordinator: got address %.200q, want one such as http://127.0.0.1:9464", address)
	}
	at := base.JoinPath(Path)
	at.RawQuery = q.values().Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return s, fmt.Errorf("ask coordinator: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return s, fmt.Errorf("ask coordinator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return s, fmt.Errorf("read answer of %s: %w", base.Host, err)
	case len(body) > maxAnswer:
		return s, fmt.Errorf("read answer of %s: got more than %d bytes, want fewer", base.Host, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return s, refusal(base.Host, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("read answer of %s: got %.60q, want a statement: %w", base.Host, body, err)
	}
	if s.Scenario != q.Scenario {
		return s, fmt.Errorf("read answer of %s: got scenario %.100q, want %q", base.Host, s.Scenario, q.Scenario)
	}
	return s, nil
}

// refusal is an answer that is no statement.
func refusal(host string, status int, body []byte) error {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Error == "" {
		p.Error = fmt.Sprintf("got status %d from %s, want a statement: is a coordinator of this version there?", status, host)
	}
	return &RefusedError{Status: status, Text: p.Error}
}
