// Package document reads one YAML file strictly into Go values: every error at once, each with its file, line, column, path, got and
// want. It goes on after an error, and remembers which values could not be decoded, so that who judges the result says nothing that
// only follows from them.
//
// Files are untrusted input: their size, their number of tokens and their depth are bounded, anchors and aliases are refused,
// and nothing in them makes the package panic.
package document
