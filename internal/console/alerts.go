package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// Alert prints the line of an alert that began, changed or ended.
func (c *Console) Alert(a *runs.Alert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.alerts[a.AlertKey]
	if a.Active() {
		c.alerts[a.AlertKey] = struct{}{}
	} else {
		delete(c.alerts, a.AlertKey)
	}
	c.print(c.alertLine(a, known))
}

// alertLine is one alert: when something became of it, how grave it is, what, where, and why. known = it had begun before.
func (c *Console) alertLine(a *runs.Alert, known bool) string {
	mark, color := "PAGE", text.FgHiRed
	if a.Severity != slo.SeverityPage {
		mark, color = "tick", text.FgYellow
	}
	word := "began"
	switch {
	case !a.Active():
		mark, color, word = "over", text.FgGreen, "ended after "+span(a.EndsAt.Sub(a.StartsAt))
	case known:
		word = "goes on"
	}
	line := fmt.Sprintf("%s  %s  %s %s  %s", time.Now().Format(time.TimeOnly), c.paint(mark, color), c.paint(a.Name+" "+word+":", color), Where(a), why(a))
	if a.Inhibited {
		line += c.paint("  (not sent: another alert says it)", text.Faint)
	}
	if width := c.opts.Size().Width; width > 0 {
		line = text.Snip(line, width, "…")
	}
	return line
}

// Where says what an alert is about.
func Where(a *runs.Alert) string {
	if a.SLO == "" {
		return a.AlertKey.Where()
	}
	return a.AlertKey.Where() + ", " + a.SLO
}

// why says in one line what an alert was decided on, the plainest first.
func why(a *runs.Alert) string {
	w := &a.Why
	var parts []string
	switch {
	case w.Rule == runs.RuleCoverage && w.Coverage != nil:
		parts = append(parts, percent(float64(*w.Coverage))+" of the runs measured of late")
	case w.Of > 0 && w.Over > 0:
		parts = append(parts, fmt.Sprintf("%d of %d bad within %s", w.Bad, w.Of, w.Over))
	case w.Of > 0:
		parts = append(parts, fmt.Sprintf("%d of the last %d bad", w.Bad, w.Of))
	}
	if w.First != nil && w.First.Cause != nil {
		parts = append(parts, "first "+causeText(w.First.Cause))
	}
	if a.Region == "" && len(w.Regions) > 0 {
		parts = append(parts, "in "+strings.Join(w.Regions, ", "))
	}
	if w.Log10P < 0 {
		parts = append(parts, "by chance once in 1e"+strconv.FormatFloat(math.Floor(-w.Log10P), 'f', 0, 64))
	}
	if w.Remaining != nil {
		parts = append(parts, "budget left "+percent(float64(*w.Remaining)))
	}
	return strings.Join(parts, "; ")
}

// span prints how long something lasted, in whole seconds.
func span(d time.Duration) string { return d.Round(time.Second).String() }
