package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/registry"
	"github.com/theory/jsonpath/spec"

	"lastmile/internal/scenario"
)

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

// selectFirst returns the text of the first value that the path selects. The body is the target's, so whatever it brings the
// library to do is the target's failure and not the end of the probe.
func selectFirst(path *jsonpath.Path, document any) (text string, found bool, err error) {
	defer func() {
		if recover() != nil {
			text, found, err = "", false, errors.New("got a body on which the path cannot be evaluated")
		}
	}()
	nodes := path.Select(document)
	if len(nodes) == 0 {
		return "", false, nil
	}
	return scenario.JSONText(nodes[0]), true, nil
}

// newPathParser makes a parser of JSONPath (RFC 9535). The library's match and search panic on a value that is not there; the
// standard wants false (section 2.4.6).
func newPathParser() *jsonpath.Parser {
	functions := registry.New()
	for _, name := range []string{"match", "search"} {
		original := *functions.Get(name)
		*functions.Get(name) = *spec.Extension(name, original.ReturnType(), original.Validate, func(args []spec.PathValue) spec.PathValue {
			for _, arg := range args {
				if spec.ValueFrom(arg) == nil {
					return spec.LogicalFalse
				}
			}
			return original.Evaluate(args)
		})
	}
	return jsonpath.NewParser(jsonpath.WithRegistry(functions))
}
