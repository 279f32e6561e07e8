package vars

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"strings"
	"testing"
)

func TestFinderKnowsASecretInItsEncodings(t *testing.T) {
	const secret = "canary/é+ 0f3a\"91<b7>"
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	twice, _ := json.Marshal(string(quoted))
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"alice","id":"` + strings.Trim(string(quoted), `"`) + `","n":1}`))
	find := NewFinder(secret)
	for name, text := range map[string]string{
		"plain":             "a" + secret + "b",
		"query":             "https://shop/?id=" + url.QueryEscape(secret),
		"path":              url.PathEscape(secret),
		"json":              `{"id":` + string(quoted) + `}`,
		"json in json":      string(twice),
		"html":              "<b>" + html.EscapeString(secret) + "</b>",
		"numbered entities": strings.ReplaceAll(secret, "n", "&#110;"),
		"base64":            base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64, one byte":  base64.StdEncoding.EncodeToString([]byte("a" + secret + "b")),
		"base64, two bytes": base64.URLEncoding.EncodeToString([]byte("ab" + secret)),
		"encoded base64":    url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("user:" + secret))),
	} {
		if !find.In(text) {
			t.Errorf("%s: %q: not found", name, text)
		}
	}
	if plain := NewFinder("canary-0f3a91b7"); plain.In(token) || !plain.In(base64.RawURLEncoding.EncodeToString([]byte(`{"id":"canary-0f3a91b7"}`))) {
		t.Error("want a secret found in a token that has it, and in no other")
	}
	for _, text := range []string{
		"", secret[1:], secret[:len(secret)-1], secret[:len(secret)-1] + "...", "canary%2F%C3%A9 and no more…", strings.Repeat("x", 300) + secret[:20],
		strings.ToUpper(secret), base64.StdEncoding.EncodeToString([]byte(secret[:len(secret)-2])), "%", "&", `\`,
	} {
		if find.In(text) {
			t.Errorf("%q: found, want only the whole secret", text)
		}
	}
	if NewFinder("abc").In("abc") || NewFinder("").In("") {
		t.Error("found a secret that is too short to be told from ordinary text")
	}
}

func TestConcealedIsRedactedFromThenOn(t *testing.T) {
	scope := NewScope(map[string]string{}, map[string]Secret{"P": "password-1"})
	const text = "password-1 and password-123 and canary-4711"
	scope.Conceal("password-123", "canary-4711", "", "password-1")
	if got, want := scope.Redact(text), "<redacted> and <redacted> and <redacted>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := len(scope.Secrets()); got != 3 {
		t.Errorf("got %d secrets, want each once", got)
	}
	if _, err := scope.Expand("${canary-4711}"); err == nil {
		t.Error("what is concealed has become a variable")
	}
}

func FuzzFinder(f *testing.F) {
	for _, text := range []string{"", "%25252", `\u00e9\"`, "&amp;amp;#x41;", "Y2FuYXJ5"} {
		f.Add(text, text)
	}
	const secret = "canary-0123456789ab"
	find := NewFinder(secret)
	f.Fuzz(func(t *testing.T, before, after string) {
		// What stands before may end in the beginning of an encoded character, which then has a part of the secret in it.
		if text := before + " " + secret + after; !find.In(text) {
			t.Errorf("%q: not found", text)
		}
		if find.In(before) && NewScope(map[string]string{}, map[string]Secret{"C": secret}).Redact(before) == before {
			t.Errorf("%q: found, and not redacted", before)
		}
	})
}
