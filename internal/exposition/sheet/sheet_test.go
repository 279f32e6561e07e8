package sheet

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"
)

// TestBlocksAreWholeOrLeftOut writes blocks over many pieces of text, some of which do not fit, and reads back what was to stay.
func TestBlocksAreWholeOrLeftOut(t *testing.T) {
	s := New(10_000)
	for range 2 { // the second time in the memory of the first
		s.Reset()
		var want strings.Builder
		for i := range 3_000 {
			kind := strings.Repeat("x", i%200) + strconv.Itoa(i)
			length := 1 + i%7
			stays := s.Series()+length <= 10_000
			s.Block(func() {
				for n := range length {
					s.Int("lastmile_bus_rejected_total", s.Labels().With("kind", kind), int64(n))
					if stays {
						fmt.Fprintf(&want, "lastmile_bus_rejected_total{kind=\"%.128s\"} %d\n", kind, n)
					}
				}
			})
		}
		var got bytes.Buffer
		s.WritePrometheus(&got)
		text := got.String()
		if at := strings.Index(text, "\nlastmile_"); text[at+1:] != want.String() {
			t.Fatalf("got %d bytes of series, want the %d that fit", len(text)-at-1, want.Len())
		}
		if s.Series() != 10_000 || s.Dropped() == 0 {
			t.Errorf("got %d series and %d dropped, want 10000, and some", s.Series(), s.Dropped())
		}
	}
}

// TestALineOfAnyLength has labels that are longer than any of ours.
func TestALineOfAnyLength(t *testing.T) {
	s := New(100)
	l := s.Labels()
	for i := range 90 {
		l = l.With("l"+strconv.Itoa(i), strings.Repeat("\n", MaxLabelValue))
	}
	for range 3 {
		s.Float("lastmile_bus_rejected_total", l, 1.5)
	}
	var b bytes.Buffer
	s.WritePrometheus(&b)
	if n := strings.Count(b.String(), string(l)+"} 1.5\n"); n != 3 {
		t.Errorf("got %d of the 3 series whole", n)
	}
}

// FuzzLabelValue checks that any value can be read back, so that no target can break or forge a line.
func FuzzLabelValue(f *testing.F) {
	for _, seed := range []string{"", "eu", `a"b`, `a\`, "a\nb", "\xff\xfe", strings.Repeat("é", 100), "x\"} 1\nlastmile_probe_up 1", "{}=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s := New(10)
		s.Int("lastmile_bus_rejected_total", Labels(nil).With("kind", value), 7)
		var b bytes.Buffer
		s.WritePrometheus(&b)
		lines := strings.Split(b.String(), "\n")
		if len(lines) != 4 || lines[3] != "" || !utf8.ValidString(lines[2]) {
			t.Fatalf("got %q, want HELP, TYPE and one series", b.String())
		}
		if err := metrics.ValidateMetric("lastmile_step_failures_total{" + string(Labels(nil).With("step", value)) + "}"); err != nil {
			t.Fatalf("%q: the library would panic: %v", value, err)
		}
		text, ok := strings.CutPrefix(lines[2], `lastmile_bus_rejected_total{kind="`)
		rest, read := unquote(text)
		if !ok || rest != `} 7` || read != Clean(value) {
			t.Fatalf("got %q, want a line from which %q can be read back, not %q", lines[2], Clean(value), read)
		}
		if len(read) > MaxLabelValue*3 || (utf8.ValidString(value) && len(value) <= MaxLabelValue && read != value) {
			t.Fatalf("got %q of %q", read, value)
		}
	})
}

// unquote reads a label value as the text format's description says, and returns what comes after it.
func unquote(text string) (rest, value string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return text[i+1:], b.String()
		case text[i] == '\\' && i+1 < len(text):
			i++
			switch text[i] {
			case 'n':
				b.WriteByte('\n')
			case '\\', '"':
				b.WriteByte(text[i])
			default:
				return "", ""
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return "", ""
}
