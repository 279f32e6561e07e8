package document

import (
	"encoding/json"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// kind sorts nodes by what they can be decoded into.
type kind int

const (
	kindMapping kind = iota
	kindList
	kindText
	kindNumber
	kindBool
	kindNull
	kindRefused // aliases, infinities and what else a scenario cannot have
)

func kindOf(n ast.Node) kind {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return kindMapping
	case *ast.SequenceNode:
		return kindList
	case *ast.StringNode, *ast.LiteralNode:
		return kindText
	case *ast.IntegerNode, *ast.FloatNode:
		return kindNumber
	case *ast.BoolNode:
		return kindBool
	case *ast.NullNode:
		return kindNull
	}
	return kindRefused
}

// bare strips the anchors and tags from a node, so that what is under them is checked as well although they are refused.
func bare(n ast.Node) ast.Node {
	for range maxDepth {
		var inner ast.Node
		switch n := n.(type) {
		case *ast.AnchorNode:
			inner = n.Value
		case *ast.TagNode:
			inner = n.Value
		}
		if inner == nil {
			break
		}
		n = inner
	}
	return n
}

// entries lists the pairs of a mapping.
func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// items lists the elements of a list.
func items(n ast.Node) []ast.Node {
	if list, ok := n.(*ast.SequenceNode); ok {
		return list.Values
	}
	return nil
}

// first returns the token with which a node begins.
func first(n ast.Node) *token.Token {
	if flow, ok := n.(*ast.MappingNode); ok && flow.IsFlowStyle {
		return flow.Start
	}
	if pairs := entries(n); len(pairs) > 0 {
		return pairs[0].Key.GetToken()
	}
	return n.GetToken()
}

// scalarText is the text of a scalar: what quotes and blocks hold, and what is written where there are none.
func scalarText(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	return n.GetToken().Value
}

// keyText is the text of a key; ok is false for keys that are not plain scalars.
func keyText(key ast.Node) (text string, ok bool) {
	switch kindOf(key) {
	case kindText, kindNumber, kindBool:
		return scalarText(key), true
	}
	return "", false
}

// describe names a node in an error.
func describe(n ast.Node) string {
	switch kindOf(n) {
	case kindMapping:
		return "a mapping"
	case kindList:
		return "a list"
	case kindText:
		return quote(scalarText(n))
	case kindNull:
		return "nothing"
	}
	return clip(n.GetToken().Value)
}

// locate returns where in the document a path leads, or where the deepest part of it that exists is. A value on its key's line
// is found at itself, any other at its key.
func locate(root ast.Node, path []string) position {
	at, node := positionOf(first(root)), bare(root)
	for _, key := range path {
		entry, value := step(node, key)
		if value == nil {
			break
		}
		at, node = positionOf(first(value)), bare(value)
		if entry != nil && (positionOf(entry).line != at.line || kindOf(node) == kindNull) {
			at = positionOf(entry)
		}
	}
	return at
}

// step follows one element of a path; value is nil where the node has none.
func step(node ast.Node, key string) (entry *token.Token, value ast.Node) {
	for _, pair := range entries(node) {
		if text, ok := keyText(pair.Key); ok && text == key {
			return pair.Key.GetToken(), pair.Value
		}
	}
	list := items(node)
	if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(list) {
		return nil, list[i]
	}
	return nil, nil
}

// isJSONNumber reports whether a number is written as JSON writes it. YAML's other forms (0x1f, 1_000, 010) are refused where a
// number is wanted, as readers disagree about them.
func isJSONNumber(text string) bool { return json.Valid([]byte(text)) }

// jsonValue is the JSON value of a node. A number that JSON cannot write keeps its text as a string, so that a post code like
// 01067 stays what its author wrote.
func jsonValue(n ast.Node) any {
	n = bare(n)
	switch kindOf(n) {
	case kindMapping:
		out := map[string]any{}
		for _, pair := range entries(n) {
			if text, ok := keyText(pair.Key); ok {
				out[text] = jsonValue(pair.Value)
			}
		}
		return out
	case kindList:
		out := make([]any, 0, len(items(n)))
		for _, item := range items(n) {
			out = append(out, jsonValue(item))
		}
		return out
	case kindNumber:
		if text := scalarText(n); isJSONNumber(text) {
			return json.Number(text)
		}
	case kindBool:
		return boolOf(n)
	case kindNull:
		return nil
	}
	return scalarText(n)
}

func boolOf(n ast.Node) bool {
	b, ok := n.(*ast.BoolNode)
	return ok && b.Value
}
