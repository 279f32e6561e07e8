package predicate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is a compiled JSON Schema. It is safe for concurrent use; answers are held against it one at a time.
type Schema struct {
	mu   sync.Mutex
	root *jsonschema.Schema
	work *work // of the answer under judgement
	each int   // the least that looking at one of its values costs: a complaint repeats the way to it
}

// NewSchema compiles a JSON Schema (draft 2020-12 where it names none), which must need no other file. Dynamic references are refused: what
// they lead to is only known while an answer is looked at.
func NewSchema(schema any) (*Schema, error) {
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if err := numbers(document); err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noFiles{})
	const here = "lastmile:///schema" // a base that others are resolved against, and are found to be other files
	if err := compiler.AddResource(here, document); err != nil {
		return nil, err
	}
	root, err := compiler.Compile(here)
	if err != nil {
		lines := strings.Split(err.Error(), "\n")
		return nil, errors.New(strings.TrimLeft(lines[len(lines)-1], " -"))
	}
	s := &Schema{root: root, work: &work{}}
	return s, s.count(reflect.ValueOf(root), map[*jsonschema.Schema]bool{})
}

// noFiles refuses whatever a schema refers to outside of itself.
type noFiles struct{}

// Load implements jsonschema.URLLoader.
func (noFiles) Load(url string) (any, error) { return nil, errors.New("a reference to " + url) }

// count makes every part of the schema spend work on what it looks at. A format is the first thing that a part looks at before it goes
// on to the parts of the value, so that is where the counter stands.
func (s *Schema) count(v reflect.Value, seen map[*jsonschema.Schema]bool) error {
	switch v.Kind() {
	case reflect.Interface:
		return s.count(v.Elem(), seen)
	case reflect.Slice:
		if v.Type().Elem() != reflect.TypeFor[*jsonschema.Schema]() {
			return nil
		}
		for i := range v.Len() {
			if err := s.count(v.Index(i), seen); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if err := s.count(v.MapIndex(key), seen); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		part, ok := v.Interface().(*jsonschema.Schema)
		if !ok || part == nil || seen[part] {
			return nil
		}
		seen[part] = true
		if part.DynamicRef != nil || part.RecursiveRef != nil {
			return errors.New("got a dynamic reference, want $ref")
		}
		part.Format = s.counted(part.Format)
		for i := range v.Elem().NumField() {
			if field := v.Elem().Field(i); v.Elem().Type().Field(i).IsExported() {
				if err := s.count(field, seen); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// counted is a format that spends work.
func (s *Schema) counted(f *jsonschema.Format) *jsonschema.Format {
	out := jsonschema.Format{Name: "anything", Validate: func(any) error { return nil }}
	if f != nil {
		out = *f
	}
	check := out.Validate
	out.Validate = func(value any) error {
		units := s.each
		switch v := value.(type) {
		case string:
			units += len(v) / bytesMatched
		case []any:
			units += len(v)
		case map[string]any:
			for key := range v {
				units += 1 + len(key)/bytesMatched
			}
		}
		s.work.spend(units)
		return check(value)
	}
	return &out
}

// Check reports why a value, decoded with its numbers as json.Number, does not satisfy the schema: where, and what. The text may quote the
// value. A value that cannot be checked is ErrCost or says which number it is.
func (s *Schema) Check(value any) (complaint string, err error) { return s.check(value, maxChecks) }

func (s *Schema) check(value any, checks int) (complaint string, err error) {
	if err := numbers(value); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work.left, s.each = checks, 1+depth(value)/8
	defer func() {
		if r := recover(); r != nil {
			complaint, err = "", ErrCost
			if r != any(ErrCost) {
				err = fmt.Errorf("got a value on which the schema cannot be evaluated")
			}
		}
	}()
	var invalid *jsonschema.ValidationError
	if err := s.root.Validate(value); !errors.As(err, &invalid) {
		return "", err
	}
	var first *jsonschema.ValidationError
	for leaf := range leaves(invalid) {
		if first == nil || before(leaf, first) {
			first = leaf
		}
	}
	alone := *first
	alone.Causes = nil
	text := alone.Error()
	if len(alone.InstanceLocation) == 0 {
		text = strings.TrimPrefix(text, "at '': ")
	}
	return text, nil
}

// leaves lists the complaints that have no others beneath. Those about a choice are not looked into: none of the alternatives is the one
// that was meant.
func leaves(e *jsonschema.ValidationError) func(yield func(*jsonschema.ValidationError) bool) {
	return func(yield func(*jsonschema.ValidationError) bool) { visit(e, yield) }
}

func visit(e *jsonschema.ValidationError, yield func(*jsonschema.ValidationError) bool) bool {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
		return yield(e)
	}
	if len(e.Causes) == 0 {
		return yield(e)
	}
	for _, c := range e.Causes {
		if !visit(c, yield) {
			return false
		}
	}
	return true
}

// before orders complaints by where they are, numbers by their size: the library gives those of an object in any order.
func before(a, b *jsonschema.ValidationError) bool {
	place := func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) }
	order := slices.CompareFunc(a.InstanceLocation, b.InstanceLocation, place)
	return cmp.Or(order, cmp.Compare(reflect.TypeOf(a.ErrorKind).String(), reflect.TypeOf(b.ErrorKind).String())) < 0
}
