package httprunner

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// FuzzCookies: whatever a server sets, what the jar tells of itself is what it sends, and survives being told.
func FuzzCookies(f *testing.F) {
	f.Add("sid=1; Path=/a; Secure; HttpOnly", "http://shop.example.com/a/b?c=d")
	f.Add("sid=1; Domain=.example.com\nsid=2\nsid=; Max-Age=0", "https://shop.example.com/")
	f.Add("sid=1; Domain=com", "https://example.com./a/")
	f.Add("a=b; Domain=127.0.0.1; Expires=Thu, 01 Jan 2099 00:00:00 GMT; SameSite=Strict", "http://127.0.0.1:80")
	f.Add("a=b; Domain=other.example\na=\"b c\"", "http://[::1]:80/x")
	f.Add("a=b; Domain=.; Path=x; Max-Age=99999999999", "http://example.com")
	host := regexp.MustCompile(`^(([0-9A-Za-z-]+\.)*[0-9A-Za-z-]+\.?|[0-9a-f:]+)$`) // others are not connected to
	f.Fuzz(func(t *testing.T, lines, text string) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !host.MatchString(u.Hostname()) {
			return
		}
		j, err := newJar()
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Set-Cookie": strings.Split(lines, "\n")}
		j.SetCookies(u, (&http.Response{Header: header}).Cookies())
		told := j.all()
		if sent := j.Cookies(u); len(sent) > len(told) {
			t.Errorf("got %v told, want all of those sent: %v", told, sent)
		}
		j.replace(told)
		again := j.all()
		if len(again) != len(told) {
			t.Fatalf("got %v after %v, want the same", again, told)
		}
		for i := range told {
			if a, b := again[i], told[i]; a.Name != b.Name || a.Value != b.Value || a.Domain != b.Domain || a.Path != b.Path || a.Secure != b.Secure || !a.Expires.Equal(b.Expires) {
				t.Errorf("got %v, want %v", a, b)
			}
		}
	})
}

// FuzzMultipart: whatever stands in the parts, they arrive as they are, and no text breaks out of its place.
func FuzzMultipart(f *testing.F) {
	f.Add("name", "file.txt", "text/plain", "content")
	f.Add("a\"b", "x\r\nX-Injected: 1\r\n\r\nbody", "text/html\r\nX-Injected: 1", "--boundary--")
	f.Add("ä\\", "..\\..\\\"; name=\"other", "", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, filename, kind, value string) {
		if strings.Contains(kind+value, "${") {
			return // a template
		}
		scope := vars.NewScope(map[string]string{"file": filename}, nil)
		p := &plan{step: &scenario.Step{Multipart: []scenario.Part{{Name: name, Value: value, Filename: "${file}", ContentType: kind}}}, scope: scope, header: http.Header{}}
		p.setBody()
		if p.err != nil {
			t.Fatal(p.err)
		}
		_, params, err := mime.ParseMediaType(p.header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		r := multipart.NewReader(bytes.NewReader(p.body), params["boundary"])
		part, err := r.NextPart()
		if err != nil {
			return // of bytes that no header may have, a server does not take
		}
		for header := range part.Header {
			if header != "Content-Disposition" && header != "Content-Type" {
				t.Errorf("got header %q, want none but its own", header)
			}
		}
		if got, err := io.ReadAll(part); err != nil || string(got) != value {
			t.Errorf("got %q %v, want %q", got, err, value)
		}
		if _, err := r.NextPart(); err != io.EOF {
			t.Errorf("got %v, want no further part", err)
		}
	})
}
