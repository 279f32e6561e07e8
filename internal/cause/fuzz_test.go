package cause

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"lastmile/internal/answer"
)

func FuzzDetail(f *testing.F) {
	f.Add(`net/http: malformed HTTP response "token"`, 20)
	f.Add("malformed MIME header: missing colon: \"Set-Cookie token\"", 300)
	f.Add("malformed MIME header line: Set-Cookie\ntoken", 10)
	f.Add(`open quote "token`, 5)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 4 || limit > 1000 {
			return
		}
		got := answer.Clip(scrub(errors.New(text)), limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.Contains(got, `"`) {
			t.Errorf("got %q, want at most %d bytes of text without quotations", got, limit)
		}
	})
}
