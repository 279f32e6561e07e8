package httprunner

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzDecode(f *testing.F) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(bytes.Repeat([]byte("paid"), 2000))
	_ = w.Close()
	f.Add("gzip", zipped.Bytes())
	f.Add("gzip", append(zipped.Bytes(), zipped.Bytes()...))
	f.Add("GZip ", zipped.Bytes()[:20])
	f.Add("br", []byte("abc"))
	f.Add("", []byte("abc"))
	b := bodies{limit: 5000} // kept from input to input, as a session does
	f.Fuzz(func(t *testing.T, coding string, wire []byte) {
		got, err := b.decode(coding, wire)
		if err != nil && got != nil {
			t.Errorf("got a body and error %v, want one of them", err)
		}
		if len(got) > max(int(b.limit), len(wire)) {
			t.Errorf("got %d bytes, want at most the limit", len(got))
		}
		again, errAgain := b.decode(coding, wire)
		if string(got) != string(again) || (err == nil) != (errAgain == nil) {
			t.Errorf("got %q %v and then %q %v, want the same twice", got, err, again, errAgain)
		}
	})
}

func FuzzJSONPath(f *testing.F) {
	f.Add("$.state", `{"state": "paid"}`)
	f.Add("$..[?@.price > 3].name", `{"items": [{"name": "tea", "price": 3.5}]}`)
	f.Add("$[-1:0:-1]", `[1, 2, 3e400, -0]`)
	f.Add(`$[?match(@.a, "a.*")]`, `[{"a": "a\ud800"}]`)
	f.Add(`$[?length(@) == count(@.*)]`, "[\"\xff\", [], {}]")
	f.Add(`$[?match(@.name, "a.*") || search(@.name, $.none)]`, `[{}, {"name": 1}, {"name": "abc"}]`)
	f.Add("$", strings.Repeat("[", 300))
	f.Add(`$["a"]`, `{"a": "\"[[[{{{\\"}`)
	parser := newPathParser()
	f.Fuzz(func(t *testing.T, query, body string) {
		if len(query) > 200 || len(body) > 2000 {
			return // the query is the author's own; its cost is not what is tested
		}
		document, err := parseJSON([]byte(body))
		if valid := json.Valid([]byte(body)); valid != (err == nil) && nesting([]byte(body)) <= maxDepth {
			t.Errorf("got error %v for a body that is json: %v", err, valid)
		}
		if err != nil {
			return
		}
		path, err := parser.Parse(query)
		if err != nil {
			return
		}
		got, found, err := selectFirst(path, document)
		if err != nil {
			t.Errorf("got %v, want an answer on any body", err)
		}
		if !found && got != "" {
			t.Errorf("got %q of nothing", got)
		}
	})
}

func FuzzDetail(f *testing.F) {
	f.Add(`net/http: malformed HTTP response "token"`, 20)
	f.Add("malformed MIME header: missing colon: \"Set-Cookie token\"", 300)
	f.Add("malformed MIME header line: Set-Cookie\ntoken", 10)
	f.Add(`open quote "token`, 5)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 4 || limit > 1000 {
			return
		}
		got := clip(scrub(errors.New(text)), limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.Contains(got, `"`) {
			t.Errorf("got %q, want at most %d bytes of text without quotations", got, limit)
		}
	})
}
