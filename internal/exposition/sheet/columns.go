package sheet

import (
	"bytes"
	"strings"

	"lastmile/internal/exposition/catalogue"
)

// Columns are the series that a set of the metrics library wrote, split into what they begin with and their values: sets of the same layout share
// the former, and the values take little room.
type Columns struct {
	layout []beginning
	values []byte // one to a line
}

// beginning is a series up to its value, but for the labels that all series of a set have in common, which come between name and own.
type beginning struct {
	metric    int // by its position in the catalogue
	name, own string
}

// Layouts remember what sets have in common. The zero value is empty. They belong to one goroutine.
type Layouts struct {
	metrics            map[string]int // positions in the catalogue, by the names that a set writes
	known              map[string][]beginning
	beginnings, values []byte
}

// Split takes what a set has written in the text format, and gives it the memory of the values that it had before. Metrics that the catalogue does
// not have are left out.
func (k *Layouts) Split(text []byte, before Columns) Columns {
	k.beginnings, k.values = k.beginnings[:0], k.values[:0]
	for line := range bytes.Lines(text) {
		value := bytes.LastIndexByte(line, ' ') + 1
		if value == 0 || line[0] == '#' || k.metric(line[:bytes.IndexAny(line, "{ ")]) < 0 {
			continue
		}
		k.beginnings = append(append(k.beginnings, line[:value-1]...), '\n')
		k.values = append(k.values, line[value:]...)
	}
	layout, ok := k.known[string(k.beginnings)]
	if !ok {
		layout = k.layout(string(k.beginnings))
	}
	return Columns{layout: layout, values: append(before.values[:0], k.values...)}
}

// metric is the position of the metric that a series belongs to by its name, or -1.
func (k *Layouts) metric(name []byte) int {
	if k.metrics == nil {
		k.metrics = map[string]int{}
		for i, m := range catalogue.All() {
			k.metrics[m.Name] = i
			if m.Type == catalogue.Histogram {
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					k.metrics[m.Name+suffix] = i
				}
			}
		}
	}
	if i, ok := k.metrics[string(name)]; ok {
		return i
	}
	return -1
}

// layout remembers a new layout.
func (k *Layouts) layout(text string) []beginning {
	layout := make([]beginning, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		name, own, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "{")
		layout = append(layout, beginning{metric: k.metric([]byte(name)), name: name, own: own})
	}
	if k.known == nil {
		k.known = map[string][]beginning{}
	}
	k.known[text] = layout
	return layout
}

// Columns adds the series of a set, with the labels that all of them have in common: at least one.
func (s *Sheet) Columns(c Columns, l Labels) {
	values := c.values
	for i := range c.layout {
		b := &c.layout[i]
		end := bytes.IndexByte(values, '\n') + 1
		f := &s.families[b.metric]
		line := append(append(append(f.open(), b.name...), '{'), l...)
		if b.own == "" {
			line = append(line, '}')
		} else {
			line = append(append(line, ','), b.own...) // which ends with the brace
		}
		f.close(append(append(line, ' '), values[:end]...))
		values = values[end:]
	}
	s.series += len(c.layout)
}
