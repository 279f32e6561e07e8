package vars

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
)

// redactor knows one secret in the forms in which it commonly travels: as it is, and in base64, alone or as a part of something longer,
// such as the user:password of basic authentication. Other encodings are taken off a text before it is looked at: see peel.
type redactor struct {
	forms []form
	cores []core
}

// form is a spelling of a secret. Where it has blanks, a + in the text stands for one too, as in forms.
type form struct {
	text   string
	blanks bool
}

// core is what a secret alone decides of the base64 of something that it is a part of, at one of the three alignments.
type core struct {
	text  string
	signs bool // whether it has digits that the two alphabets write differently
}

// newRedactor prepares the removal of a secret.
func newRedactor(s Secret) redactor {
	raw := string(s)
	var r redactor
	texts := []string{raw, string([]rune(raw)), latin1(raw)} // the second is what decoders make of bytes that are no text
	layer := layer{text: raw}
	for range maxLayers { // what peel makes of the secret where it looks encoded itself
		layer, _ = layer.peel()
	}
	for _, text := range append(texts, layer.text) {
		if len(text) >= min(MinSecret, len(raw)) && !slices.ContainsFunc(r.forms, func(f form) bool { return f.text == text }) {
			r.forms = append(r.forms, form{text, strings.Contains(text, " ")})
		}
	}
	for i := range r.forms {
		if r.forms[i].blanks {
			r.forms[i].text = strings.ReplaceAll(r.forms[i].text, "+", " ")
		}
	}
	for before := range 3 {
		if digits := base64Core(raw, before); digits != "" {
			r.cores = append(r.cores, core{digits, strings.ContainsAny(digits, "+/")})
		}
	}
	return r
}

// latin1 is a text as old pages encode it, "" where they cannot.
func latin1(text string) string {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return ""
		}
		out = append(out, byte(r))
	}
	return string(out)
}

// base64Core is the part of the base64 of something that holds raw after a number of other bytes which raw alone decides: the digits
// at either end have bits of what stands around it, unless it begins or ends where a digit does.
func base64Core(raw string, before int) string {
	from := (before*8 + 5) / 6
	to := (before + len(raw)) * 8 / 6
	digits := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + raw))
	if to-from < minCore {
		return ""
	}
	return digits[from:to]
}

// minCore is the least number of base64 digits that are looked for: what MinSecret bytes give at the least.
const minCore = (MinSecret*8 - 4) / 6

// span is a part of a text.
type span struct{ from, to int }

// redact puts a mark into the place of every secret in the text.
func redact(text string, redactors []redactor) string {
	if len(redactors) == 0 || text == "" {
		return text
	}
	var found []span
	cut := len(text) >= longText
	l := layer{text: text}
	for range maxLayers {
		for _, s := range l.find(redactors, cut) {
			found = append(found, l.source(s))
		}
		next, ok := l.peel()
		if !ok {
			break
		}
		l = next
	}
	if len(found) == 0 {
		return text
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var b strings.Builder
	end := 0
	for _, s := range found {
		if s.from >= end {
			b.WriteString(text[end:s.from] + Redacted)
		}
		end = max(end, s.to)
	}
	return b.String() + text[end:]
}

// longText is the length from which a text may have been cut off where it ends. Shorter ones say so when they were.
const longText = 256

// find returns where a layer has secrets. cut says that its end may be missing.
func (l layer) find(redactors []redactor, cut bool) (out []span) {
	blanks, digits := l.text, l.text
	if strings.Contains(l.text, "+") {
		blanks = strings.ReplaceAll(l.text, "+", " ")
	}
	if strings.ContainsAny(l.text, "-_") {
		digits = strings.NewReplacer("-", "+", "_", "/").Replace(l.text)
	}
	ends := l.ends(cut)
	for _, r := range redactors {
		for _, f := range r.forms {
			in := l.text
			if f.blanks {
				in = blanks
			}
			out = append(out, all(in, f.text)...)
			out = append(out, beginnings(in, f.text, MinSecret, ends)...)
		}
		for _, c := range r.cores {
			in := l.text
			if c.signs {
				in = digits
			}
			for _, s := range append(all(in, c.text), beginnings(in, c.text, minCore+1, ends)...) {
				if n := len(out); n == 0 || s.from < out[n-1].from || s.to > out[n-1].to { // else it is in the run before
					out = append(out, l.run(s))
				}
			}
		}
	}
	return out
}

// all returns where what stands in a text, overlapping itself too.
func all(text, what string) (out []span) {
	for from := 0; ; {
		at := strings.Index(text[from:], what)
		if at < 0 {
			return out
		}
		out = append(out, span{from + at, from + at + len(what)})
		from += at + 1
	}
}

// ends returns where a text may have been cut off, and with it a secret: at its end, and before ellipses.
func (l layer) ends(cut bool) (out []int) {
	for _, ellipsis := range []string{"…", "..."} {
		for _, s := range all(l.text, ellipsis) {
			if out = append(out, s.from); len(out) == maxEnds {
				break
			}
		}
	}
	if cut {
		out = append(out, len(l.text))
	}
	for i, end := range out {
		out[i] = whole(l.text[:end])
	}
	return out
}

const maxEnds = 50

// whole is the length of a text without the half of an escape at its end.
func whole(text string) int {
	tail := max(len(text)-12, 0)
	if at := strings.LastIndexAny(text[tail:], `%&\`); at >= 0 && !strings.Contains(text[tail+at:], ";") {
		if _, _, ok := decodeOne(text[tail+at:]); !ok {
			return len(strings.TrimRight(text[:tail+at], `\`))
		}
	}
	return len(text)
}

// beginnings returns where a text has the beginning of what right before one of the ends.
func beginnings(text, what string, least int, ends []int) (out []span) {
	for _, end := range ends {
		for n := min(len(what)-1, end); n >= least; n-- {
			if what[n-1] == text[end-1] && strings.HasSuffix(text[:end], what[:n]) {
				out = append(out, span{end - n, end})
				break
			}
		}
	}
	return out
}

// run is the whole run of base64 around a part: its ends tell of the secret's, and the rest stood beside it.
func (l layer) run(s span) span {
	for s.from > 0 && base64Digit(l.text[s.from-1]) {
		s.from--
	}
	for s.to < len(l.text) && (base64Digit(l.text[s.to]) || l.text[s.to] == '=') {
		s.to++
	}
	return s
}

func base64Digit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}
