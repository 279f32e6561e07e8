package exposition

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"
)

// sheet collects the series of one scrape by metric, so that each metric is written in one piece under its HELP and TYPE
// whatever the order in which its series came. It belongs to one goroutine.
type sheet struct {
	families []family // in the order of the catalogue
	index    map[string]int
	marks    []int // lengths of the families' bodies before the block that is being written
	labels   labels
	taken    bytes.Buffer
	series   int
	limit    int // of series; blocks that would exceed it are left out
	dropped  int
}

// family is one metric with its series, one to a line.
type family struct {
	metric Metric
	body   []byte
}

func newSheet(limit int) *sheet {
	s := &sheet{index: map[string]int{}, limit: limit, labels: make(labels, 0, 1024)}
	for i, m := range Catalogue() {
		s.families = append(s.families, family{metric: m})
		s.index[m.Name] = i
	}
	s.marks = make([]int, len(s.families))
	return s
}

// reset empties the sheet and keeps its memory.
func (s *sheet) reset() {
	for i := range s.families {
		s.families[i].body = s.families[i].body[:0]
	}
	s.series, s.dropped = 0, 0
}

// block writes series that belong together: all of them, or none where the limit would be exceeded.
func (s *sheet) block(write func()) {
	for i := range s.families {
		s.marks[i] = len(s.families[i].body)
	}
	before := s.series
	write()
	if s.series <= s.limit {
		return
	}
	for i := range s.families {
		s.families[i].body = s.families[i].body[:s.marks[i]]
	}
	s.dropped += s.series - before
	s.series = before
}

// int adds a series with a whole value.
func (s *sheet) int(name string, l labels, value int64) {
	f := s.begin(name, "", l)
	f.body = append(strconv.AppendInt(f.body, value, 10), '\n')
}

// float adds a series.
func (s *sheet) float(name string, l labels, value float64) { s.part(name, "", l, value) }

// part adds a series of a metric that has several, told apart by what their names end with.
func (s *sheet) part(name, suffix string, l labels, value float64) {
	f := s.begin(name, suffix, l)
	if value == math.Trunc(value) && math.Abs(value) < 1e15 {
		f.body = append(strconv.AppendInt(f.body, int64(value), 10), '\n')
		return
	}
	f.body = append(strconv.AppendFloat(f.body, value, 'g', -1, 64), '\n')
}

// bool adds a series that is 1 or 0.
func (s *sheet) bool(name string, l labels, value bool) {
	if value {
		s.int(name, l, 1)
		return
	}
	s.int(name, l, 0)
}

// seconds adds a series that is a length of time.
func (s *sheet) seconds(name string, l labels, d time.Duration) { s.float(name, l, d.Seconds()) }

// summary adds the two series of a summary of lengths of time.
func (s *sheet) summary(name string, l labels, sum time.Duration, count int64) {
	s.part(name, "_sum", l, sum.Seconds())
	s.part(name, "_count", l, float64(count))
}

// timestamp adds a series that is an instant, with millisecond resolution.
func (s *sheet) timestamp(name string, l labels, t time.Time) {
	s.float(name, l, float64(t.UnixMilli())/1000)
}

// begin writes a series up to its value.
func (s *sheet) begin(name, suffix string, l labels) *family {
	i, ok := s.index[name]
	if !ok { // a programming error that every test would meet: HELP and TYPE come from the catalogue
		panic("exposition: metric " + name + " is not in the catalogue")
	}
	s.series++
	f := &s.families[i]
	f.body = append(append(f.body, name...), suffix...)
	if len(l) > 0 {
		f.body = append(f.body, '{')
		f.body = append(f.body, l...)
		f.body = append(f.body, '}')
	}
	f.body = append(f.body, ' ')
	return f
}

// take adds the series that write gives in the text format. Metrics that the catalogue does not have are left out.
func (s *sheet) take(write func(io.Writer)) (series int) {
	s.taken.Reset()
	write(&s.taken)
	last, at := "", -1
	for line := range bytes.Lines(s.taken.Bytes()) {
		end := bytes.IndexAny(line, "{ ")
		if end <= 0 || line[0] == '#' {
			continue
		}
		if name := line[:end]; string(name) != last {
			last = string(name)
			at = s.find(last)
		}
		if at >= 0 {
			s.families[at].body = append(s.families[at].body, line...)
			series++
		}
	}
	return series
}

// find returns the position of the metric that a series belongs to by its name, or -1.
func (s *sheet) find(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		i, ok := s.index[strings.TrimSuffix(name, suffix)]
		if ok && (s.families[i].metric.Type == Histogram || s.families[i].metric.Type == Summary) {
			return i
		}
	}
	return -1
}

// process adds the metrics of this process.
func (s *sheet) process() {
	s.take(func(w io.Writer) {
		metrics.WriteGoMetrics(w)
		metrics.WriteProcMetrics(w)
		metrics.WriteFDMetrics(w)
	})
}

// writeTo writes the sheet in the text format. An error of w ends it: the reader has gone, and nobody is left to be told.
func (s *sheet) writeTo(w io.Writer) {
	for i := range s.families {
		f := &s.families[i]
		if len(f.body) == 0 {
			continue
		}
		head := "# HELP " + f.metric.Name + " " + f.metric.Help + "\n# TYPE " + f.metric.Name + " " + string(f.metric.Type) + "\n"
		if _, err := io.WriteString(w, head); err != nil {
			return
		}
		if _, err := w.Write(f.body); err != nil {
			return
		}
	}
}

// labels are label pairs as they are written between braces.
type labels []byte

// maxLabelValue bounds the length of label values in bytes: some come from targets and probes.
const maxLabelValue = 128

// with returns l with one more pair. It may share memory with what an earlier call on the same l returned, so each is to be used
// before the next is made.
func (l labels) with(name, value string) labels {
	if len(l) > 0 {
		l = append(l, ',')
	}
	l = append(append(l, name...), '=', '"')
	for _, r := range clean(value) {
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

// clean makes a label value valid UTF-8 and bounds its length.
func clean(value string) string {
	if len(value) > maxLabelValue {
		end := maxLabelValue
		for end > maxLabelValue-utf8.UTFMax && !utf8.RuneStart(value[end]) {
			end-- // not within a character
		}
		value = value[:end]
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}
