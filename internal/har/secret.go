package har

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"lastmile/internal/vars"
)

// masked are the headers whose values never show.
var masked = []string{"cookie", "set-cookie", "authorization", "proxy-authorization"}

// secretWords are those that make the value of what has one of them in its name a secret, by the looks of it.
var secretWords = []string{
	"auth", "authorization", "code", "cookie", "cookies", "credential", "credentials", "csrf", "jwt", "key", "nonce", "otp", "pass", "passcode", "passphrase",
	"passwd", "password", "pin", "pwd", "secret", "session", "sid", "sig", "signature", "token", "xsrf",
}

// secretEndings end words that are written as one.
var secretEndings = []string{"apikey", "auth", "password", "secret", "sessid", "sessionid", "signature", "token", "tokens", "secrets"}

// secretQuery reports whether a query parameter of this name looks like a secret.
func secretQuery(name string) bool {
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	return slices.ContainsFunc(words(name), func(word string) bool {
		return slices.Contains(secretWords, word) ||
			slices.ContainsFunc(secretEndings, func(ending string) bool { return strings.HasSuffix(word, ending) })
	})
}

// secretHeader reports whether a header's value never shows. "Key" alone says little there: many caches have one.
func secretHeader(name string) bool {
	name = strings.ToLower(name)
	if slices.Contains(masked, name) {
		return true
	}
	name = strings.NewReplacer("api-key", "apikey", "access-key", "secret", "private-key", "secret", "auth-key", "secret").Replace(name)
	return slices.ContainsFunc(words(name), func(word string) bool {
		return word != "key" && word != "code" && word != "nonce" && secretQuery(word)
	})
}

// words splits a name at its punctuation and where a capital begins a word.
func words(name string) []string {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = ' '
		case unicode.IsUpper(r) && unicode.IsLower(before):
			b.WriteByte(' ')
		}
		before = r
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Fields(b.String())
}

var (
	userinfo = regexp.MustCompile(`://[^/\s?#"']*@`)
	// What follows a semicolon is looked at first: it may be a parameter of its own, or a piece of the value before it.
	parameters = []*regexp.Regexp{
		regexp.MustCompile(`;([^=&#?;\s"'<>]{1,100})=([^&#;?\s"']*)`),
		regexp.MustCompile(`[?&#]([^=&#?;\s"'<>]{1,100})=([^&#\s"']*)`),
	}
)

// maskURLs takes users, passwords and the values of secret parameters out of the URLs in a text, whole or not.
func maskURLs(text string) string {
	if strings.Contains(text, "@") {
		text = userinfo.ReplaceAllLiteralString(text, "://")
	}
	if !strings.Contains(text, "=") {
		return text
	}
	for _, parameter := range parameters {
		text = parameter.ReplaceAllStringFunc(text, func(found string) string {
			if name, _, _ := strings.Cut(found[1:], "="); secretQuery(name) {
				return found[:1] + name + "=" + vars.Redacted
			}
			return found
		})
	}
	return text
}
