package console

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/runs"
	"lastmile/internal/statement"
)

// paperWidth is the width of a statement where nobody said how wide the output is.
const paperWidth = 80

// page prints one statement.
type page struct {
	console *Console
	width   int
	out     strings.Builder
}

// PrintStatement prints a statement of account, in lines no longer than the terminal is wide, or than 80 characters elsewhere, as far as names
// allow it.
func PrintStatement(out io.Writer, s *statement.Statement, opts Options) error {
	p := &page{console: New(out, func() []runs.Account { return nil }, opts), width: paperWidth}
	if width := p.console.opts.Size().Width; width > 0 {
		p.width = width
	}
	p.heading(s)
	p.tally(s)
	p.sums(s)
	p.unmeasured(s)
	p.words(s)
	_, err := io.WriteString(out, p.out.String())
	return err
}

// line adds a line, or several where it is too long for one; those after the first are indented.
func (p *page) line(indent int, paint func(string) string, format string, args ...any) {
	space := strings.Repeat(" ", indent)
	for i, part := range strings.Split(text.WrapSoft(fmt.Sprintf(format, args...), p.width-indent-2), "\n") {
		if i > 0 {
			part = "  " + part
		}
		p.out.WriteString(strings.TrimRight(space+paint(part), " ") + "\n")
	}
}

// in returns what paints in a colour.
func (p *page) in(color text.Color) func(string) string {
	return func(s string) string { return p.console.paint(s, color) }
}

func asItIs(s string) string { return s }

// heading says what the statement is about.
func (p *page) heading(s *statement.Statement) {
	p.line(0, p.in(text.Bold), "Ledger of %s", s.Scenario)
	p.line(0, p.in(text.Faint), "%s to %s, all times in UTC", stamp(s.Since), stamp(s.At))
	p.out.WriteString("\n")
}

// stamp prints a time of a statement.
func stamp(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05") }

// tally is the table of counts, with a row of totals where there is more than one.
func (p *page) tally(s *statement.Statement) {
	rows := make([]table.Row, 0, len(s.Rows)+1)
	for i := range s.Rows {
		r := &s.Rows[i]
		rows = append(rows, p.counts(r.Region, r.Network, &r.Within))
	}
	if len(s.Rows) > 1 {
		rows = append(rows, p.counts("all", "", &s.Within))
	}
	long := table.Row{"region", "network", "planned"}
	short := table.Row{"region", "network", "plan"}
	for _, state := range runs.States() {
		long = append(long, string(state))
		short = append(short, string(state)[:4])
	}
	drawn := p.grid(long, rows, 3, len(s.Rows))
	if widest(drawn) > p.width {
		drawn = p.grid(short, rows, 3, len(s.Rows))
	}
	p.out.WriteString(strings.Join(drawn, "\n") + "\n\n")
}

// counts is one row of the tally.
func (p *page) counts(region, network string, t *statement.Tally) table.Row {
	planned := strconv.FormatInt(t.Planned, 10)
	if !t.Balanced {
		planned = p.console.paint(planned, text.FgRed)
	}
	row := table.Row{region, network, planned}
	for _, state := range runs.States() {
		row = append(row, p.count(t.States[state], state))
	}
	return row
}

// count paints a number: what ought to be zero stands out, and zeros stand back.
func (p *page) count(n int64, state runs.State) string {
	if n == 0 {
		return p.console.paint("0", text.Faint)
	}
	switch state {
	case runs.StatePassed, runs.StatePending:
		return strconv.FormatInt(n, 10)
	}
	return p.console.count(n, stateColor(state))
}

// stateColor is the colour of a state that is not passed.
func stateColor(state runs.State) text.Color {
	switch state {
	case runs.StateFailed:
		return text.FgRed
	case runs.StateDegraded, runs.StateSkipped:
		return text.FgYellow
	}
	return text.FgMagenta
}

// grid draws a table whose columns from the given one on are numbers; a rule stands below row number under, if there are more.
func (p *page) grid(head table.Row, rows []table.Row, numbers, under int) []string {
	t := table.NewWriter()
	style := p.console.style()
	style.Box.PaddingRight = "  "
	if p.width < narrow {
		style.Box.PaddingRight = " "
	}
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	var configs []table.ColumnConfig
	for n := numbers; n <= len(head); n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(head)
	for i, row := range rows {
		if i == under {
			t.AppendSeparator()
		}
		t.AppendRow(row)
	}
	return strings.Split(t.Render(), "\n")
}

// widest is the length of the longest line.
func widest(lines []string) (width int) {
	for _, line := range lines {
		width = max(width, text.StringWidthWithoutEscSequences(line))
	}
	return width
}

// sums says in words whether the accounting adds up, and what else the books know.
func (p *page) sums(s *statement.Statement) {
	p.sum("In this time", &s.Within)
	since := "In all"
	if s.InAll.First != nil {
		since = "In all, since " + stamp(*s.InAll.First) + s.InAll.First.UTC().Format(" 2006") + ","
	}
	p.sum(since, &s.InAll)
	for _, r := range s.Rows {
		if !r.Within.Balanced || !r.InAll.Balanced {
			p.line(2, p.in(text.FgRed), "%s, network %s: planned %d and the states add up to %d; in all %d and %d.",
				r.Region, r.Network, r.Within.Planned, r.Within.Sum, r.InAll.Planned, r.InAll.Sum)
		}
	}
	if n := s.Within.Unbooked; n > 0 {
		p.line(0, p.in(text.FgYellow), "%s of today's schedule %s not in the books: see below.", several(n, "slot"), plural(n, "is", "are"))
	}
	if n := s.Within.Amended; n > 0 {
		p.line(0, asItIs, "%s missing or skipped at first and measured after all: %s came late, and %s.",
			was(n, "slot"), plural(n, "its result", "their results"), plural(n, "it counts", "they count"))
	}
	if n := s.InAll.Duplicates; n != nil && *n > 0 {
		p.line(0, asItIs, "%s came again in all, and changed nothing.", several(*n, "result"))
	}
	if n := s.InAll.Unscheduled; n != nil && *n > 0 {
		p.line(0, asItIs, "%s without a slot came in all, and %s not in the books.", several(*n, "result"), plural(*n, "is", "are"))
	}
	p.out.WriteString("\n")
}

// sum says whether one tally adds up.
func (p *page) sum(when string, t *statement.Tally) {
	if !t.Balanced {
		p.line(0, p.in(text.FgRed), "%s it does NOT add up: %d planned, and the states come to %d. This is a defect of lastmile: please report it.", when, t.Planned, t.Sum)
		return
	}
	var parts []string
	for _, state := range runs.States() {
		if n := t.States[state]; n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(parts) == 0 {
		p.line(0, asItIs, "%s, nothing was planned.", strings.TrimSuffix(when, ","))
		return
	}
	p.line(0, p.in(text.FgGreen), "%s it adds up: %d planned = %s.", when, t.Planned, strings.Join(parts, " + "))
}

// several is a number of things.
func several(n int64, thing string) string {
	return fmt.Sprintf("%d %s", n, plural(n, thing, thing+"s"))
}

// was says that a number of things were.
func was(n int64, thing string) string { return several(n, thing) + plural(n, " was", " were") }

func plural(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// unmeasured lists the slots that were not measured.
func (p *page) unmeasured(s *statement.Statement) {
	if s.Cut != nil {
		p.line(0, p.in(text.FgYellow), "The oldest %s, up to %s, not shown: see --limit.", several(s.Cut.Entries, "line"), stamp(s.Cut.Before)+plural(s.Cut.Entries, " is", " are"))
	}
	if len(s.Unmeasured) == 0 {
		if s.Within.Planned > 0 {
			p.line(0, asItIs, "Every slot that is due was measured.")
		}
		return
	}
	var slots int64
	rows := make([]table.Row, len(s.Unmeasured))
	for i := range s.Unmeasured {
		e := &s.Unmeasured[i]
		slots += e.Count
		rows[i] = p.entry(e)
	}
	p.line(0, p.in(text.Bold), "Not measured: %s", several(slots, "slot"))
	lines := p.grid(table.Row{"from", "to", "slots", "region", "network", "state", "why"}, rows, 8, len(rows))
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		p.out.WriteString(line + "\n")
		if entry := i - 2; entry >= 0 && entry < len(s.Unmeasured) { // below header and rule
			p.detail(&s.Unmeasured[entry])
		}
	}
	p.out.WriteString("\n")
}

// entry is the line of a slot, or of several, that was not measured.
func (p *page) entry(e *statement.Entry) table.Row {
	to := ""
	if e.Last != nil {
		to = e.Last.UTC().Format(time.TimeOnly)
		if e.Last.UTC().YearDay() != e.Slot.UTC().YearDay() {
			to = stamp(*e.Last)
		}
	}
	color := stateColor(e.State)
	return table.Row{stamp(e.Slot), to, fmt.Sprintf("%5d", e.Count), printable(e.Region), printable(e.Network), p.console.paint(string(e.State), color), p.console.paint(printable(e.Why), color)}
}

// detail is what a run said of why it could not measure.
func (p *page) detail(e *statement.Entry) {
	if e.Detail == "" {
		return
	}
	where := ""
	if e.Step != "" {
		where = "step " + printable(e.Step) + ": "
	}
	if e.Count > 1 {
		where = "the last one: " + where
	}
	p.line(4, p.in(text.Faint), "%s", where+printable(e.Detail))
}

// words explains what stands in the column "why", each once.
func (p *page) words(s *statement.Statement) {
	for i, why := range slices.Sorted(maps.Keys(s.Words)) {
		if i == 0 {
			p.line(0, p.in(text.Bold), "Why, and what to do")
		}
		e := s.Words[why]
		p.line(2, asItIs, "%s", p.console.paint(printable(why), text.Bold)+": "+printable(e.Means)+" "+printable(e.Do))
	}
}

// printable makes one line of text that comes from elsewhere: a terminal would obey what control characters say.
func printable(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)), " ")
}
