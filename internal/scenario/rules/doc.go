// Package rules says what is wrong with a decoded scenario: whether all that it asks for exists, is possible, and makes sense together.
// It is pure.
package rules
