package document

import (
	"encoding"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"lastmile/internal/scenario"
)

// decoder fills Go values from a document by their json tags and goes on after an error, so that one pass finds them all.
type decoder struct {
	report *report
	failed [][]string // the paths whose values are not what the file meant
}

func (d *decoder) fail(n ast.Node, path []string, got, want string) {
	d.report.add(positionOf(first(n)), path, got, want)
	d.failed = append(d.failed, path)
}

// MaxErrors bounds how many errors of one file are worth looking for.
const MaxErrors = 500

func (d *decoder) enough() bool { return len(d.report.errors) >= MaxErrors }

// isUnder reports whether a path is another one or leads to a place inside it.
func isUnder(path, other []string) bool {
	return len(path) >= len(other) && slices.Equal(path[:len(other)], other)
}

// child returns path with one more element, without touching path's own array.
func child(path []string, key string) []string { return append(slices.Clone(path), key) }

// structure refuses what no scenario may have wherever it stands: anchors and aliases (with them a small file could stand for a
// huge one), tags, merge keys, keys that are not text, and a key twice in one mapping.
func (d *decoder) structure(n ast.Node, path []string) {
	const want = "the value itself, written out"
	if d.enough() {
		return
	}
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.fail(n, path, "an anchor (&)", want)
	case *ast.AliasNode:
		d.fail(n, path, "an alias (*)", want)
		return
	case *ast.TagNode:
		d.fail(n, path, "a tag ("+clip(n.GetToken().Value)+")", "the value without a tag")
	}
	n = bare(n)
	for i, item := range items(n) {
		d.structure(item, child(path, strconv.Itoa(i)))
	}
	lines := map[string]int{}
	for _, pair := range entries(n) {
		key, ok := keyText(pair.Key)
		if !ok {
			d.fail(pair.Key, path, "the key "+clip(pair.Key.GetToken().Value), "a key of plain text; merge keys (<<) are not supported")
			continue
		}
		if line, twice := lines[key]; twice {
			d.report.add(positionOf(pair.Key.GetToken()), child(path, key), "the key again, after line "+strconv.Itoa(line), "each key once")
			continue
		}
		lines[key] = positionOf(pair.Key.GetToken()).line
		d.structure(pair.Value, child(path, key))
	}
}

// decode fills v from n. What structure has refused is passed over in silence.
func (d *decoder) decode(n ast.Node, v reflect.Value, path []string) {
	n = bare(n)
	if _, alias := n.(*ast.AliasNode); alias || n == nil || d.enough() {
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch target := v.Addr().Interface().(type) {
	case json.Unmarshaler:
		if slices.ContainsFunc(d.failed, func(f []string) bool { return isUnder(f, path) }) {
			return
		}
		body, err := json.Marshal(jsonValue(n))
		if err == nil {
			err = target.UnmarshalJSON(body)
		}
		d.customError(n, path, err)
		return
	case encoding.TextUnmarshaler:
		d.text(n, target, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structs(n, v, path)
	case reflect.Map:
		d.maps(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Interface:
		d.anything(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// text decodes a type with a text form. Where there is no scalar, the type's own error for no text says what is wanted.
func (d *decoder) text(n ast.Node, target encoding.TextUnmarshaler, path []string) {
	switch kindOf(n) {
	case kindMapping, kindList, kindNull, kindRefused:
		_, want := gotWant(target.UnmarshalText(nil))
		d.fail(n, path, describe(n), want)
	default:
		d.customError(n, path, target.UnmarshalText([]byte(scalarText(n))))
	}
}

func (d *decoder) customError(n ast.Node, path []string, err error) {
	if err != nil {
		got, want := gotWant(err)
		d.fail(n, path, got, want)
	}
}

// gotWant takes an error of a value apart: a *scenario.ValueError, or one whose text says "got ..., want ...", as errors of the
// packages below do.
func gotWant(err error) (got, want string) {
	if err == nil {
		return "nothing", "a value"
	}
	if bad, ok := errors.AsType[*scenario.ValueError](err); ok {
		return bad.Got, bad.Want
	}
	_, rest, ok := strings.Cut(err.Error(), "got ")
	if i := strings.LastIndex(rest, ", want "); ok && i >= 0 {
		return rest[:i], rest[i+len(", want "):]
	}
	return err.Error(), "another value"
}

// Field is one key of a struct.
type Field struct {
	Key   string
	Index int // in the struct
}

// Fields lists the keys of a struct type by its json tags, in its order.
func Fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if key != "" && key != "-" {
			out = append(out, Field{key, i})
		}
	}
	return out
}

func (d *decoder) structs(n ast.Node, v reflect.Value, path []string) {
	if kindOf(n) != kindMapping {
		d.fail(n, path, describe(n), "a mapping")
		return
	}
	fields := Fields(v.Type())
	seen := map[string]bool{}
	for _, pair := range entries(n) {
		key, ok := keyText(pair.Key)
		if !ok || seen[key] {
			continue
		}
		seen[key] = true
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Key == key })
		if i < 0 {
			d.unknown(pair, fields, n, path)
			continue
		}
		d.decode(pair.Value, v.Field(fields[i].Index), child(path, key))
	}
}

// unknown reports a key that the struct does not have. The key that was probably meant counts as failed: that it is absent is
// no news.
func (d *decoder) unknown(pair *ast.MappingValueNode, fields []Field, n ast.Node, path []string) {
	key, _ := keyText(pair.Key)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Key
	}
	if len(path) == 2 && path[0] == "steps" {
		names = stepKeys(n, names)
	}
	want := "one of " + strings.Join(names, ", ")
	if meant := Closest(key, names); meant != "" {
		want = DidYouMean(meant)
		d.failed = append(d.failed, child(path, meant))
	}
	d.report.add(positionOf(pair.Key.GetToken()), child(path, key), "an unknown key", want)
}

// stepKeys narrows the keys of a step to those of its type, where the type is known.
func stepKeys(n ast.Node, all []string) []string {
	_, value := step(n, "type")
	if value == nil {
		return all
	}
	keys, _, ok := scenario.StepKeys(scenario.StepType(scalarText(bare(value))))
	if !ok {
		return all
	}
	return append(scenario.CommonKeys(), keys...)
}

func (d *decoder) maps(n ast.Node, v reflect.Value, path []string) {
	if kindOf(n) != kindMapping {
		d.fail(n, path, describe(n), "a mapping")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, pair := range entries(n) {
		key, ok := keyText(pair.Key)
		name := reflect.ValueOf(key).Convert(v.Type().Key())
		if !ok || v.MapIndex(name).IsValid() {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if item.Kind() != reflect.Interface || kindOf(bare(pair.Value)) != kindNull { // of plain JSON, null is a value too
			d.decode(pair.Value, item, child(path, key))
		}
		v.SetMapIndex(name, item) // also a failed one: that the name exists is known
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, path []string) {
	if kindOf(n) != kindList {
		d.fail(n, path, describe(n), "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items(n)), len(items(n))))
	for i, item := range items(n) {
		d.decode(item, v.Index(i), child(path, strconv.Itoa(i)))
	}
}

// maxExact is the largest whole number up to which every whole number has its own float64, which is what JSON readers use.
const maxExact = 1 << 53

// anything decodes plain JSON: what the run will send must be what the author wrote.
func (d *decoder) anything(n ast.Node, v reflect.Value, path []string) {
	if kindOf(n) == kindNull {
		d.fail(n, path, describe(n), "a JSON value other than null")
		return
	}
	if !d.plain(n, path) {
		return
	}
	body, err := json.Marshal(jsonValue(n))
	if err == nil {
		err = json.Unmarshal(body, v.Addr().Interface())
	}
	d.customError(n, path, err)
}

// plain reports whether n has an exact JSON form, and every place where it has none.
func (d *decoder) plain(n ast.Node, path []string) bool {
	n = bare(n)
	ok := true
	for i, item := range items(n) {
		ok = d.plain(item, child(path, strconv.Itoa(i))) && ok
	}
	for _, pair := range entries(n) {
		key, _ := keyText(pair.Key)
		ok = d.plain(pair.Value, child(path, key)) && ok
	}
	switch kindOf(n) {
	case kindRefused:
		if _, alias := n.(*ast.AliasNode); !alias {
			d.fail(n, path, describe(n), "a value that JSON has")
		}
		return false
	case kindNumber:
		f, err := strconv.ParseFloat(scalarText(n), 64)
		if _, whole := n.(*ast.IntegerNode); err != nil || !isJSONNumber(scalarText(n)) || whole && (f > maxExact || f < -maxExact) {
			d.fail(n, path, describe(n), "a decimal number of at most 2^53, or text in quotes")
			return false
		}
	}
	return ok
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path []string) {
	k, text := kindOf(n), ""
	if k != kindMapping && k != kindList {
		text = scalarText(n)
	}
	want, ok := "", false
	switch v.Kind() {
	case reflect.String:
		want, ok = "text", k == kindText
		if k == kindNumber || k == kindBool {
			want = "text: put it in quotes"
		}
		if ok {
			v.SetString(text)
		}
	case reflect.Bool:
		want, ok = "true or false", k == kindBool
		v.SetBool(boolOf(n))
	case reflect.Int:
		i, err := strconv.ParseInt(text, 10, 32) // 32 bits: as many as every machine's int has
		want, ok = "a whole number", k == kindNumber && err == nil && isJSONNumber(text)
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		want, ok = "a number", k == kindNumber && err == nil && isJSONNumber(text)
		v.SetFloat(f)
	}
	if !ok {
		v.SetZero()
		d.fail(n, path, describe(n), want)
	}
}
