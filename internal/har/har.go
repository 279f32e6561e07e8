// Package har writes what a run requested as an HTTP Archive, HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/), which the
// network panels of browsers and many other tools open. Nothing secret is in it: see Encode. It is pure.
package har

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/vars"
)

// Options say how an archive is written.
type Options struct {
	Version string              // of the program, for the archive's creator
	Redact  func(string) string // removes the run's own secrets from a text; nil = it has none
	Limit   int                 // the archive's size in bytes, at the most; 0 = any
}

// The bounds of what is written of one request.
const (
	maxText    = 2048 // bytes of one URL or of one header's value: well under where executors cut, so that no half of a secret is at the end
	maxTitle   = 300
	maxHeaders = 100
)

// Encode writes the requests of a run. Requests with an Exchange have their headers. Cookies, authorization and whatever looks like a
// token are masked, in headers and in queries; users and passwords are taken out of URLs; the run's own secrets are redacted everywhere.
// Where the archive would be over the limit, it loses headers first and then the requests that came first: truncated says so.
func Encode(r *runs.Result, opts Options) (body []byte, truncated bool, err error) {
	w := writer{result: r, opts: opts, known: map[string]string{}}
	if w.opts.Redact == nil {
		w.opts.Redact = func(text string) string { return text }
	}
	log := w.log()
	whole := len(log.Entries)
	for _, shorten := range []func(*archive){func(*archive) {}, dropHeaders, w.dropEntries} {
		shorten(&log)
		if left := whole - len(log.Entries); left > 0 {
			log.Comment = fmt.Sprintf("%s; the first %d of %d requests were left out", log.Comment, left, whole)
		}
		body, err = json.Marshal(struct {
			Log archive `json:"log"`
		}{log})
		if err != nil {
			return nil, false, fmt.Errorf("encode har of run %s: %w", r.RunID, err)
		}
		if opts.Limit <= 0 || len(body) <= opts.Limit {
			return body, truncated, nil
		}
		truncated = true
	}
	return nil, false, fmt.Errorf("encode har of run %s: got %d bytes without any request, want at most %d", r.RunID, len(body), opts.Limit)
}

// dropHeaders leaves headers only with what failed and with documents.
func dropHeaders(log *archive) {
	log.Comment += "; too large: only documents and what failed have their headers"
	for i := range log.Entries {
		e := &log.Entries[i]
		if e.Error == "" && e.Response.Status < 400 && e.ResourceType != "document" {
			e.Request.Headers, e.Response.Headers = []pair{}, []pair{}
			e.Request.Cookies, e.Response.Cookies = []cookie{}, []cookie{}
		}
	}
}

// dropEntries drops the first requests: what a run came to is at its end.
func (w *writer) dropEntries(log *archive) {
	room := w.opts.Limit - 1000 // for what is neither a request nor a page
	if pages, err := json.Marshal(log.Pages); err == nil {
		room -= len(pages)
	}
	from := len(log.Entries)
	for ; from > 0; from-- {
		body, err := json.Marshal(log.Entries[from-1])
		if room -= len(body) + 1; err != nil || room < 0 {
			break
		}
	}
	log.Entries = log.Entries[from:]
}

// writer turns one result into an archive.
type writer struct {
	result *runs.Result
	opts   Options
	known  map[string]string // what became of the texts so far: most headers are those of many requests
}

// clean is a text that may be seen.
func (w *writer) clean(text string) string {
	if text == "" {
		return ""
	}
	clean, ok := w.known[text]
	if !ok {
		clean = clip(maskURLs(w.opts.Redact(text)), maxText)
		w.known[text] = clean
	}
	return clean
}

// clip shortens a text, and cuts nothing in two: neither a character nor a byte that is percent-encoded, without which it would be no URL.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	if at := strings.LastIndexByte(text[:limit], '%'); at >= limit-2 {
		limit = at
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}

func (w *writer) log() archive {
	r := w.result
	log := archive{
		Version: "1.2",
		Creator: creator{Name: "lastmile", Version: w.opts.Version},
		Pages:   make([]page, 0, len(r.Navigations)),
		Entries: make([]entry, 0, len(r.Requests)),
		Comment: fmt.Sprintf("run %s: %s in %s over %s", r.RunID, r.State, r.Region, r.Network),
	}
	for i := range r.Navigations {
		log.Pages = append(log.Pages, w.page(i))
	}
	for i := range r.Requests {
		log.Entries = append(log.Entries, w.entry(&r.Requests[i]))
	}
	slices.SortStableFunc(log.Entries, func(a, b entry) int { return a.Started.Compare(b.Started) })
	return log
}

// pageID names the navigation at a place of the result.
func pageID(i int) string { return fmt.Sprintf("page_%d", i+1) }

func (w *writer) page(i int) page {
	n := &w.result.Navigations[i]
	v := n.Vitals
	return page{
		ID: pageID(i), Started: w.at(n.StartedAt, n.StartedMS), Title: clip(w.clean(n.URL), maxTitle), Step: w.clean(n.Step), Soft: n.Soft,
		Timings: pageTimings{OnContentLoad: -1, OnLoad: -1, TTFB: v.TTFB, FCP: v.FCP, LCP: v.LCP, CLS: v.CLS, INP: v.INP},
	}
}

// at is when something was: the instant where it is known, else so long after the run's start.
func (w *writer) at(instant time.Time, sinceStart float64) time.Time {
	if instant.IsZero() {
		instant = w.result.StartedAt.Add(time.Duration(sinceStart * float64(time.Millisecond)))
	}
	return instant.UTC().Round(time.Microsecond)
}

// pageOf names the navigation that a request belongs to: the last one that had begun when it did; "" for http steps.
func (w *writer) pageOf(q *runs.Request, at time.Time) string {
	if q.From == "" || len(w.result.Navigations) == 0 {
		return ""
	}
	of := 0
	for i := range w.result.Navigations {
		if n := &w.result.Navigations[i]; !w.at(n.StartedAt, n.StartedMS).After(at) {
			of = i
		}
	}
	return pageID(of)
}

func (w *writer) entry(q *runs.Request) entry {
	x := q.Exchange
	if x == nil {
		x = &runs.Exchange{URL: q.URL, BodyBytes: -1}
	}
	at := w.at(q.StartedAt, q.StartedMS)
	e := entry{
		Page: w.pageOf(q, at), Started: at, Request: w.request(q, x), Response: w.response(q, x),
		Timings: timingsOf(&q.Phases), ServerIP: addressOf(q.RemoteAddr),

		Error: w.clean(q.Error), FromCache: q.BrowserCache, Priority: x.Priority, ResourceType: q.Type,
		Step: w.clean(q.Step), From: q.From, ServedRegion: w.clean(q.ServedRegion),
		CDN: cdn{State: string(q.Cache.State), Tier: string(q.Cache.Tier), Vendor: string(q.Cache.Vendor)},
	}
	if x.Initiator != "" {
		e.Initiator = &initiator{Type: "other", URL: w.clean(x.Initiator)}
	}
	e.Time = e.Timings.total()
	return e
}

func (w *writer) request(q *runs.Request, x *runs.Exchange) request {
	address := w.clean(x.URL)
	out := request{
		Method: w.clean(q.Method), URL: address, Version: version(q.Protocol), Cookies: []cookie{}, Headers: w.headers(x.RequestHeaders),
		Query: []pair{}, HeadersSize: -1, BodySize: x.RequestBytes,
	}
	for _, c := range (&http.Request{Header: x.RequestHeaders}).Cookies() {
		out.Cookies = append(out.Cookies, cookie{Name: w.clean(c.Name), Value: vars.Redacted})
	}
	_, query, _ := strings.Cut(address, "?")
	query, _, _ = strings.Cut(query, "#")
	for one := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(one, "="); one != "" {
			out.Query = append(out.Query, pair{w.clean(unescape(name)), w.clean(unescape(value))})
		}
	}
	return out
}

// unescape decodes a piece of a query; one that cannot be decoded stays as it is.
func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

func (w *writer) response(q *runs.Request, x *runs.Exchange) response {
	out := response{
		Status: q.Status, StatusText: w.clean(x.StatusText), Version: version(q.Protocol), Cookies: []cookie{}, Headers: w.headers(x.ResponseHeaders),
		Content:     content{Size: max(x.BodyBytes, 0), MIME: w.clean(x.MIME)},
		HeadersSize: -1, BodySize: -1, TransferSize: q.Bytes,
	}
	if out.Content.MIME == "" {
		out.Content.MIME = "x-unknown"
	}
	if q.BrowserCache != "" {
		out.BodySize, out.TransferSize = 0, 0
	}
	if q.Status/100 == 3 {
		if to := x.ResponseHeaders.Get("Location"); to != "" {
			out.RedirectURL = w.clean(to)
		} else {
			out.RedirectURL = w.clean(q.RedirectedTo)
		}
	}
	for _, line := range x.ResponseHeaders.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil {
			out.Cookies = append(out.Cookies, w.cookie(c))
		}
	}
	return out
}

func (w *writer) cookie(c *http.Cookie) cookie {
	out := cookie{
		Name: w.clean(c.Name), Value: vars.Redacted, Path: w.clean(c.Path), Domain: w.clean(c.Domain), HTTPOnly: c.HttpOnly, Secure: c.Secure,
	}
	if !c.Expires.IsZero() {
		out.Expires = c.Expires.UTC().Format(time.RFC3339)
	}
	return out
}

// headers lists headers by name, with nothing in them that must not be seen.
func (w *writer) headers(from http.Header) []pair {
	out := []pair{}
	names := make([]string, 0, len(from))
	for name := range from {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range from[name] {
			if len(out) == maxHeaders {
				return out
			}
			if value = w.clean(value); secretHeader(name) {
				value = vars.Redacted
			}
			out = append(out, pair{w.clean(name), value})
		}
	}
	return out
}

// version is a protocol as an archive names it.
func version(protocol string) string {
	switch {
	case protocol == "":
		return "unknown"
	case strings.HasPrefix(protocol, "http/"):
		return strings.ToUpper(protocol)
	}
	return protocol
}

// addressOf is the address of host:port; "" where it is none.
func addressOf(remote string) string {
	if at, err := netip.ParseAddrPort(remote); err == nil {
		return at.Addr().WithZone("").String()
	}
	if addr, err := netip.ParseAddr(strings.Trim(remote, "[]")); err == nil {
		return addr.WithZone("").String()
	}
	return ""
}

// timingsOf are a request's phases. The three that must be there are 0 where they did not happen.
func timingsOf(p *runs.Phases) timings {
	return timings{
		Blocked: phase(p.Blocked, -1), DNS: phase(p.DNS, -1), Connect: phase(p.Connect, -1), SSL: phase(p.TLS, -1),
		Send: phase(p.Send, 0), Wait: phase(p.Wait, 0), Receive: phase(p.Receive, 0),
	}
}

func phase(ms *float64, absent float64) float64 {
	if ms == nil || *ms < 0 || math.IsNaN(*ms) || math.IsInf(*ms, 0) {
		return absent
	}
	return math.Round(*ms*1000) / 1000
}

// total is the time of an entry: ssl is a part of connect.
func (t timings) total() float64 {
	sum := 0.0
	for _, ms := range []float64{t.Blocked, t.DNS, t.Connect, t.Send, t.Wait, t.Receive} {
		sum += max(ms, 0)
	}
	return math.Round(sum*1000) / 1000
}
