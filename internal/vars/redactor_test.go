package vars

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// One encoding in another, in any order: what a page logs of an answer that quotes a request.
func TestRedactNestedEncodings(t *testing.T) {
	inJSON := func(text string) string { body, _ := json.Marshal(text); return string(body) }
	coders := map[string]func(string) string{"json": inJSON, "go": strconv.Quote, "html": html.EscapeString, "query": url.QueryEscape, "path": url.PathEscape}
	for _, secret := range []string{`hun"t<e>r'2`, `50%41\x"y&lt;z`, "pä\\ssw ö+rd€😀", `C:\new\"table"`, "a\nb\tc\rdef"} {
		scope := scopeWith(secret)
		for a, outer := range coders {
			for b, middle := range coders {
				for c, inner := range coders {
					form := outer(middle(inner("x-" + secret + "-y")))
					got := scope.Redact(form)
					if !strings.Contains(got, Redacted) || len(got) > len(outer(middle(inner("x--y"))))+len(Redacted) {
						t.Errorf("redact %s of %s of %s of %q, %q: got %q", a, b, c, secret, form, got)
					}
				}
			}
		}
	}
}

func TestRedactOtherForms(t *testing.T) {
	scope := scopeWith("hünter2 \"x\"", "abcdef-123456", "123456-uvwxyz", "aaaaaaaa")
	for text, want := range map[string]string{
		"escape(): h%FCnter2%20%22x%22":                "escape(): <redacted>",
		"escape(): h%u00fcnter2%20%22x%22":             "escape(): <redacted>",
		`js: h\xfcnter2 \u{22}x\u{22}`:                 "js: <redacted>",
		"named: h&uuml;nter2&#32;&quot;x&quot;":        "named: <redacted>",
		"one into the other: abcdef-123456-uvwxyz":     "one into the other: <redacted>",
		"one after the other: abcdef-123456aaaaaaaa":   "one after the other: <redacted><redacted>",
		"longer by its own period: aaaaaaaaaaaaa, yes": "longer by its own period: <redacted>, yes",
		"cut: abcdef-12…, want more":                   "cut: <redacted>…, want more",
		"cut: abcdef-12...":                            "cut: <redacted>...",
		"cut in an escape: h%C3%BCnter2%20%2…":         "cut in an escape: <redacted>%2…",
		"not cut: abcdef":                              "not cut: abcdef",
		"100% of it & more; \\d+ \\u12 %u12 &nope; \\": "100% of it & more; \\d+ \\u12 %u12 &nope; \\",
	} {
		if got := scope.Redact(text); got != want {
			t.Errorf("redact %q: got %q, want %q", text, got, want)
		}
	}
}

// Executors bound what they keep of a text before anyone redacts it.
func TestRedactCutTexts(t *testing.T) {
	secret := strings.Repeat("s3cr3t-of-many-bytes.", 200)
	scope := scopeWith(secret)
	forms := map[string]string{"raw": secret, "base64": base64.StdEncoding.EncodeToString([]byte("u:" + secret))}
	for name, form := range forms {
		for _, limit := range []int{300, 2000, 4000} {
			text := ("https://shop/?x=" + form)[:limit]
			if got := scope.Redact(text); got != "https://shop/?x=<redacted>" {
				t.Errorf("redact the %s form cut at %d: got %q", name, limit, got)
			}
		}
	}
}

// A secret may be a whole file of keys: every run prepares to redact it, those that keep nothing too.
func TestRedactLongSecret(t *testing.T) {
	secret := strings.Repeat("-----BEGIN KEY-----\nMIIEvQ+/%&\\\"é", 10_000)
	began := time.Now()
	got := scopeWith(secret).Redact("x " + url.QueryEscape(secret) + " y")
	if got != "x <redacted> y" {
		t.Errorf("got %.100q, want the secret redacted", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s, want milliseconds", took)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("hunter2 &<>", "a %25 \\u00 &#x; text")
	f.Add("\xff\xfe%41\\", "%u%x\\x4\\U0001f600&am;&amp;…")
	f.Fuzz(func(t *testing.T, secret, text string) {
		if len(secret) < MinSecret || strings.Contains(Redacted, secret) {
			return
		}
		scope := scopeWith(secret)
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if got := scope.Redact(text + "\n" + form + "\n" + text); !strings.Contains(got, Redacted) {
				t.Errorf("redact %q of %q: got %q", form, text, got)
			}
		}
	})
}

func BenchmarkRedactURL(b *testing.B) {
	scope := scopeWith("hunter2-and-more", "correct horse battery")
	text := "https://shop.example.com/search?q=shoes&size=42&colour=dark%20blue&utm_source=news"
	b.ReportAllocs()
	for b.Loop() {
		scope.Redact(text)
	}
}

func BenchmarkScope(b *testing.B) { // each run has one
	for b.Loop() {
		scopeWith("hunter2-and-more", "correct horse battery")
	}
}
