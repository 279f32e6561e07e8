package cachestate

import (
	"net/http"
	"strings"
)

// maxWord bounds what a header contributes to the evidence, in bytes. The
// longest word known is under 30.
const maxWord = 32

// joined returns all lines of a header as one list, without the blank ones.
func joined(h http.Header, name string) string {
	var lines []string
	for _, value := range h.Values(name) {
		for line := range strings.SplitSeq(value, "\n") {
			if line = strings.Trim(line, " \t\r"); line != "" {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, ", ")
}

// list returns the members of a header that is a comma-separated list.
func list(h http.Header, name string) []string {
	return split(joined(h, name), ',')
}

// split cuts s at each sep outside quoted strings (RFC 9110, section 5.6.4),
// trims the parts and drops the empty ones. An unclosed quote runs to the end.
func split(s string, sep byte) []string {
	var parts []string
	start, quoted := 0, false
	add := func(end int) {
		if part := strings.Trim(s[start:end], " \t"); part != "" {
			parts = append(parts, part)
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == sep:
			add(i)
			start = i + 1
		}
	}
	add(len(s))
	return parts
}

// lastWord returns the leading word of the last member of a header that
// matches: the one added nearest the client.
func lastWord(h http.Header, name string, match func(member string) bool) (string, bool) {
	members := list(h, name)
	for i := len(members) - 1; i >= 0; i-- {
		if match(members[i]) {
			return leadingWord(members[i]), true
		}
	}
	return "", false
}

// leadingWord returns the letters, digits, hyphens and underscores that s
// begins with, cut at maxWord: harmless in evidence whatever s is.
func leadingWord(s string) string {
	end := 0
	for end < len(s) && end < maxWord && (isAlpha(s[end]) || isDigit(s[end]) || s[end] == '-' || s[end] == '_') {
		end++
	}
	return s[:end]
}

func isAlpha(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}
