// Package console shows a person at a terminal what the fleet is doing: one line per run as it ends, one per alert as it begins, changes and ends, and a table of all
// combinations of scenario, region and network. On a terminal the table stays below the lines and is kept up to date; anywhere
// else (a pipe, a log) it is printed now and then.
package console

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/runs"
)

// Size is a terminal's size in characters; the zero Size means that the output is not a terminal.
type Size struct{ Width, Height int }

// Options tune a console; the zero value prints plain text.
type Options struct {
	Color bool
	Size  func() Size
}

// Console writes to one output. It is safe for concurrent use.
type Console struct {
	mu       sync.Mutex
	out      io.Writer
	opts     Options
	accounts func() []runs.Account
	alerts   map[runs.AlertKey]struct{} // that have begun and not ended
	below    int                        // lines of the live table under the cursor
	closed   bool
}

// New returns a console that draws its table from accounts.
func New(out io.Writer, accounts func() []runs.Account, opts Options) *Console {
	if opts.Size == nil {
		opts.Size = func() Size { return Size{} }
	}
	return &Console{out: out, opts: opts, accounts: accounts, alerts: map[runs.AlertKey]struct{}{}}
}

// Note prints a line of its own.
func (c *Console) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.print(fmt.Sprintf(format, args...))
}

// Run prints the line of a run that ended.
func (c *Console) Run(r *runs.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.print(c.line(r))
}

// print writes text above the live table.
func (c *Console) print(text string) {
	c.erase()
	fmt.Fprintln(c.out, text)
	c.draw()
}

// Refresh draws the table anew: in place on a terminal that is high enough for it, as a block of text elsewhere.
func (c *Console) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live() {
		c.erase()
		c.draw()
		return
	}
	c.erase()
	fmt.Fprintln(c.out, "\n"+c.table()+"\n")
}

// Close takes the live table away and prints the last one for good.
func (c *Console) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.closed = true
	fmt.Fprintln(c.out, "\n"+c.table())
}

// Live reports whether the table stays on the screen, so that it needs frequent refreshing.
func (c *Console) Live() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live()
}

// spareLines is how many lines of runs must fit above a live table.
const spareLines = 6

func (c *Console) live() bool {
	size := c.opts.Size()
	return !c.closed && size.Height > 0 && len(c.accounts())+tableFrame+spareLines <= size.Height
}

// erase removes the live table from the screen.
func (c *Console) erase() {
	if c.below > 0 {
		fmt.Fprintf(c.out, "\x1b[%dA\x1b[J", c.below)
		c.below = 0
	}
}

func (c *Console) draw() {
	if !c.live() {
		return
	}
	table := "\n" + c.table() + "\n"
	c.below = strings.Count(table, "\n")
	fmt.Fprint(c.out, table)
}

// line is one run: when it ended, what, where, how long, and what was wrong.
func (c *Console) line(r *runs.Result) string {
	mark, color := "ok  ", text.FgGreen
	switch r.State {
	case runs.StateDegraded:
		mark, color = "slow", text.FgYellow
	case runs.StateFailed:
		mark, color = "FAIL", text.FgRed
	case runs.StateInvalid:
		mark, color = "inv.", text.FgMagenta
	}
	took := "-"
	if r.State.Measured() {
		took = milliseconds(r.Duration())
	}
	cache := ""
	if n := r.Cache.Hits + r.Cache.Misses; n > 0 {
		cache = fmt.Sprintf("cache %d/%d", r.Cache.Hits, n)
	}
	line := fmt.Sprintf("%s  %s  %s %s %s %9s  %-11s", time.Now().Format(time.TimeOnly), c.paint(mark, color),
		text.Pad(r.Scenario, 20, ' '), text.Pad(r.Region, 6, ' '), text.Pad(r.Network, 8, ' '), took, cache)
	if r.Cause != nil {
		line += "  " + c.paint(causeText(r.Cause), color)
	}
	if len(r.Tainted) > 0 && r.State.Measured() {
		line += "  " + c.paint("times not to be trusted: "+strings.Join(r.Tainted, "; "), text.FgMagenta)
	}
	if n := exposed(r); n > 0 {
		line += "  " + c.paint(fmt.Sprintf("%d answers that a shared cache ought not to have given", n), text.FgYellow)
	}
	line = strings.TrimRight(line, " ")
	if width := c.opts.Size().Width; width > 0 {
		line = text.Snip(line, width, "…")
	}
	return line
}

// exposed counts the answers that a shared cache ought not to have given.
func exposed(r *runs.Result) (n int) {
	for i := range r.Requests {
		if r.Requests[i].Exposed != "" {
			n++
		}
	}
	return n
}

// causeText is a cause in one line.
func causeText(cause *runs.Cause) string {
	out := string(cause.Class)
	if cause.Step != "" {
		out += " at " + cause.Step
	}
	return out + ": " + strings.Join(strings.Fields(cause.Detail), " ")
}

func (c *Console) paint(s string, color text.Color) string {
	if !c.opts.Color {
		return s
	}
	return text.Colors{color}.EscapeSeq() + s + text.Reset.EscapeSeq()
}

// milliseconds prints a duration to three digits: a fast answer is not "0 ms".
func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
