// Package floors keeps the house rules of this repository as tests, and holds nothing else: imports point
// down, each third-party module has one owner, the pure packages touch neither clock nor world, sizes stay
// readable, and ARCHITECTURE.md names what is really there.
//
// The drawing of the house is the table in house_test.go. A package or a module that is not in it fails the
// test, and so does a line of the table that nothing needs any more, so the drawing cannot rot.
package floors
