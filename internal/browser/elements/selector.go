package elements

import (
	"regexp"
	"slices"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// part is one step of a chain. The JSON form is what find.js reads; kind aria is looked up by the accessibility tree instead.
type part struct {
	Kind string `json:"kind"` // css, xpath, text, aria
	Text string `json:"text"` // aria: the accessible name
	Via  via    `json:"via"`
	role string
}

// via says where inside the matches of the part before a part is looked for.
type via string

const (
	viaShadow via = ""     // in their shadow roots, or in themselves where they have none
	viaDeep   via = "deep" // in all shadow roots below as well
	viaSame   via = "same" // in themselves, which may match too
)

// alternative is one chain of a step's selectors, with its place among them.
type alternative struct {
	Index int    `json:"index"`
	Chain []part `json:"chain"`
}

// Lookup is a step's selectors, split by what they cost.
type Lookup struct {
	texts []string      // as written, for messages and for results
	cheap []alternative // run in the page; tried first, fastest kind first
	aria  []alternative // ask the accessibility tree
	tries int           // looks so far in which something was found that was not ready
}

// rank orders the kinds by how long they take on a large page.
func (p part) rank() int {
	switch {
	case p.Kind == "css" && p.Via != viaDeep:
		return 0
	case p.Kind == "xpath":
		return 1
	case p.Kind == "css":
		return 2
	}
	return 3
}

// rank is that of the slowest part.
func (a alternative) rank() int {
	rank := 0
	for _, p := range a.Chain {
		rank = max(rank, p.rank())
	}
	return rank
}

func (a alternative) slow() bool {
	return slices.ContainsFunc(a.Chain, func(p part) bool { return p.Kind == "aria" })
}

// NewLookup reads selectors, in which templates may stand. The error is one of the templates.
func NewLookup(selectors scenario.Selectors, scope *vars.Scope) (*Lookup, error) {
	l := &Lookup{}
	for i, chain := range selectors {
		texts := make([]string, 0, len(chain))
		ways := [][]part{nil} // a list in CSS makes several of one
		for _, template := range chain {
			text, err := scope.Expand(template)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
			var longer [][]part
			for _, way := range ways {
				for _, more := range parse(text) {
					longer = append(longer, slices.Concat(way, more))
				}
			}
			ways = longer[:min(len(longer), maxWays)]
		}
		l.texts = append(l.texts, strings.Join(texts, " >>> "))
		for _, way := range ways {
			if a := (alternative{Index: i, Chain: way}); a.slow() {
				l.aria = append(l.aria, a)
			} else {
				l.cheap = append(l.cheap, a)
			}
		}
	}
	slices.SortStableFunc(l.cheap, func(a, b alternative) int { return a.rank() - b.rank() })
	return l, nil
}

// maxWays bounds what lists in the parts of a chain multiply to.
const maxWays = 64

// String names the selectors for a message.
func (l *Lookup) String() string {
	if len(l.texts) == 1 {
		return l.texts[0]
	}
	return "any of " + strings.Join(l.texts, " | ")
}

// Text returns the alternative with the index of a sighting, as it was written.
func (l *Lookup) Text(index int) string { return l.texts[index] }

// parse reads a selector in Recorder's form. Without a known prefix it is CSS, of which each member of a list is one way.
func parse(text string) [][]part {
	if rest, ok := strings.CutPrefix(text, "aria/"); ok {
		return [][]part{{parseAria(rest)}}
	}
	for _, kind := range []string{"xpath", "text"} {
		if rest, ok := strings.CutPrefix(text, kind+"/"); ok {
			return [][]part{{{Kind: kind, Text: rest}}}
		}
	}
	if rest, ok := strings.CutPrefix(text, "pierce/"); ok {
		return [][]part{{{Kind: "css", Text: rest, Via: viaDeep}}}
	}
	text = strings.TrimPrefix(text, "css/")
	if !strings.Contains(text, "::-p-") && !strings.Contains(text, ">>>") {
		return [][]part{{{Kind: "css", Text: text}}}
	}
	return parseCSS(text)
}

// ariaAttribute matches the [role="button"] of Recorder's aria/ selectors.
var ariaAttribute = regexp.MustCompile(`\[\s*(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')\s*\]`)

func parseAria(text string) part {
	p := part{Kind: "aria"}
	name := ariaAttribute.ReplaceAllStringFunc(text, func(found string) string {
		groups := ariaAttribute.FindStringSubmatch(found)
		switch value := groups[2] + groups[3]; groups[1] {
		case "role":
			p.role = value
		case "name":
			p.Text = value
		default:
			return found
		}
		return ""
	})
	if name = strings.Join(strings.Fields(name), " "); name != "" {
		p.Text = name
	}
	return p
}

// cssReader splits CSS with Puppeteer's extensions into parts.
type cssReader struct {
	text string
	ways [][]part
	way  []part
	css  strings.Builder // read, but not yet a part
	via  via             // of the next part
}

// parseCSS reads CSS with pseudo-elements and combinators of Puppeteer's.
func parseCSS(text string) [][]part {
	r := &cssReader{text: text}
	depth := 0
	for r.text != "" {
		switch c := r.text[0]; {
		case c == '\\' || c == '"' || c == '\'':
			r.take(quoted(r.text))
		case depth == 0 && c == ',':
			r.end()
			r.text = r.text[1:]
		case depth == 0 && strings.HasPrefix(r.text, ">>>"):
			r.combine()
		case depth == 0 && strings.HasPrefix(r.text, "::-p-") && strings.Contains(r.text, "("):
			r.pseudo()
		default:
			switch c {
			case '(', '[':
				depth++
			case ')', ']':
				depth = max(depth-1, 0)
			}
			r.take(1)
		}
	}
	r.end()
	if len(r.ways) == 0 { // left to the browser to refuse
		return [][]part{{{Kind: "css", Text: text}}}
	}
	return r.ways
}

// quoted is the length of the escape or the string at the beginning of the text. A quote that nothing ends is just itself.
func quoted(text string) int {
	if text[0] == '\\' {
		return min(2, len(text))
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return 1
}

func (r *cssReader) take(n int) {
	r.css.WriteString(r.text[:n])
	r.text = r.text[n:]
}

// flush makes a part of the CSS read so far. A lone :scope is where the search begins anyway.
func (r *cssReader) flush() {
	css := r.css.String()
	r.css.Reset()
	if r.via != viaSame { // spaces at the beginning mean a descendant of the match before
		css = strings.TrimLeft(css, " \t\n")
	}
	if trimmed := strings.TrimSpace(css); trimmed != "" && trimmed != ":scope" {
		r.way = append(r.way, part{Kind: "css", Text: strings.TrimRight(css, " \t\n"), Via: r.via})
		r.via = viaSame
	}
}

func (r *cssReader) combine() {
	r.flush()
	if strings.HasPrefix(r.text, ">>>>") {
		r.text, r.via = r.text[4:], viaShadow
		return
	}
	r.text, r.via = r.text[3:], viaDeep
}

// pseudo reads ::-p-name(argument).
func (r *cssReader) pseudo() {
	r.flush()
	open := strings.IndexByte(r.text, '(')
	kind := r.text[len("::-p-"):open]
	end, depth := open+1, 1
	for end < len(r.text) && depth > 0 {
		switch r.text[end] {
		case '\\', '"', '\'':
			end += quoted(r.text[end:])
			continue
		case '(':
			depth++
		case ')':
			depth--
		}
		end++
	}
	argument := r.text[open+1 : end]
	if depth == 0 {
		argument = strings.TrimSuffix(argument, ")")
	}
	r.text = r.text[end:]
	p := part{Kind: kind, Text: unquote(argument)}
	switch kind {
	case "aria":
		p = parseAria(p.Text)
	case "text", "xpath":
	default: // left to the browser to refuse
		p = part{Kind: "css", Text: "::-p-" + kind}
	}
	p.Via = r.via
	r.way = append(r.way, p)
	r.via = viaSame
}

// end closes a member of a list.
func (r *cssReader) end() {
	r.flush()
	if len(r.way) > 0 {
		r.ways = append(r.ways, r.way)
	}
	r.way, r.via = nil, viaShadow
}

var escaped = regexp.MustCompile(`(?s)\\(.)`)

// unquote reads the argument of a pseudo-element, which may be in quotes.
func unquote(text string) string {
	if n := len(text); n > 1 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		text = text[1 : n-1]
	}
	return escaped.ReplaceAllString(text, "$1")
}
