// Package hartest holds archives against the HAR 1.2 specification (http://www.softwareishard.com/blog/har-12-spec/). It is for tests
// only.
package hartest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// kind is what a value must be: string, number, integer, boolean, time, address, url, or the name of an object of the specification;
// with [] before it, a list of those; with ? before it, it may be absent.
type kind string

// objects are the specification's, but for those that we never write: their presence is an error.
var objects = map[string]map[string]kind{
	"har":         {"log": "log"},
	"log":         {"version": "string", "creator": "creator", "browser": "?creator", "pages": "?[]page", "entries": "[]entry", "comment": "?string"},
	"creator":     {"name": "string", "version": "string", "comment": "?string"},
	"page":        {"startedDateTime": "time", "id": "string", "title": "string", "pageTimings": "pageTimings", "comment": "?string"},
	"pageTimings": {"onContentLoad": "?number", "onLoad": "?number", "comment": "?string"},
	"entry": {
		"pageref": "?string", "startedDateTime": "time", "time": "number", "request": "request", "response": "response", "cache": "cache",
		"timings": "timings", "serverIPAddress": "?address", "connection": "?string", "comment": "?string",
	},
	"request": {
		"method": "string", "url": "url", "httpVersion": "string", "cookies": "[]cookie", "headers": "[]pair", "queryString": "[]pair",
		"headersSize": "integer", "bodySize": "integer", "comment": "?string",
	},
	"response": {
		"status": "integer", "statusText": "string", "httpVersion": "string", "cookies": "[]cookie", "headers": "[]pair",
		"content": "content", "redirectURL": "string", "headersSize": "integer", "bodySize": "integer", "comment": "?string",
	},
	"cookie": {
		"name": "string", "value": "string", "path": "?string", "domain": "?string", "expires": "?time", "httpOnly": "?boolean",
		"secure": "?boolean", "comment": "?string",
	},
	"pair":    {"name": "string", "value": "string", "comment": "?string"},
	"content": {"size": "integer", "compression": "?integer", "mimeType": "string", "text": "?string", "encoding": "?string", "comment": "?string"},
	"cache":   {"comment": "?string"},
	"timings": {
		"blocked": "?number", "dns": "?number", "connect": "?number", "send": "number", "wait": "number", "receive": "number", "ssl": "?number",
		"comment": "?string",
	},
}

// Archive is what Check has found sound, as far as tests look at it.
type Archive struct {
	Pages   []Page  `json:"pages"`
	Entries []Entry `json:"entries"`
	Comment string  `json:"comment"`
}

// Page is one page of an archive.
type Page struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Entry is one request of an archive.
type Entry struct {
	Page     string             `json:"pageref"`
	Started  time.Time          `json:"startedDateTime"`
	Time     float64            `json:"time"`
	Timings  map[string]float64 `json:"timings"`
	ServerIP string             `json:"serverIPAddress"`
	Step     string             `json:"_step"`
	Error    string             `json:"_error"`
	Request  struct {
		Method  string `json:"method"`
		URL     string `json:"url"`
		Headers []Pair `json:"headers"`
		Cookies []Pair `json:"cookies"`
		Query   []Pair `json:"queryString"`
	} `json:"request"`
	Response struct {
		Status   int    `json:"status"`
		Redirect string `json:"redirectURL"`
		Headers  []Pair `json:"headers"`
		Cookies  []Pair `json:"cookies"`
		Content  struct {
			Size int64  `json:"size"`
			MIME string `json:"mimeType"`
		} `json:"content"`
	} `json:"response"`
}

// Pair is a header, a cookie or a query parameter.
type Pair struct{ Name, Value string }

// Check reports everything in which the body is not a HAR 1.2 archive, and returns what it holds.
func Check(t *testing.T, body []byte) Archive {
	t.Helper()
	var raw any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil || decoder.More() {
		t.Fatalf("har: got %.200q (%v), want one JSON value", body, err)
	}
	for _, problem := range problems("har", raw, "har") {
		t.Error(problem)
	}
	var out struct{ Log Archive }
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	for _, problem := range out.Log.problems() {
		t.Error(problem)
	}
	return out.Log
}

// problems holds what the entries say against one another.
func (a *Archive) problems() (out []string) {
	var pages []string
	for _, p := range a.Pages {
		if slices.Contains(pages, p.ID) {
			out = append(out, fmt.Sprintf("page %s: got its id twice", p.ID))
		}
		pages = append(pages, p.ID)
	}
	for i, e := range a.Entries {
		if e.Page != "" && !slices.Contains(pages, e.Page) {
			out = append(out, fmt.Sprintf("entry %d: got page %s, want one that there is", i, e.Page))
		}
		sum := 0.0
		for name, ms := range e.Timings {
			if ms < 0 && (ms != -1 || name == "send" || name == "wait" || name == "receive") {
				out = append(out, fmt.Sprintf("entry %d: got %s %v ms", i, name, ms))
			}
			if name != "ssl" {
				sum += max(ms, 0)
			}
		}
		if math.Abs(sum-e.Time) > 0.001 {
			out = append(out, fmt.Sprintf("entry %d: got time %v ms, want the sum of its phases, %v ms", i, e.Time, sum))
		}
		if e.Timings["ssl"] > e.Timings["connect"] {
			out = append(out, fmt.Sprintf("entry %d: got ssl %v ms, want at most connect, %v ms", i, e.Timings["ssl"], e.Timings["connect"]))
		}
		if i > 0 && e.Started.Before(a.Entries[i-1].Started) {
			out = append(out, fmt.Sprintf("entry %d: got an earlier start than the one before, want them in order", i))
		}
	}
	return out
}

func problems(at string, value any, want kind) []string {
	if items, ok := strings.CutPrefix(string(want), "[]"); ok {
		list, ok := value.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s: got %T, want a list", at, value)}
		}
		var out []string
		for i, item := range list {
			out = append(out, problems(fmt.Sprintf("%s[%d]", at, i), item, kind(items))...)
		}
		return out
	}
	keys, ok := objects[string(want)]
	if !ok {
		return plain(at, value, want)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: got %T, want an object", at, value)}
	}
	var out []string
	for key := range object {
		if _, known := keys[key]; !known && !strings.HasPrefix(key, "_") {
			out = append(out, fmt.Sprintf("%s: got key %s, want one of the specification's, or a custom one with _ before it", at, key))
		}
	}
	for key, of := range keys {
		bare, optional := strings.CutPrefix(string(of), "?")
		inner, there := object[key]
		switch {
		case there:
			out = append(out, problems(at+"."+key, inner, kind(bare))...)
		case !optional:
			out = append(out, fmt.Sprintf("%s: got no %s", at, key))
		}
	}
	return out
}

// timestamp is ISO 8601 with a zone, as the specification has it.
var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

func plain(at string, value any, want kind) []string {
	ok := false
	switch v := value.(type) {
	case bool:
		ok = want == "boolean"
	case json.Number:
		_, err := v.Int64()
		ok = want == "number" || want == "integer" && err == nil
	case string:
		switch want {
		case "string":
			ok = true
		case "time":
			ok = timestamp.MatchString(v)
		case "address":
			_, err := netip.ParseAddr(v)
			ok = err == nil
		case "url":
			u, err := url.Parse(v)
			ok = err == nil && u.Scheme != "" && u.User == nil
		}
	}
	if ok {
		return nil
	}
	return []string{fmt.Sprintf("%s: got %v, want %s", at, value, want)}
}
