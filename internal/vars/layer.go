package vars

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// layer is a text with some of its encodings taken off, which remembers where in the text itself each of its bytes is from.
type layer struct {
	text     string
	from, to []int // of each byte; nil where the layer is the text itself
}

// maxLayers is how many encodings, one in another, are looked through.
const maxLayers = 8

// source is where a part of the layer is in the text.
func (l layer) source(s span) span {
	if l.from == nil {
		return s
	}
	return span{l.from[s.from], l.to[s.to-1]}
}

// peel takes one encoding off every character that has one: percent-encoding, HTML entities, and the escapes of JSON, JavaScript and
// Go. ok is whether there was any.
func (l layer) peel() (layer, bool) {
	first := l.encoded(0)
	if first < 0 {
		return l, false
	}
	var out layer
	var b strings.Builder
	keep := func(from, to int) {
		b.WriteString(l.text[from:to])
		for i := from; i < to; i++ {
			s := l.source(span{i, i + 1})
			out.from, out.to = append(out.from, s.from), append(out.to, s.to)
		}
	}
	done := 0
	for at := first; at >= 0; at = l.encoded(done) {
		keep(done, at)
		plain, n, _ := decodeOne(l.text[at:])
		s := l.source(span{at, at + n})
		b.WriteString(plain)
		for range len(plain) {
			out.from, out.to = append(out.from, s.from), append(out.to, s.to)
		}
		done = at + n
	}
	keep(done, len(l.text))
	out.text = b.String()
	return out, true
}

// encoded is where the next encoded character is; -1 where there is none.
func (l layer) encoded(from int) int {
	for at := from; ; at++ {
		next := strings.IndexAny(l.text[at:], `%&\`)
		if next < 0 {
			return -1
		}
		at += next
		if _, _, ok := decodeOne(l.text[at:]); ok {
			return at
		}
	}
}

// decodeOne decodes the encoded character that the text begins with, which takes n bytes there.
func decodeOne(text string) (plain string, n int, ok bool) {
	switch text[0] {
	case '%':
		return decodePercent(text)
	case '&':
		return decodeEntity(text)
	}
	return decodeEscape(text)
}

// decodePercent decodes a byte, or as JavaScript's escape writes them, half a character.
func decodePercent(text string) (string, int, bool) {
	if v, ok := hex(text, 1, 2); ok {
		return string([]byte{byte(v)}), 3, true
	}
	if strings.HasPrefix(text, "%u") {
		return decodeUnits(text, "%u")
	}
	return "", 0, false
}

// maxEntity is the longest entity, in bytes.
const maxEntity = 33

func decodeEntity(text string) (string, int, bool) {
	end := strings.IndexByte(text[:min(len(text), maxEntity)], ';')
	if end < 0 {
		return "", 0, false
	}
	entity := text[:end+1]
	plain := html.UnescapeString(entity)
	if plain == entity {
		return "", 0, false
	}
	return strings.ReplaceAll(plain, "\u00a0", " "), len(entity), true
}

// escapes are the short ones.
var escapes = strings.NewReplacer("a", "\a", "b", "\b", "f", "\f", "n", "\n", "r", "\r", "t", "\t", "v", "\v")

func decodeEscape(text string) (string, int, bool) {
	if len(text) < 2 {
		return "", 0, false
	}
	switch c := text[1]; c {
	case 'a', 'b', 'f', 'n', 'r', 't', 'v':
		return escapes.Replace(text[1:2]), 2, true
	case '\\', '"', '\'', '/', '`':
		return text[1:2], 2, true
	case 'x':
		if v, ok := hex(text, 2, 2); ok {
			return string([]byte{byte(v)}), 4, true
		}
	case 'U':
		if v, ok := hex(text, 2, 8); ok && utf8.ValidRune(rune(v)) {
			return string(rune(v)), 10, true
		}
	case 'u':
		if end := strings.IndexByte(text[:min(len(text), 11)], '}'); end > 3 && text[2] == '{' {
			v, ok := hex(text, 3, end-3)
			return string(rune(v)), end + 1, ok && utf8.ValidRune(rune(v))
		}
		return decodeUnits(text, `\u`)
	}
	return "", 0, false
}

// decodeUnits decodes a character in one or two units of UTF-16, each behind a sign.
func decodeUnits(text, sign string) (string, int, bool) {
	first, ok := hex(text, 2, 4)
	if !ok {
		return "", 0, false
	}
	if r := rune(first); !utf16.IsSurrogate(r) {
		return string(r), 6, true
	}
	if second, ok := hex(text, 8, 4); ok && text[6:8] == sign {
		if r := utf16.DecodeRune(rune(first), rune(second)); r != utf8.RuneError {
			return string(r), 12, true
		}
	}
	return "", 0, false
}

// hex reads n hexadecimal digits.
func hex(text string, at, n int) (uint64, bool) {
	if n < 1 || at+n > len(text) || text[at] == '+' || text[at] == '_' {
		return 0, false
	}
	v, err := strconv.ParseUint(text[at:at+n], 16, 32)
	return v, err == nil
}
