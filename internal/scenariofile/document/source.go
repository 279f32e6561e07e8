package document

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a file. The parser recurses for each level and for each key of a mapping, and copies its token list for each
// empty value, so that depth and number must be bounded before it runs. The largest scenario that is allowed (200 steps) has a
// tenth of MaxTokens.
const (
	MaxSize   = 1 << 20 // bytes
	MaxTokens = 30_000
	maxDepth  = 64 // each block level counts twice: once for its key, once for the colon
)

const wantDocument = "one YAML document"

// position is a place in a file; both numbers count from 1.
type position struct{ line, column int }

func positionOf(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}

// parseSource turns a file into its one document's root node. It returns nil after adding to the report.
func parseSource(r *report, data []byte) ast.Node {
	if len(data) > MaxSize {
		r.add(position{1, 1}, nil, fmt.Sprintf("more than %d KiB", MaxSize>>10), fmt.Sprintf("at most %d KiB", MaxSize>>10))
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, ok := invalidText(data); ok {
		r.add(at, nil, "a byte that is not text", "UTF-8 without control characters")
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if len(tokens) > MaxTokens {
		r.add(positionOf(tokens[MaxTokens]), nil, fmt.Sprintf("more than %d YAML tokens", MaxTokens), "a smaller file")
		return nil
	}
	if t := tooDeep(tokens); t != nil {
		r.add(positionOf(t), nil, "more than 30 levels of nesting", "a flatter document")
		return nil
	}
	file, err := parseTokens(tokens)
	if err != nil {
		r.add(syntaxError(err))
		return nil
	}
	return rootOf(r, file)
}

// invalidText finds the first byte that is not UTF-8, or a control character that YAML does not allow.
func invalidText(data []byte) (position, bool) {
	at := position{1, 1}
	for len(data) > 0 {
		c, size := utf8.DecodeRune(data)
		switch {
		case c == utf8.RuneError && size == 1, c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			return at, true
		case c == '\n':
			at = position{at.line + 1, 1}
		default:
			at.column++
		}
		data = data[size:]
	}
	return position{}, false
}

// tooDeep returns the first token that is nested deeper than maxDepth. It errs on the side of depth: in block style every token
// to the right of the ones before it counts as a level, in flow style every open bracket and every colon or tag since a comma.
func tooDeep(tokens token.Tokens) *token.Token {
	var columns []int
	flow, chain := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		}
		switch {
		case flow == 0:
			chain = 0
			for len(columns) > 0 && columns[len(columns)-1] >= t.Position.Column {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, t.Position.Column)
		case t.Type == token.CollectEntryType:
			chain = 0
		case t.Type != token.StringType:
			chain++
		}
		if len(columns)+flow > maxDepth || chain > 2*maxDepth {
			return t
		}
	}
	return nil
}

// parseTokens is the boundary to the YAML parser: a panic inside it on input that it does not expect is a syntax error here.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("parse YAML: %v", p)
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntaxError takes the parser's error apart into the arguments of report.add.
func syntaxError(err error) (at position, path []string, got, want string) {
	message := err.Error()
	if e, ok := err.(interface {
		GetToken() *token.Token
		GetMessage() string
	}); ok {
		at, message = positionOf(e.GetToken()), e.GetMessage()
	}
	if strings.Contains(message, "\t") {
		return at, nil, "a tab", "spaces: YAML has no tabs in its indentation"
	}
	return at, nil, "invalid YAML (" + message + ")", "valid YAML: the same indentation within a list or mapping, a colon and a space after each key, quotes around texts with @, # or ${...}"
}

func rootOf(r *report, file *ast.File) ast.Node {
	var root ast.Node
	for _, doc := range file.Docs {
		body := doc.Body
		if _, ok := body.(*ast.DirectiveNode); ok {
			r.add(positionOf(body.GetToken()), nil, "a YAML directive", wantDocument)
			return nil
		}
		if body == nil || body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			r.add(positionOf(first(body)), nil, "a second document", wantDocument)
			return nil
		}
		root = body
	}
	if root == nil {
		r.add(position{1, 1}, nil, "an empty file", wantDocument)
	}
	return root
}
