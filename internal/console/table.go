package console

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/runs"
)

// tableFrame is how many lines the table has beside its rows: the empty lines around it, header, rule and footnote.
const tableFrame = 5

// problemWidth is the least width of the last column.
const problemWidth = 24

// table draws all accounts. A P95 without an upper confidence bound is marked: the sample is too small for it to mean much.
func (c *Console) table() string {
	accounts := c.accounts()
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatUpper
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row{"scenario", "region", "network", "runs", "fail", "inv", "miss", "p95", "n", "cdn hit", "budget", "last problem"})
	right := []int{4, 5, 6, 7, 8, 9, 10, 11}
	configs := make([]table.ColumnConfig, 0, len(right)+1)
	for _, n := range right {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	configs = append(configs, table.ColumnConfig{Number: 12, WidthMax: c.problemWidth(accounts), WidthMaxEnforcer: snip})
	t.SetColumnConfigs(configs)
	small := false
	for i := range accounts {
		row, few := c.row(&accounts[i])
		small = small || few
		t.AppendRow(row)
	}
	out := t.Render()
	if small {
		return out + "\n" + c.paint("~ too few runs for an upper confidence bound of the P95 (n < 72)", text.Faint)
	}
	return out + "\n"
}

func snip(s string, width int) string { return text.Snip(s, width, "…") }

// problemWidth is what the terminal leaves for the last column; elsewhere a line may be long.
func (c *Console) problemWidth(accounts []runs.Account) int {
	width := c.opts.Size().Width
	if width == 0 {
		return 100
	}
	names := 0
	for i := range accounts {
		names = max(names, len(accounts[i].Scenario)+len(accounts[i].Region)+len(accounts[i].Network))
	}
	const numbers = 78 // the columns between the names and the last one
	return max(problemWidth, width-names-numbers)
}

// row is one account; few reports that its P95 has no upper bound.
func (c *Console) row(a *runs.Account) (row table.Row, few bool) {
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
		cache = percent(float64(ratio), 1)
	}
	problem := ""
	if a.Last != nil {
		problem = causeText(a.Last)
	}
	return table.Row{
		a.Scenario, a.Region, a.Network, measured,
		c.count(a.Counts[runs.StateFailed], text.FgRed),
		c.count(a.Counts[runs.StateInvalid], text.FgMagenta),
		c.count(a.Counts[runs.StateMissing], text.FgMagenta),
		p95, n, cache, c.budget(a.Budget), problem,
	}, few
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
	left := percent(float64(b.Remaining), 1)
	switch {
	case b.Remaining <= 0:
		return c.paint(left, text.FgRed)
	case b.Remaining < 0.5:
		return c.paint(left, text.FgYellow)
	}
	return left
}

// percent never rounds up to 100: nine nines are not all.
func percent(ratio float64, digits int) string {
	out := strconv.FormatFloat(ratio*100, 'f', digits, 64)
	if ratio < 1 && out == strconv.FormatFloat(100, 'f', digits, 64) {
		out = fmt.Sprintf("%.*f", digits, 100-pow10(-digits))
	}
	return out + "%"
}

func pow10(n int) float64 {
	v := 1.0
	for ; n < 0; n++ {
		v /= 10
	}
	return v
}
