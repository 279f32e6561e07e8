package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// maxJSONDepth bounds the nesting of a JSON file: what it holds must fit into a YAML file too, and there within maxDepth.
const maxJSONDepth = 24

// ReadJSON reads a JSON file into the values of encoding/json (map[string]any, []any, string, float64, bool, nil), within the bounds that
// YAML files have, and as strictly: a key twice in one object is an error, and so are a number and a text that Go and JavaScript cannot
// both hold. The value is nil where the file is not JSON.
func ReadJSON(name string, data []byte) (any, *Document) {
	r := &report{file: name}
	d := &Document{report: r, decoder: &decoder{report: r}}
	data, ok := jsonSource(r, data)
	if !ok {
		return nil, d
	}
	j := &jsonReader{decoder: d.decoder, data: data, tokens: json.NewDecoder(bytes.NewReader(data)), at: position{1, 1}}
	j.tokens.UseNumber()
	root, value := j.value(nil)
	if j.stopped {
		return nil, d
	}
	d.root = root
	d.decoder.structure(root, nil)
	return value, d
}

// jsonSource checks that the bytes are JSON text. A byte order mark is passed over.
func jsonSource(r *report, data []byte) ([]byte, bool) {
	if len(data) > MaxSize {
		r.add(position{1, 1}, nil, fmt.Sprintf("more than %d KiB", MaxSize>>10), fmt.Sprintf("at most %d KiB", MaxSize>>10))
		return nil, false
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	at, start := position{1, 1}, 0
	if valid := len(bytes.ToValidUTF8(data, nil)) == len(data); !valid {
		for c, size := utf8.DecodeRune(data[start:]); c != utf8.RuneError || size != 1; c, size = utf8.DecodeRune(data[start:]) {
			start += size
		}
		r.add(at.after(data[:start]), nil, "a byte that is not text", "UTF-8")
		return nil, false
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		end := len(data)
		if bad, ok := errors.AsType[*json.SyntaxError](err); ok && bad.Offset < int64(end) {
			end = int(bad.Offset) - 1
		}
		r.add(at.after(data[:min(max(end, 0), len(data))]), nil, "invalid JSON ("+err.Error()+")", "valid JSON")
		return nil, false
	}
	return data, true
}

// after is the place behind a text that begins here.
func (p position) after(text []byte) position {
	for len(text) > 0 {
		c, size := utf8.DecodeRune(text)
		p.column++
		if c == '\n' {
			p = position{p.line + 1, 1}
		}
		text = text[size:]
	}
	return p
}

// jsonReader turns valid JSON into the nodes that have positions, and into values.
type jsonReader struct {
	decoder *decoder
	data    []byte
	tokens  *json.Decoder
	offset  int      // of what is not read yet
	at      position // of offset
	count   int
	stopped bool // whether a bound was reached
}

// next reads one token: what it is, its text in the file, and where that begins.
func (j *jsonReader) next() (json.Token, string, position) {
	start := j.offset
	for start < len(j.data) && bytes.IndexByte([]byte(" \t\r\n,:"), j.data[start]) >= 0 {
		start++
	}
	at := j.at.after(j.data[j.offset:start])
	t, err := j.tokens.Token()
	if err != nil { // not of valid JSON
		j.stop(at, err.Error(), "valid JSON")
		return nil, "", at
	}
	end := int(j.tokens.InputOffset())
	raw := j.data[start:end]
	j.offset, j.at = end, at.after(raw)
	if j.count++; j.count > MaxTokens {
		j.stop(at, fmt.Sprintf("more than %d JSON tokens", MaxTokens), "a smaller file")
	}
	return t, string(raw), at
}

func (j *jsonReader) stop(at position, got, want string) {
	if !j.stopped {
		j.decoder.report.add(at, nil, got, want)
	}
	j.stopped = true
}

// value reads one value.
func (j *jsonReader) value(path []string) (ast.Node, any) {
	t, raw, at := j.next()
	place := &token.Position{Line: at.line, Column: at.column}
	if len(path) > maxJSONDepth {
		j.stop(at, fmt.Sprintf("more than %d levels of nesting", maxJSONDepth), "a flatter document")
	}
	if j.stopped {
		return ast.Null(token.New("null", "null", place)), nil
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return j.list(place, path)
		}
		return j.object(place, path)
	case string:
		node := ast.String(token.String(t, raw, place))
		j.checkText(node, raw, path)
		return node, t
	case json.Number:
		node := ast.Float(token.New(raw, raw, place))
		number, err := strconv.ParseFloat(raw, 64)
		if err != nil {
			j.decoder.fail(node, path, clip(raw), "a number that is not too large for JavaScript")
		}
		return node, number
	case bool:
		return ast.Bool(token.New(raw, raw, place)), t
	}
	return ast.Null(token.New(raw, raw, place)), nil
}

func (j *jsonReader) list(place *token.Position, path []string) (ast.Node, any) {
	node, values := ast.Sequence(token.New("[", "[", place), true), []any{}
	for j.tokens.More() && !j.stopped {
		item, value := j.value(child(path, strconv.Itoa(len(values))))
		node.Values, values = append(node.Values, item), append(values, value)
	}
	if !j.stopped {
		j.next()
	}
	return node, values
}

func (j *jsonReader) object(place *token.Position, path []string) (ast.Node, any) {
	node, values := ast.Mapping(token.New("{", "{", place), true), map[string]any{}
	for j.tokens.More() && !j.stopped {
		t, raw, at := j.next()
		name, _ := t.(string)
		key := ast.String(token.String(name, raw, &token.Position{Line: at.line, Column: at.column}))
		j.checkText(key, raw, path)
		item, value := j.value(child(path, name))
		node.Values = append(node.Values, ast.MappingValue(key.Token, key, item))
		values[name] = value
	}
	if !j.stopped {
		j.next()
	}
	return node, values
}

// checkText refuses half a surrogate pair, which JavaScript can hold and UTF-8 cannot.
func (j *jsonReader) checkText(node ast.Node, raw string, path []string) {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		switch unit := hexOf(raw[i+1:]); {
		case unit>>10 == 0xd800>>10 && i+6 < len(raw) && raw[i+5] == '\\' && raw[i+6] == 'u' && hexOf(raw[i+7:])>>10 == 0xdc00>>10:
			i += 10
		case unit>>11 == 0xd800>>11:
			j.decoder.fail(node, path, "half a surrogate pair ("+raw[i-1:i+5]+")", "text that is whole")
			return
		}
	}
}

// hexOf reads the four digits with which a text of valid JSON begins there.
func hexOf(text string) uint64 {
	unit, _ := strconv.ParseUint(text[:min(4, len(text))], 16, 16)
	return unit
}
