package document

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Write returns a value's JSON form as a YAML file, in the order of its keys and as a person would write it: Read reads the same value from
// it, as far as it stays within Read's bounds.
func Write(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	tokens.UseNumber()
	root, err := readTree(tokens)
	if err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	w := &writer{}
	if root.kind == kindMapping && len(root.keys) > 0 {
		w.mapping(root, 0, nil)
	} else {
		w.b.WriteString(flow(root) + "\n")
	}
	return w.b.Bytes(), nil
}

// tree is a JSON value whose keys have an order. values are the elements of a list, or a mapping's by their keys.
type tree struct {
	kind   kind
	text   string // of a scalar
	keys   []string
	values []tree
}

func readTree(tokens *json.Decoder) (tree, error) {
	t, err := tokens.Token()
	if err != nil {
		return tree{}, err
	}
	switch t := t.(type) {
	case json.Delim:
		out := tree{kind: kindList}
		if t == '{' {
			out.kind = kindMapping
		}
		for tokens.More() {
			if out.kind == kindMapping {
				key, err := tokens.Token()
				if err != nil {
					return tree{}, err
				}
				name, _ := key.(string)
				out.keys = append(out.keys, name)
			}
			value, err := readTree(tokens)
			if err != nil {
				return tree{}, err
			}
			out.values = append(out.values, value)
		}
		_, err := tokens.Token()
		return out, err
	case string:
		return tree{kind: kindText, text: t}, nil
	case json.Number:
		return tree{kind: kindNumber, text: exactNumber(t)}, nil
	case bool:
		return tree{kind: kindBool, text: strconv.FormatBool(t)}, nil
	}
	return tree{kind: kindNull, text: "null"}, nil
}

// exactNumber writes whole numbers above maxExact with an exponent, so that nobody takes them for exact, and before each exponent a point:
// there are readers of YAML to which 1e9 is text.
func exactNumber(n json.Number) string {
	text := n.String()
	if f, err := n.Float64(); err == nil && (f > maxExact || f < -maxExact) {
		text = strconv.FormatFloat(f, 'e', -1, 64)
	}
	if digits, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(digits, ".") {
		return digits + ".0e" + exponent
	}
	return text
}

// How wide a value may be on the line of its key: a list of single values, and anything else. Deeper than maxBlocks there are no more
// lines of their own.
const (
	maxListWidth  = 120
	maxOtherWidth = 72
	maxBlocks     = 8
)

// writer writes block style.
type writer struct{ b bytes.Buffer }

// mapping writes the entries of a mapping, the first of them where the line already is.
func (w *writer) mapping(t tree, level int, path []string) {
	for n, i := range order(t.keys, path) {
		if n > 0 {
			w.indent(level)
		}
		w.b.WriteString(keyOf(t.keys[i]) + ":")
		w.value(t.values[i], level, child(path, t.keys[i]))
	}
}

// late are the keys of a step that come after what the step does.
var late = []string{"timeout", "settle", "poll", "assertedEvents", "assert", "extract", "budget", "always", "optional", "recorder"}

// order returns the indices of a mapping's keys in the order in which they are to be written.
func order(keys, path []string) []int {
	out := make([]int, len(keys))
	for i := range keys {
		out[i] = i
	}
	if len(path) == 2 && path[0] == "steps" {
		slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(slices.Index(late, keys[a]), slices.Index(late, keys[b])) })
	}
	return out
}

func (w *writer) indent(level int) { w.b.WriteString(strings.Repeat("  ", level)) }

// value writes what stands behind a key, and ends the line.
func (w *writer) value(t tree, level int, path []string) {
	t = short(t, path)
	if lines, ok := literal(t); ok && level < maxBlocks {
		w.b.WriteString(" " + lines[0] + "\n")
		for _, line := range lines[1:] {
			if line != "" {
				w.indent(level + 1)
			}
			w.b.WriteString(line + "\n")
		}
		return
	}
	if url.MatchString(t.text) && t.kind == kindText {
		w.b.WriteString(" " + t.text + "\n")
		return
	}
	if onOneLine(t, level, path) {
		w.b.WriteString(" " + flow(t) + "\n")
		return
	}
	w.b.WriteString("\n")
	if t.kind == kindMapping {
		w.indent(level + 1)
		w.mapping(t, level+1, path)
		return
	}
	for i, item := range t.values {
		w.indent(level + 1)
		w.b.WriteString("- ")
		if at := child(path, strconv.Itoa(i)); item.kind == kindMapping && !onOneLine(item, level+2, at) {
			w.mapping(item, level+2, at)
		} else {
			w.b.WriteString(flow(item) + "\n")
		}
	}
}

// onOneLine reports whether a value stands on one line. Steps do not.
func onOneLine(t tree, level int, path []string) bool {
	if len(t.values) == 0 || level >= maxBlocks {
		return true
	}
	if len(path) > 0 && len(path) <= 2 && path[0] == "steps" {
		return false
	}
	plain := t.kind == kindList && !slices.ContainsFunc(t.values, func(v tree) bool { return len(v.values) > 0 })
	width := 2*level + len(flow(t))
	return plain && width <= maxListWidth || width <= maxOtherWidth
}

// short is the short form of what may be written in two ways.
func short(t tree, path []string) tree {
	switch {
	case len(path) == 1 && path[0] == "regions" && len(t.values) == 1:
		return t.values[0]
	case len(path) == 3 && path[0] == "steps" && path[2] == "selectors":
		out := tree{kind: kindList}
		for _, chain := range t.values {
			if len(chain.values) == 1 {
				chain = chain.values[0]
			}
			out.values = append(out.values, chain)
		}
		if len(out.values) == 1 && out.values[0].kind == kindText {
			return out.values[0]
		}
		return out
	}
	return t
}

// flow writes a value on one line.
func flow(t tree) string {
	parts := make([]string, len(t.values))
	for i, value := range t.values {
		parts[i] = flow(value)
		if t.kind == kindMapping {
			parts[i] = keyOf(t.keys[i]) + ": " + parts[i]
		}
	}
	switch t.kind {
	case kindMapping:
		return "{" + strings.Join(parts, ", ") + "}"
	case kindList:
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(t)
}

var (
	// plainText is text that needs no quotes wherever it stands.
	plainText = regexp.MustCompile(`^([A-Za-z/$(]|[.][A-Za-z])[A-Za-z0-9_/.@()=&+?$;^~%-]*([ #]?[A-Za-z0-9_/.@()=&+?$;^~%-]+)*$`)
	// otherwise is what readers take for something else than text.
	otherwise = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|[.]?(inf|infinity|nan))$`)
	// duration is text too, although it begins with a digit.
	duration = regexp.MustCompile(`^([0-9]+([.][0-9]+)?(h|m|s|ms))+$`)
	// url is text that needs no quotes behind a key in a block. In a key, and on one line with others, there are readers that stumble over
	// its colon.
	url = regexp.MustCompile(`^https?://[A-Za-z0-9_/.@()=&+?$;^~%:-]*[A-Za-z0-9_/.@()=&+?$;^~%-](#[A-Za-z0-9_/-]*)?$`)
)

// scalar writes a single value.
func scalar(t tree) string {
	if t.kind != kindText || duration.MatchString(t.text) || plainText.MatchString(t.text) && !otherwise.MatchString(t.text) {
		return t.text
	}
	if hidden := strings.ContainsFunc(t.text, func(r rune) bool { return r == '\'' || !unicode.IsPrint(r) }); strings.ContainsAny(t.text, `"\`) && !hidden {
		return "'" + t.text + "'"
	}
	return quoted(t.text)
}

func keyOf(key string) string { return scalar(tree{kind: kindText, text: key}) }

// quoted writes text in double quotes. What does not show is escaped.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// literal returns text of several lines as a literal block: its header and the lines. ok is false where one of the lines would need quotes.
func literal(t tree) (lines []string, ok bool) {
	if t.kind != kindText || !strings.Contains(t.text, "\n") {
		return nil, false
	}
	header, text := "|-", t.text
	if rest, ended := strings.CutSuffix(text, "\n"); ended {
		header, text = "|", rest
	}
	lines = strings.Split(text, "\n")
	for i, line := range lines {
		edge := i == 0 || i == len(lines)-1
		hidden := strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) })
		if hidden || strings.HasSuffix(line, " ") || edge && (line == "" || line[0] == ' ') {
			return nil, false
		}
	}
	return slices.Insert(lines, 0, header), true
}
