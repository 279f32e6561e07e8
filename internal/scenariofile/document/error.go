package document

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is one thing wrong with one file. Line and Column count from 1, Column in characters.
type Error struct {
	File         string
	Line, Column int
	Path         string // where in the document, such as steps[2].selectors; "" = the document as a whole
	Got, Want    string
}

// Error prints file:line:column first, as compilers do, so that editors can jump there.
func (e *Error) Error() string {
	path := ""
	if e.Path != "" {
		path = e.Path + ": "
	}
	return fmt.Sprintf("%s:%d:%d: %sgot %s, want %s", e.File, e.Line, e.Column, path, e.Got, e.Want)
}

// All collects every *Error inside err, in the order in which they print.
func All(err error) []*Error {
	var one *Error
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Error
		for _, e := range many.Unwrap() {
			out = append(out, All(e)...)
		}
		return out
	}
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// report collects the errors of one file.
type report struct {
	file   string
	errors []*Error
}

// maxShown bounds in bytes how much of a file's own text an error repeats, maxWant what it says is wanted: that lists names, most of them ours.
const (
	maxShown = 200
	maxWant  = 2 * maxShown
)

func (r *report) add(at position, path []string, got, want string) {
	r.errors = append(r.errors, &Error{
		File: r.file, Line: max(at.line, 1), Column: max(at.column, 1),
		Path: printPath(path), Got: clip(got), Want: clipTo(want, maxWant),
	})
}

// joined returns the errors in the order of their positions, nil where there are none.
func (r *report) joined() error {
	slices.SortStableFunc(r.errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all := make([]error, len(r.errors))
	for i, e := range r.errors {
		all[i] = e
	}
	return errors.Join(all...)
}

// clip shortens text to maxShown bytes.
func clip(text string) string { return clipTo(text, maxShown) }

// clipTo shortens text to so many bytes without cutting a character in two.
func clipTo(text string, end int) string {
	if len(text) <= end {
		return text
	}
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// quote shows text from a file on one line.
func quote(text string) string { return strconv.Quote(clip(text)) }

var (
	plainKey  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	listIndex = regexp.MustCompile(`^[0-9]{1,9}$`)
)

// printPath writes a path the way people do: steps[2].headers["X Y"].
func printPath(path []string) string {
	var b strings.Builder
	for i, key := range path {
		switch {
		case listIndex.MatchString(key):
			b.WriteString("[" + key + "]")
		case !plainKey.MatchString(key):
			b.WriteString("[" + quote(key) + "]")
		case i > 0:
			b.WriteString("." + clip(key))
		default:
			b.WriteString(clip(key))
		}
	}
	return b.String()
}
