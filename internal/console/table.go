package console

import (
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
)

// tableFrame is how many lines the table has beside its rows: the empty lines around it, header, rule and footnotes.
const tableFrame = 6

// The widths at which the table gives something up to fit.
const (
	narrow       = 100 // below: columns stand closer
	problemWidth = 24  // least width of the last column; with less it is left out, as the lines of the runs say it too
)

// header names the columns up to the last problem; the network's is there only where there is more than the unshaped one.
func header(networks bool) table.Row {
	row := table.Row{"scenario", "region"}
	if networks {
		row = append(row, "network")
	}
	return append(row, "runs", "slow", "fail", "inv", "miss", "p95", "n", "cdn hit", "budget")
}

// table draws all accounts. A P95 without an upper confidence bound is marked: the sample is too small for it to mean much.
func (c *Console) table() string {
	accounts := c.accounts()
	networks := false
	for i := range accounts {
		networks = networks || accounts[i].Network != netprofile.None
	}
	head := header(networks)
	rows := make([]table.Row, len(accounts))
	few := false
	for i := range accounts {
		var mark bool
		rows[i], mark = c.row(&accounts[i], networks)
		few = few || mark
	}
	t := table.NewWriter()
	t.SetStyle(c.style())
	t.SuppressTrailingSpaces()
	configs := make([]table.ColumnConfig, 0, len(head)+1)
	for n := 3; n <= len(head); n++ {
		if head[n-1] != "network" {
			configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	if room := c.roomForProblem(head, rows); room >= problemWidth {
		head = append(head, "last problem")
		configs = append(configs, table.ColumnConfig{Number: len(head), WidthMax: room, WidthMaxEnforcer: snip})
		for i := range rows {
			rows[i] = append(rows[i], problem(&accounts[i]))
		}
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(head)
	t.AppendRows(rows)
	return t.Render() + "\n" + c.footnotes(few)
}

// style has no borders: a header, a rule, columns.
func (c *Console) style() table.Style {
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatUpper
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	if width := c.opts.Size().Width; width > 0 && width < narrow {
		style.Box.PaddingRight = " "
	}
	return style
}

func snip(s string, width int) string { return text.Snip(s, width, "…") }

// wide is the room for the last column where nobody said how wide the output is.
const wide = 100

// roomForProblem is what the terminal leaves for the last column.
func (c *Console) roomForProblem(head table.Row, rows []table.Row) int {
	width := c.opts.Size().Width
	if width == 0 {
		return wide
	}
	padding := len(c.style().Box.PaddingRight)
	for n := range head {
		column := text.StringWidthWithoutEscSequences(head[n].(string))
		for _, row := range rows {
			column = max(column, text.StringWidthWithoutEscSequences(row[n].(string)))
		}
		width -= column + padding
	}
	return width - padding
}

// footnotes explain the columns.
func (c *Console) footnotes(few bool) string {
	notes := []string{
		"slow: over a budget  inv: we could not measure  miss: no result came  n: successful runs in P95",
		"budget: left of the availability budget",
	}
	if few {
		notes[1] += "  ~: under 72 runs, too few for an upper bound"
	}
	out := ""
	for i, note := range notes {
		if width := c.opts.Size().Width; width > 0 {
			note = snip(note, width)
		}
		if i > 0 {
			out += "\n"
		}
		out += c.paint(note, text.Faint)
	}
	return out
}

// row is one account; few reports that its P95 has no upper bound.
func (c *Console) row(a *runs.Account, networks bool) (row table.Row, few bool) {
	measured := a.Counts[runs.StatePassed] + a.Counts[runs.StateDegraded] + a.Counts[runs.StateFailed]
	p95, n := "-", "-"
	if e := a.Latency[time.Hour].P95; e.N > 0 {
		p95, n = milliseconds(e.Value), strconv.Itoa(e.N)
		if !e.HasUpper {
			p95, few = "~"+p95, true
		}
	}
	cache := "-"
	if ratio, ok := a.CacheRatio(); ok {
		cache = percent(float64(ratio))
	}
	row = table.Row{a.Scenario, a.Region}
	if networks {
		row = append(row, a.Network)
	}
	return append(row,
		strconv.FormatInt(measured, 10),
		c.count(a.Counts[runs.StateDegraded], text.FgYellow),
		c.count(a.Counts[runs.StateFailed], text.FgRed),
		c.count(a.Counts[runs.StateInvalid], text.FgMagenta),
		c.count(a.Counts[runs.StateMissing], text.FgMagenta),
		p95, n, cache, c.budget(a.Budget),
	), few
}

// problem is the newest cause in one line.
func problem(a *runs.Account) string {
	if a.Last == nil {
		return ""
	}
	return causeText(a.Last)
}

// count paints a number that ought to be zero.
func (c *Console) count(n int64, color text.Color) string {
	if n == 0 {
		return "0"
	}
	return c.paint(strconv.FormatInt(n, 10), color)
}

func (c *Console) budget(b *runs.Budget) string {
	if b == nil {
		return "-"
	}
	left := percent(float64(b.Remaining))
	switch {
	case b.Remaining <= 0:
		return c.paint(left, text.FgRed)
	case b.Remaining < 0.5:
		return c.paint(left, text.FgYellow)
	}
	return left
}

// percent has one digit and never rounds up to 100: nine nines are not all.
func percent(ratio float64) string {
	out := strconv.FormatFloat(ratio*100, 'f', 1, 64)
	if ratio < 1 && out == "100.0" {
		out = "99.9"
	}
	return out + "%"
}
