// Package predicate compiles what a scenario says of an answer in languages of their own, expressions (expr-lang) and JSON Schemas, and
// bounds what they cost: neither what a scenario's author wrote nor what a server sent makes them run on or fill the memory. The bounds
// are counts, so that the same answer has the same verdict on any machine.
package predicate

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// ErrCost is the error of an expression or a schema that took more work than it may.
var ErrCost = errors.New("got more work than an answer may take, want a smaller answer or a simpler check")

// The bounds of the work on one answer.
const (
	maxTurns  = 5_000_000 // of an expression's loops, at some tenths of a microsecond each
	maxChecks = 1_000_000 // of a value against a part of a schema, at some microseconds each
)

// The bytes of a string that count as one turn of a loop.
const (
	bytesCopied  = 32
	bytesMatched = 8 // against a regular expression
)

// work is what may still be done. Spending more panics with ErrCost.
type work struct {
	left int
	deep int // how deep in a value walk is
}

// maxDeep bounds how deep arrays and objects that an expression makes may lie in one another: whoever writes them down calls himself for
// each.
const maxDeep = 1000

func (w *work) spend(units int) {
	w.left -= units
	if w.left < 0 {
		panic(ErrCost)
	}
}

// walk spends what looking at the whole of a value takes.
func (w *work) walk(value any) {
	if w.deep++; w.deep > maxDeep {
		panic(ErrCost)
	}
	defer func() { w.deep-- }()
	switch v := value.(type) {
	case nil:
	case string:
		w.spend(len(v)/bytesCopied + 1)
	case []any:
		w.spend(len(v) + 1)
		for _, item := range v {
			w.walk(item)
		}
	case map[string]any:
		w.spend(len(v) + 1)
		for key, item := range v {
			w.walk(key)
			w.walk(item)
		}
	default:
		w.spend(1)
		w.others(reflect.ValueOf(value))
	}
}

// others is walk for the types that JSON has not.
func (w *work) others(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() <= reflect.Float64 { // of booleans and numbers
			w.spend(v.Len())
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i).Interface())
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			w.walk(key.Interface())
			w.walk(v.MapIndex(key).Interface())
		}
	}
}

// depth is how deep the arrays and objects of a decoded JSON value lie in one another.
func depth(value any) (deepest int) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			deepest = max(deepest, depth(item))
		}
	case map[string]any:
		for _, item := range v {
			deepest = max(deepest, depth(item))
		}
	default:
		return 0
	}
	return deepest + 1
}

// The bounds of numbers, beyond which exact arithmetic would take any amount of memory.
const (
	maxDigits   = 400
	maxExponent = 400
)

// numbers reports a number in a decoded JSON value that is beyond the bounds.
func numbers(value any) error {
	switch v := value.(type) {
	case json.Number:
		text := string(v)
		if len(text) > maxDigits {
			return fmt.Errorf("got a number of %d digits, want at most %d", len(text), maxDigits)
		}
		if at := strings.IndexAny(text, "eE"); at >= 0 {
			if exponent, err := strconv.Atoi(text[at+1:]); err != nil || exponent > maxExponent || exponent < -maxExponent {
				return fmt.Errorf("got a number with the exponent %.20s, want -%d to %d", text[at+1:], maxExponent, maxExponent)
			}
		}
	case []any:
		for _, item := range v {
			if err := numbers(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := numbers(item); err != nil {
				return err
			}
		}
	}
	return nil
}
