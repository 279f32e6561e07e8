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

// overLimitError is a body larger than the limit, in bytes.
type overLimitError struct{ limit int64 }

// Error implements error.
func (e *overLimitError) Error() string {
	return fmt.Sprintf("body over limit: got more than %s", scenario.Bytes(e.limit))
}

// codingError is a body in a content coding that we did not ask for. Who does not look into the body need not mind.
type codingError struct{ coding string }

// Error implements error.
func (e *codingError) Error() string {
	return fmt.Sprintf("content-encoding: got %q, want gzip or none", clip(e.coding, maxValue))
}

// read takes a body off the wire.
func (b *bodies) read(from io.Reader) ([]byte, error) {
	return fillUpTo(&b.wire, from, b.limit)
}

// decode undoes the content coding of a body. The result has at most limit bytes whatever the input claims.
func (b *bodies) decode(coding string, wire []byte) ([]byte, error) {
	coding = strings.ToLower(strings.TrimSpace(coding))
	switch {
	case coding == "" || coding == "identity" || len(wire) == 0: // the answer to a HEAD has a coding and no body
		return wire, nil
	case coding != "gzip" && coding != "x-gzip":
		return nil, &codingError{coding: coding}
	}
	if b.gunzip == nil {
		b.gunzip = new(gzip.Reader)
	}
	if err := b.gunzip.Reset(bytes.NewReader(wire)); err != nil {
		return nil, fmt.Errorf("decode gzip body: %w", err)
	}
	out, err := fillUpTo(&b.decoded, b.gunzip, b.limit)
	var over *overLimitError
	if err != nil && !errors.As(err, &over) {
		return nil, fmt.Errorf("decode gzip body: %w", err)
	}
	return out, err
}

// fillUpTo reads all of from into the emptied buffer, or an *overLimitError.
func fillUpTo(into *bytes.Buffer, from io.Reader, limit int64) ([]byte, error) {
	into.Reset()
	_, err := into.ReadFrom(io.LimitReader(from, limit+1))
	if err == nil && int64(into.Len()) > limit {
		err = &overLimitError{limit: limit}
	}
	return into.Bytes(), err
}

// maxDepth bounds the nesting of a JSON body: JSONPath's descendant segments cost size times depth.
const maxDepth = 200

// parseJSON decodes a JSON body, numbers as they were written.
func parseJSON(body []byte) (any, error) {
	if depth := nesting(body); depth > maxDepth {
		return nil, fmt.Errorf("parse json body: got values nested %d deep, want at most %d", depth, maxDepth)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("parse json body: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("parse json body: got more after the first value")
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
