package document

import (
	"reflect"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Document is one file that has been read, and all that is wrong with it so far. It is not safe for concurrent use.
type Document struct {
	report  *report
	decoder *decoder
	root    ast.Node // nil where the file is not YAML
}

// Read decodes a file into a pointer to a struct, or to an interface, by its json tags. name is the file's name for the errors. What
// could not be decoded is zero.
func Read(name string, data []byte, into any) *Document {
	r := &report{file: name}
	d := &Document{report: r, decoder: &decoder{report: r}, root: parseSource(r, data)}
	if d.root != nil {
		d.decoder.structure(d.root, nil)
		d.decoder.decode(d.root, reflect.ValueOf(into).Elem(), nil)
	}
	return d
}

// Err returns all that is wrong, in the order of the file: All gives each as an *Error. It is nil where nothing is.
func (d *Document) Err() error { return d.report.joined() }

// Mapping reports whether the file is YAML with a mapping at its top: whether there is anything to judge.
func (d *Document) Mapping() bool { return d.root != nil && kindOf(bare(d.root)) == kindMapping }

// Failed reports whether the value at path, or one around it, could not be decoded.
func (d *Document) Failed(path ...string) bool {
	return slices.ContainsFunc(d.decoder.failed, func(failed []string) bool { return isUnder(path, failed) })
}

// Explained reports whether a value that could not be decoded is the reason for a problem at path: the problem is at it or inside
// it, or with the mapping in which it stands.
func (d *Document) Explained(path ...string) bool {
	return d.Failed(path...) || slices.ContainsFunc(d.decoder.failed, func(failed []string) bool {
		return len(failed) == len(path)+1 && isUnder(failed, path)
	})
}

// Problem adds that something is wrong with the value at path, or with its absence. Of a value that could not be decoded there is an
// error already, and one is enough; so are MaxErrors of all.
func (d *Document) Problem(got, want string, path ...string) {
	if !d.decoder.enough() && !d.Failed(path...) {
		d.report.add(locate(d.root, path), path, got, want)
	}
}

// Refuse adds that what stands at path is not what was wanted there, and remembers it as something that could not be decoded. A
// file that could not be read at all has its error already.
func (d *Document) Refuse(want string, path ...string) {
	if d.root == nil || d.decoder.enough() || d.Failed(path...) {
		return
	}
	got, node := "nothing", d.root
	for _, key := range path {
		if _, node = step(bare(node), key); node == nil {
			break
		}
	}
	if node != nil {
		got = describe(bare(node))
	}
	d.report.add(locate(d.root, path), path, got, want)
	d.decoder.failed = append(d.decoder.failed, path)
}

// KeyProblem adds that something is wrong with the key at which a value stands. It does not matter whether the value is right.
func (d *Document) KeyProblem(got, want string, path ...string) {
	if d.decoder.enough() {
		return
	}
	at, node := locate(d.root, path), d.root
	for _, key := range path {
		entry, value := step(bare(node), key)
		if value == nil {
			break
		}
		node = value
		if entry != nil {
			at = positionOf(entry)
		}
	}
	d.report.add(at, path, got, want)
}

// Line returns the line of the value at path, or of the deepest part of it that exists; 1 where the file is not YAML.
func (d *Document) Line(path ...string) int {
	if d.root == nil {
		return 1
	}
	return locate(d.root, path).line
}

// Keys lists the keys of the mapping at path, each once, in the order of the file.
func (d *Document) Keys(path ...string) []string {
	node := d.root
	for _, key := range path {
		_, node = step(bare(node), key)
	}
	var keys []string
	for _, pair := range entries(bare(node)) {
		if key, ok := keyText(pair.Key); ok && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}
