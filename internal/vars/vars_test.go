package vars

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// testScope has vars.base, vars.empty, secrets.PW and orderId.
func testScope() *Scope {
	scope := NewScope(map[string]string{
		"vars.base": "https://shop", "vars.empty": "", "region": "apac", "network": "3g", "run.id": "run-1", "expected.region": "us",
	}, map[string]Secret{"PW": "hunter2!"})
	scope.Set("orderId", "17")
	return scope
}

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"plain $ text {}":                   "plain $ text {}",
		"${vars.base}/":                     "https://shop/",
		"${orderId}${orderId}":              "1717",
		"[${vars.empty}]":                   "[]",
		"${region} ${network} ${run.id}":    "apac 3g run-1",
		"${expected.region}":                "us",
		"${secrets.PW}":                     "hunter2!",
		"$${vars.base}":                     "${vars.base}",
		"$$${vars.base}":                    "$${vars.base}",
		"a$${b}${orderId}$${":               "a${b}17${",
		"costs $5 and ${orderId}":           "costs $5 and 17",
		"${orderId}}":                       "17}",
		"ünïcode ${orderId}":                "ünïcode 17",
		"$":                                 "$",
		"{${orderId}}":                      "{17}",
		"${vars.base}?x=$${secrets.ABSENT}": "https://shop?x=${secrets.ABSENT}",
	} {
		if got, err := testScope().Expand(text); err != nil || got != want {
			t.Errorf("expand %q: got %q and %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"${":                "a closing }",
		"x ${orderId":       "a closing }",
		"${}":               "where name is letters",
		"${a b}":            "where name is letters",
		"${ orderId }":      "where name is letters",
		"${a${b}}":          "where name is letters",
		"${unknown}":        "${unknown} has no value",
		"${secrets.ABSENT}": "${secrets.ABSENT} has no value",
		"${secrets.OTHER}":  "${secrets.OTHER} has no value", // not named by the scenario
	} {
		if got, err := testScope().Expand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expand %q: got %q and %v, want an error with %q", text, got, err, want)
		}
	}
}

// A value is never looked at for templates again.
func TestExpandOnce(t *testing.T) {
	scope := testScope()
	scope.Set("orderId", "${secrets.PW}")
	if got, err := scope.Expand("${orderId}"); err != nil || got != "${secrets.PW}" {
		t.Errorf("expand: got %q and %v, want the text of the value", got, err)
	}
}

func TestExpandJSON(t *testing.T) {
	in := map[string]any{"a": []any{"${orderId}", 1.5, nil, true, map[string]any{"${orderId}": "x${orderId}"}}}
	want := map[string]any{"a": []any{"17", 1.5, nil, true, map[string]any{"${orderId}": "x17"}}}
	got, err := testScope().ExpandJSON(in)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("expand: got %v and %v, want %v", got, err, want)
	}
	if in["a"].([]any)[0] != "${orderId}" {
		t.Error("expand changed the value that it was given, which other runs share")
	}
	for _, bad := range []any{"${nope}", []any{"${nope}"}, map[string]any{"a": "${nope}"}} {
		if got, err := testScope().ExpandJSON(bad); err == nil {
			t.Errorf("expand %v: got %v, want an error", bad, got)
		}
	}
}

// scopeWith is a scope that knows these secrets.
func scopeWith(secrets ...string) *Scope {
	values := map[string]Secret{}
	for i, secret := range secrets {
		values["S"+strconv.Itoa(i)] = Secret(secret)
	}
	return NewScope(map[string]string{}, values)
}

// jsonText is a string in JSON without its quotes; escapeHTML as encoding/json does by default.
func jsonText(t *testing.T, text string, escapeHTML bool) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	if err := enc.Encode(text); err != nil {
		t.Fatal(err)
	}
	return strings.Trim(strings.TrimSpace(b.String()), `"`)
}

func TestRedact(t *testing.T) {
	for _, secret := range []string{"hunter2", "p&ss <w>ord'", `back\slash"quote`, "a b/c?d=e%f+g", "pässwörd", "line\nbreak\ttab", "${vars.x}", "redacted"} {
		scope := scopeWith(secret)
		forms := map[string]string{
			"raw": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "html": html.EscapeString(secret), "go": strconv.Quote(secret),
			"json": jsonText(t, secret, false), "json with html escapes": jsonText(t, secret, true),
		}
		for name, form := range forms {
			if got := scope.Redact("before " + form + " after " + form); strings.Contains(got, form) && secret != "redacted" || !strings.HasPrefix(got, "before ") || !strings.Contains(got, "redacted") {
				t.Errorf("redact the %s form of %q: got %q", name, secret, got)
			}
		}
	}
	if got, want := scopeWith("hunter2").Redact("an innocent text"), "an innocent text"; got != want {
		t.Errorf("redact: got %q, want %q", got, want)
	}
	if got := scopeWith("").Redact("an empty secret"); got != "an empty secret" {
		t.Errorf("redact an empty secret: got %q", got)
	}
}

// Where one secret begins another, no tail of the longer one stays.
func TestRedactOverlapping(t *testing.T) {
	for _, secrets := range [][]string{{"hunter2", "hunter2-and-more"}, {"hunter2-and-more", "hunter2"}} {
		if got, want := scopeWith(secrets...).Redact("x hunter2-and-more y hunter2 z"), "x <redacted> y <redacted> z"; got != want {
			t.Errorf("redact %q: got %q, want %q", secrets, got, want)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	secret := Secret("hunter2")
	body, err := json.Marshal(map[string]any{"s": secret, "p": &secret})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret)
	for _, got := range []string{fmt.Sprint(secret), fmt.Sprintf("%s %v %+v %#v %q", secret, secret, secret, secret, secret), fmt.Sprintf("%+v", struct{ S Secret }{secret}), string(body), log.String()} {
		if strings.Contains(got, "hunter2") || !strings.Contains(got, "redacted") {
			t.Errorf("print a secret: got %s", got)
		}
	}
	if secret.Reveal() != "hunter2" {
		t.Error("reveal: got something else")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"${orderId}", "$${", "$$$${a}", "${", "}${", "${a.b-c_d}", "${é}", "$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := parseTemplate(text)
		if err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Fatalf("parse %q: got %v, want a SyntaxError", text, err)
			}
			return
		}
		scope := testScope()
		var rebuilt strings.Builder
		for _, p := range parts {
			if !p.ref {
				rebuilt.WriteString(strings.ReplaceAll(p.text, "${", "$${"))
				continue
			}
			rebuilt.WriteString("${" + p.text + "}")
			scope.Set(p.text, "")
		}
		if rebuilt.String() != text {
			t.Errorf("parse %q: its parts make %q", text, rebuilt.String())
		}
		if _, err := scope.Expand(text); err != nil {
			t.Errorf("expand %q with every name set: %v", text, err)
		}
		if escaped := strings.ReplaceAll(text, "${", "$${"); !strings.Contains(text, "$$") {
			if got, err := scope.Expand(escaped); err != nil || got != text {
				t.Errorf("expand %q: got %q and %v, want %q", escaped, got, err, text)
			}
		}
	})
}

// TestRedactMixedEncodings covers encoders that leave different characters alone.
func TestRedactMixedEncodings(t *testing.T) {
	scope := scopeWith(`hunter2/+ä"&= x`)
	for _, text := range []string{
		`http://shop/hunter2/+%C3%A4%22&=%20x/y`, `hunter2%2F%2bä"%26%3D+x`, `hunter2/+%c3%a4"&=%20x`,
	} {
		if got := scope.Redact(text); strings.Contains(got, "unter2") || !strings.Contains(got, Redacted) {
			t.Errorf("redact %q: got %q", text, got)
		}
	}
	if got := scope.Redact("hunter2 alone"); got != "hunter2 alone" {
		t.Errorf("redact: got %q, want other text untouched", got)
	}
}

// Base64 shifts what it encodes by what stands before it; the ends mix with what stands around.
func TestRedactBase64(t *testing.T) {
	for _, secret := range []string{"hunter2", "123456", "p&ss <w>ord'", "pässwörd?>~~~", "a-much-longer-secret-with-\xff-in-it"} {
		scope := scopeWith(secret)
		for before := range 7 {
			for after := range 4 {
				plain := strings.Repeat("\x9a", before) + secret + strings.Repeat("\x65", after)
				for _, coding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
					form := coding.EncodeToString([]byte(plain))
					for _, written := range []string{form, url.QueryEscape(form), strings.ReplaceAll(form, "/", `\/`)} {
						got := scope.Redact("Basic " + written + " x")
						if !strings.HasPrefix(got, "Basic ") || !strings.HasSuffix(got, " x") || !strings.Contains(got, Redacted) || len(got) > len("Basic <redacted> x")+len(written)/2 {
							t.Errorf("redact %q of %q after %d bytes and before %d: got %q", written, secret, before, after, got)
						}
					}
				}
			}
		}
	}
	got := scopeWith("hunter2").Redact("Basic " + base64.StdEncoding.EncodeToString([]byte("alice:hunter2")) + ", Bearer abcdefghijkl")
	if want := "Basic <redacted>, Bearer abcdefghijkl"; got != want {
		t.Errorf("redact basic authentication: got %q, want %q", got, want)
	}
}

func TestRedactEscaped(t *testing.T) {
	scope := scopeWith(`hun"t/e'r 2€😀`)
	for name, form := range map[string]string{
		"numeric entities":       `hun&#34;t&#x2F;e&#39;r&#32;2&#8364;&#x1F600;`,
		"named entities":         `hun&quot;t/e&apos;r&nbsp;2€😀`,
		"json, all escaped":      `\u0068un\"t\/e\u0027r 2\u20AC\ud83d\ude00`,
		"percent-encoded twice":  `hun%2522t%252Fe%2527r%25202%25E2%2582%25AC%25F0%259F%2598%2580`,
		"percent-encoded thrice": `hun%252522t/e'r+2%e2%82%ac😀`,
	} {
		if got := scope.Redact("<" + form + ">"); got != "<<redacted>>" {
			t.Errorf("redact the form with %s, %q: got %q", name, form, got)
		}
	}
}

func TestSecretive(t *testing.T) {
	for template, want := range map[string]bool{"${secrets.PW}": true, "a ${vars.x} ${secrets.PW}": true, "${vars.secrets}": false, "$${secrets.PW}": false, "${": false, "": false} {
		if got := Secretive(template); got != want {
			t.Errorf("%q: got %v, want %v", template, got, want)
		}
	}
	if got := scopeWith("hunter2", "hunter2-and-more").Secrets(); len(got) != 2 || got[0] != "hunter2-and-more" {
		t.Errorf("got %d secrets, want both, the longest first", len(got))
	}
}

func BenchmarkRedact(b *testing.B) { // a header of a HAR: some 20,000 of them in a large one
	scope := scopeWith("hunter2-and-more", "correct horse battery")
	text := "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	b.ReportAllocs()
	for b.Loop() {
		scope.Redact(text)
	}
}

func TestPublic(t *testing.T) {
	s := NewScope(map[string]string{"region": "eu", "run.id": "r1", "vars.api": "v2", "vars.both": "declared", "vars.auth": "Basic " + "czNjcjN0LXZhbHVl"}, map[string]Secret{"KEY": "s3cr3t-value"})
	s.Set("both", "extracted")
	s.Set("echo", "got s3cr3t-value back")
	want := map[string]any{"region": "eu", "run.id": "r1", "api": "v2", "both": "extracted"}
	if got := s.Public(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v: nothing of a secret, in no encoding", got, want)
	}
}
