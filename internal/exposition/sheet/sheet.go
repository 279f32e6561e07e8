// Package sheet writes the series of one scrape in the text exposition format, under HELP and TYPE from the catalogue, and no more of them
// than its limit.
package sheet

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"

	"lastmile/internal/exposition/catalogue"
)

// Sheet collects the series of one scrape by metric, so that each metric is written in one piece under its HELP and TYPE
// whatever the order in which its series came. It belongs to one goroutine.
type Sheet struct {
	families []family // in the order of the catalogue
	index    map[string]int
	marks    []mark // where the families stood before the block that is being written
	labels   Labels
	taken    bytes.Buffer
	series   int
	limit    int // of series; blocks that would exceed it are left out
	dropped  int
}

// Labels are empty ones to begin with. They share memory with those of an earlier call, which are no longer to be used.
func (s *Sheet) Labels() Labels { return s.labels[:0] }

// Series is the number of series so far, without those of Process.
func (s *Sheet) Series() int { return s.series }

// Dropped is the number of series that the limit kept out.
func (s *Sheet) Dropped() int { return s.dropped }

// family is one metric with its series, one to a line.
type family struct {
	metric catalogue.Metric
	pieces [][]byte // a series is in one of them; one long text would be copied again and again as it grows
	used   int      // pieces that hold something; the others are kept for the next scrape
}

// mark is a place in a family's text.
type mark struct{ used, length int }

const (
	smallPiece = 4 << 10
	largePiece = 256 << 10
	roomyLine  = 1 << 10 // hardly any series is longer
)

// open returns the piece to which the next series is to be appended. Close it.
func (f *family) open() []byte {
	if f.used > 0 {
		if last := f.pieces[f.used-1]; cap(last)-len(last) >= roomyLine {
			return last
		}
	}
	if f.used == len(f.pieces) {
		size := smallPiece
		if f.used > 0 {
			size = min(2*cap(f.pieces[f.used-1]), largePiece)
		}
		f.pieces = append(f.pieces, make([]byte, 0, size))
	}
	f.used++
	return f.pieces[f.used-1][:0]
}

// close takes back the piece that open returned, with one series more.
func (f *family) close(piece []byte) { f.pieces[f.used-1] = piece }

// mark is where the family stands.
func (f *family) mark() mark {
	if f.used == 0 {
		return mark{}
	}
	return mark{f.used, len(f.pieces[f.used-1])}
}

// rewind leaves out what came after a mark.
func (f *family) rewind(to mark) {
	f.used = to.used
	if f.used > 0 {
		f.pieces[f.used-1] = f.pieces[f.used-1][:to.length]
	}
}

// New returns an empty sheet for at most as many series as the limit says.
func New(limit int) *Sheet {
	s := &Sheet{index: map[string]int{}, limit: limit, labels: make(Labels, 0, 1024)}
	for i, m := range catalogue.All() {
		s.families = append(s.families, family{metric: m})
		s.index[m.Name] = i
	}
	s.marks = make([]mark, len(s.families))
	return s
}

// Reset empties the sheet and keeps its memory.
func (s *Sheet) Reset() {
	for i := range s.families {
		s.families[i].used = 0
	}
	s.series, s.dropped = 0, 0
}

// Block writes series that belong together: all of them, or none where the limit would be exceeded.
func (s *Sheet) Block(write func()) {
	for i := range s.families {
		s.marks[i] = s.families[i].mark()
	}
	before := s.series
	write()
	if s.series <= s.limit {
		return
	}
	for i := range s.families {
		s.families[i].rewind(s.marks[i])
	}
	s.dropped += s.series - before
	s.series = before
}

// Int adds a series with a whole value.
func (s *Sheet) Int(name string, l Labels, value int64) {
	f, line := s.begin(name, "", l)
	f.close(append(strconv.AppendInt(line, value, 10), '\n'))
}

// Float adds a series.
func (s *Sheet) Float(name string, l Labels, value float64) { s.Part(name, "", l, value) }

// Part adds a series of a metric that has several, told apart by what their names end with.
func (s *Sheet) Part(name, suffix string, l Labels, value float64) {
	f, line := s.begin(name, suffix, l)
	if value == math.Trunc(value) && math.Abs(value) < 1e15 {
		f.close(append(strconv.AppendInt(line, int64(value), 10), '\n'))
		return
	}
	f.close(append(strconv.AppendFloat(line, value, 'g', -1, 64), '\n'))
}

// Bool adds a series that is 1 or 0.
func (s *Sheet) Bool(name string, l Labels, value bool) {
	if value {
		s.Int(name, l, 1)
		return
	}
	s.Int(name, l, 0)
}

// Seconds adds a series that is a length of time.
func (s *Sheet) Seconds(name string, l Labels, d time.Duration) { s.Float(name, l, d.Seconds()) }

// Summary adds the two series of a summary.
func (s *Sheet) Summary(name string, l Labels, sum float64, count int64) {
	s.Part(name, "_sum", l, sum)
	s.Part(name, "_count", l, float64(count))
}

// Timestamp adds a series that is an instant, with millisecond resolution.
func (s *Sheet) Timestamp(name string, l Labels, t time.Time) {
	s.Float(name, l, float64(t.UnixMilli())/1000)
}

// begin writes a series up to its value, which is to be appended to the line before the family takes it back.
func (s *Sheet) begin(name, suffix string, l Labels) (*family, []byte) {
	i, ok := s.index[name]
	if !ok { // a programming error that every test would meet: HELP and TYPE come from the catalogue
		panic("sheet: metric " + name + " is not in the catalogue")
	}
	s.series++
	f := &s.families[i]
	line := append(append(f.open(), name...), suffix...)
	if len(l) > 0 {
		line = append(line, '{')
		line = append(line, l...)
		line = append(line, '}')
	}
	return f, append(line, ' ')
}

// take adds the series that write gives in the text format. Metrics that the catalogue does not have are left out.
func (s *Sheet) take(write func(io.Writer)) {
	s.taken.Reset()
	write(&s.taken)
	for line := range bytes.Lines(s.taken.Bytes()) {
		end := bytes.IndexAny(line, "{ ")
		if end <= 0 || line[0] == '#' {
			continue
		}
		if i, ok := s.index[string(line[:end])]; ok {
			f := &s.families[i]
			f.close(append(f.open(), line...))
		}
	}
}

// Process adds the metrics of this process. They do not count.
func (s *Sheet) Process() {
	s.take(func(w io.Writer) {
		metrics.WriteGoMetrics(w)
		metrics.WriteProcMetrics(w)
		metrics.WriteFDMetrics(w)
	})
}

// WritePrometheus writes the sheet in the text format. An error of w ends it: the reader has gone, and nobody is left to be told.
func (s *Sheet) WritePrometheus(w io.Writer) {
	for i := range s.families {
		f := &s.families[i]
		if f.used == 0 || len(f.pieces[0]) == 0 {
			continue
		}
		head := "# HELP " + f.metric.Name + " " + f.metric.Help + "\n# TYPE " + f.metric.Name + " " + string(f.metric.Type) + "\n"
		if _, err := io.WriteString(w, head); err != nil {
			return
		}
		for _, piece := range f.pieces[:f.used] {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
}

// Labels are label pairs as they are written between braces.
type Labels []byte

// MaxLabelValue bounds the length of label values in bytes: some come from targets and probes.
const MaxLabelValue = 128

// With returns l with one more pair. It may share memory with what an earlier call on the same l returned, so each is to be used
// before the next is made.
func (l Labels) With(name, value string) Labels {
	if len(l) > 0 {
		l = append(l, ',')
	}
	l = append(append(l, name...), '=', '"')
	for _, r := range Clean(value) {
		switch r {
		case '\\', '"':
			l = append(l, '\\', byte(r))
		case '\n':
			l = append(l, '\\', 'n')
		default:
			l = utf8.AppendRune(l, r)
		}
	}
	return append(l, '"')
}

// Clean makes a label value valid UTF-8 and bounds its length.
func Clean(value string) string {
	if len(value) > MaxLabelValue {
		end := MaxLabelValue
		for end > MaxLabelValue-utf8.UTFMax && !utf8.RuneStart(value[end]) {
			end-- // not within a character
		}
		value = value[:end]
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}
