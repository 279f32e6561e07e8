package httprunner

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/theory/jsonpath"

	"lastmile/internal/scenario"
)

// bodies reads and decodes response bodies within a limit. A body is valid until the next is read: the memory is used again.
type bodies struct {
	limit   int64
	wire    bytes.Buffer
	decoded bytes.Buffer
	gunzip  *gzip.Reader // nil until needed
}

// errCoding is a body in a content coding that we did not ask for. Who does not look into the body need not mind.
var errCoding = errors.New("want gzip or none")

// read takes a body off the wire.
func (b *bodies) read(from io.Reader) ([]byte, error) { return b.fill(&b.wire, from) }

// decode undoes the content coding of a body. The result has at most limit bytes whatever the input claims.
func (b *bodies) decode(coding string, wire []byte) ([]byte, error) {
	coding = strings.ToLower(strings.TrimSpace(coding))
	switch {
	case coding == "" || coding == "identity" || len(wire) == 0: // the answer to a HEAD has a coding and no body
		return wire, nil
	case coding != "gzip" && coding != "x-gzip":
		return nil, fmt.Errorf("content-encoding: got %q, %w", clip(coding, maxValue), errCoding)
	}
	if b.gunzip == nil {
		b.gunzip = new(gzip.Reader)
	}
	err := b.gunzip.Reset(bytes.NewReader(wire))
	var out []byte
	if err == nil {
		out, err = b.fill(&b.decoded, b.gunzip)
	}
	if err != nil {
		return nil, fmt.Errorf("decode gzip: %w", err)
	}
	return out, nil
}

// fill reads all of from, up to the limit, into the emptied buffer.
func (b *bodies) fill(into *bytes.Buffer, from io.Reader) ([]byte, error) {
	into.Reset()
	_, err := into.ReadFrom(io.LimitReader(from, b.limit+1))
	if err == nil && int64(into.Len()) > b.limit {
		err = fmt.Errorf("body over limit: got more than %s", scenario.Bytes(b.limit))
	}
	return into.Bytes(), err
}

// maxDepth bounds the nesting of a JSON body: JSONPath's descendant segments cost size times depth.
const maxDepth = 200

// parseJSON decodes a JSON body, numbers as they were written.
func parseJSON(body []byte) (any, error) {
	if depth := nesting(body); depth > maxDepth {
		return nil, fmt.Errorf("got values nested %d deep, want at most %d", depth, maxDepth)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("parse body: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse body: got more after the first value")
	}
	return document, nil
}

// nesting is how deep the objects and arrays of a JSON text lie in one another.
func nesting(body []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// selectFirst returns the text of the first value that the path selects.
func selectFirst(path *jsonpath.Path, document any) (text string, found bool) {
	nodes := path.Select(document)
	if len(nodes) == 0 {
		return "", false
	}
	return scenario.JSONText(nodes[0]), true
}
