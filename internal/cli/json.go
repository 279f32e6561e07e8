package cli

import (
	"encoding/json"
	"io"
)

// PrintJSON writes a value for programs and for people: indented, and without escapes that only web pages need.
func PrintJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
