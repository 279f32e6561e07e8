package vars

import "strings"

// Finder looks for a secret in what somebody else sent. It finds it as it is, percent-encoded, as an HTML entity, in the escapes of JSON,
// JavaScript and Go, in base64, alone or as a part of something longer such as a token, and in up to eight of those in one another. Unlike
// what redacts, it takes nothing for the secret but the whole of it. It is safe for concurrent use.
type Finder struct {
	known redactor
}

// NewFinder returns what finds the secret. One of less than MinSecret bytes is never found.
func NewFinder(s Secret) *Finder {
	if len(s) < MinSecret {
		return &Finder{}
	}
	return &Finder{known: newRedactor(s)}
}

// In reports whether the text has the secret in it. The time it takes grows with the text, and so does the memory: by as much again.
func (f *Finder) In(text string) bool {
	for range maxLayers {
		if f.known.within(text) {
			return true
		}
		next, ok := peeled(text)
		if !ok {
			return false
		}
		text = next
	}
	return f.known.within(text)
}

// Plain is a secret with all those encodings taken off, but for base64: a Finder takes that for the secret too.
func Plain(s Secret) Secret {
	text := s.Reveal()
	for range maxLayers {
		text, _ = peeled(text)
	}
	return Secret(text)
}

// within reports whether the secret is in the text without anything taken off.
func (r redactor) within(text string) bool {
	for _, f := range r.forms {
		if strings.Contains(text, f.text) || f.blanks && strings.Contains(strings.ReplaceAll(text, "+", " "), f.text) {
			return true
		}
	}
	for _, c := range r.cores {
		if strings.Contains(text, c.text) || c.signs && strings.Contains(urlDigits.Replace(text), c.text) {
			return true
		}
	}
	return false
}

// urlDigits turns the one alphabet of base64 into the other.
var urlDigits = strings.NewReplacer("-", "+", "_", "/")

// peeled is a text with one encoding taken off every character that has one, like peel, without the memory of where they were, which
// takes more than the text. ok is whether there was any.
func peeled(text string) (string, bool) {
	l := layer{text: text}
	at := l.encoded(0)
	if at < 0 {
		return text, false
	}
	var b strings.Builder
	b.Grow(len(text))
	done := 0
	for ; at >= 0; at = l.encoded(done) {
		plain, n, _ := decodeOne(text[at:])
		b.WriteString(text[done:at])
		b.WriteString(plain)
		done = at + n
	}
	b.WriteString(text[done:])
	return b.String(), true
}
