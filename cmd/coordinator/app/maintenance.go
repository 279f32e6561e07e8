package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"lastmile/cmd/coordinator/coordination"
	"lastmile/internal/bus"
	"lastmile/internal/bus/audit"
	"lastmile/internal/bus/orders"
	"lastmile/internal/cli"
	"lastmile/internal/runs"
	"lastmile/internal/slo"
)

// maintenanceCommand plans stretches of time in which slots are skipped on purpose.
type maintenanceCommand struct {
	Add  maintenanceAddCommand  `cmd:"" help:"Have slots left out for a while: nothing is run, nothing is paged for, and no objective counts them."`
	List maintenanceListCommand `cmd:"" help:"Print the windows that are planned, open, or ended in the last 72 h."`
	End  maintenanceEndCommand  `cmd:"" help:"End a window that is open, or drop one that has not begun."`
}

// hubAddress is how the commands reach the hub.
type hubAddress struct {
	NATS      string `name:"nats" help:"Address of the hub." default:"nats://127.0.0.1:4222"`
	NATSToken string `name:"nats-token" help:"Token for the hub. Better given as LASTMILE_NATS_TOKEN."`
}

const (
	changeTime = 30 * time.Second // bounds each of the commands

	// notice is how long before it ends a window is ended: the coordinators look at the windows every two seconds, and the slots until then are skipped.
	notice = 5 * time.Second

	changeAttempts = 10
	objectWindow   = "maintenance" // as the audit trail calls it
)

// with calls do with a connection to the hub.
func (a *hubAddress) with(ctx context.Context, streams cli.Streams, root *grammar, do func(ctx context.Context, hub *bus.Bus) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	log := root.Logger(streams.Err)
	hub, err := bus.Connect(ctx, log, bus.Options{URL: a.NATS, Token: a.NATSToken, Name: "maintenance"})
	if err != nil {
		return err
	}
	defer coordination.CloseHub(log, hub)
	return do(ctx, hub)
}

// moment is a time on the command line.
type moment struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if at, err := time.Parse(layout, string(text)); err == nil {
			m.Time = at.UTC()
			return nil
		}
	}
	return fmt.Errorf("got %.100q, want a time such as 2026-11-22T02:00Z, 2026-11-22T03:00:00+01:00, or a day in UTC, 2026-11-22", text)
}

// maintenanceAddCommand announces a window.
type maintenanceAddCommand struct {
	hubAddress
	Scenario  string     `help:"This scenario only; all of them by default." env:"-"`
	Region    string     `help:"This region only; all of them by default." env:"-"`
	From      moment     `help:"When it begins, such as 2026-11-22T02:00Z; now by default. It cannot be in the past: what was due is owed." env:"-" placeholder:"TIME"`
	To        moment     `help:"When it ends. The slot at that time is run again." env:"-" placeholder:"TIME" xor:"end"`
	For       slo.Window `help:"How long it lasts, in place of --to: such as 30m, 4h, 2d; at most 90d." env:"-" xor:"end"`
	Why       string     `help:"Why, for those who find the gap later." required:"" env:"-"`
	By        string     `help:"Who says so; the user of this machine by default."`
	Unplanned bool       `help:"Take names that no coordinator has planned anything of yet." env:"-"`
	Output    string     `help:"Form of the output: text or json." enum:"text,json" default:"text" short:"o"`
}

// Help is the text below the flags.
func (c *maintenanceAddCommand) Help() string {
	return "Slots of the window stay in the books, as skipped: maintenance. Runs that were ordered before the coordinators saw it, within some seconds, are measured and count. " +
		"So do those of a region that is cut off and has not heard of it."
}

// window makes what is to be announced.
func (c *maintenanceAddCommand) window(now time.Time) (runs.Maintenance, error) {
	m := runs.Maintenance{
		ID: "m-" + strings.ToLower(rand.Text()[:8]), Scenario: c.Scenario, Region: c.Region, From: c.From.Time, To: c.To.Time, Why: c.Why, By: c.By, MadeAt: now,
	}
	if m.By == "" {
		m.By = whoami()
	}
	switch {
	case m.From.IsZero():
		m.From = now
	case m.From.Before(now):
		return m, fmt.Errorf("--from: got %s, which is past, want a time after %s, or none for now: what was due is owed", stamp(m.From), stamp(now))
	}
	switch {
	case c.For != 0:
		m.To = m.From.Add(c.For.Duration())
	case m.To.IsZero():
		return m, errors.New("got a window without an end, want --to or --for")
	case !m.To.After(m.From):
		return m, fmt.Errorf("--to: got %s, want a time after %s, when it begins", stamp(m.To), stamp(m.From))
	}
	_, err := orders.EncodeMaintenance([]runs.Maintenance{m})
	return m, err
}

// Run implements the command.
func (c *maintenanceAddCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	now := time.Now().UTC().Truncate(time.Second)
	m, err := c.window(now)
	if err != nil {
		return &cli.Status{Code: cli.ExitUsage, Err: err}
	}
	return c.with(ctx, streams, root, func(ctx context.Context, hub *bus.Bus) error {
		if err := c.checkNames(ctx, hub); err != nil {
			return err
		}
		e := audit.Entry{At: now, By: m.By, Object: objectWindow, Action: "add", ID: m.ID}
		err := changeWindows(ctx, hub, e, now, func(list []runs.Maintenance) ([]runs.Maintenance, *runs.Maintenance, error) {
			if !slices.ContainsFunc(list, func(other runs.Maintenance) bool { return other.ID == m.ID }) {
				list = append(list, m)
			}
			return list, &m, nil
		})
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return cli.PrintJSON(streams.Out, standing(now, m)[0])
		}
		return printWindows(streams.Out, standing(now, m))
	})
}

// checkNames refuses names of which nothing is planned: a window for a misspelt region would cover nothing, and nobody would know before the night.
func (c *maintenanceAddCommand) checkNames(ctx context.Context, hub *bus.Bus) error {
	if c.Unplanned {
		return nil
	}
	planned, err := hub.Planned(ctx)
	if err != nil {
		return err
	}
	bad := func(what, got string, want []string) error {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--%s: got %.100q, want one of which something is planned: %s (or --unplanned)", what, got, strings.Join(want, ", "))}
	}
	scenarios := map[string]bool{}
	for region, names := range planned {
		for _, name := range names {
			scenarios[name] = scenarios[name] || c.Region == "" || c.Region == region
		}
	}
	maps.DeleteFunc(scenarios, func(_ string, there bool) bool { return !there })
	if _, ok := planned[c.Region]; c.Region != "" && !ok {
		return bad("region", c.Region, slices.Sorted(maps.Keys(planned)))
	}
	if c.Scenario != "" && !scenarios[c.Scenario] {
		return bad("scenario", c.Scenario, slices.Sorted(maps.Keys(scenarios)))
	}
	return nil
}

// maintenanceEndCommand ends a window before its time.
type maintenanceEndCommand struct {
	hubAddress
	ID     string `arg:"" help:"Window, as list prints it."`
	By     string `help:"Who says so; the user of this machine by default."`
	Output string `help:"Form of the output: text or json." enum:"text,json" default:"text" short:"o"`
}

// Run implements the command.
func (c *maintenanceEndCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	now := time.Now().UTC().Truncate(time.Second)
	end := now.Add(notice)
	by := c.By
	if by == "" {
		by = whoami()
	}
	return c.with(ctx, streams, root, func(ctx context.Context, hub *bus.Bus) error {
		var ended runs.Maintenance
		var dropped bool
		e := audit.Entry{At: now, By: by, Object: objectWindow, Action: "end", ID: c.ID}
		err := changeWindows(ctx, hub, e, now, func(list []runs.Maintenance) ([]runs.Maintenance, *runs.Maintenance, error) {
			i := slices.IndexFunc(list, func(m runs.Maintenance) bool { return m.ID == c.ID })
			switch {
			case i < 0 && dropped, i >= 0 && ended.ID != "" && list[i].To.Equal(end): // by the attempt before, whose answer was lost
				return list, &ended, nil
			case i < 0:
				return nil, nil, &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("end maintenance: got %.100q, want the id of a window that coordinator maintenance list prints", c.ID)}
			case !list[i].To.After(end):
				return nil, nil, &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("end maintenance %s: got one that ends or ended at %s already", c.ID, stamp(list[i].To))}
			}
			ended = list[i]
			if dropped = !ended.From.Before(end); dropped {
				return slices.Delete(list, i, i+1), &ended, nil
			}
			ended.To = end
			list[i] = ended
			return list, &ended, nil
		})
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return cli.PrintJSON(streams.Out, ended)
		}
		text := fmt.Sprintf("%s ends at %s", c.ID, stamp(ended.To))
		if dropped {
			text = c.ID + " is dropped: it had not begun"
		}
		_, err = fmt.Fprintln(streams.Out, text)
		return err
	})
}

// changeWindows has the windows changed, and puts them back if nobody else has changed them meanwhile; otherwise it starts over. change must give the same
// if it is called on what it gave; it returns the window that it is about. The entry goes into the audit trail before anything is changed.
func changeWindows(ctx context.Context, hub *bus.Bus, e audit.Entry, now time.Time, change func([]runs.Maintenance) ([]runs.Maintenance, *runs.Maintenance, error)) error {
	noted := false
	save := func() error {
		list, revision, err := hub.Maintenance(ctx)
		if errors.Is(err, orders.ErrUnusable) {
			list, err = nil, nil // coordinators go on with those that they knew, until there are new ones
		}
		if err != nil {
			return err
		}
		after, about, err := change(orders.KeptMaintenance(list, now))
		if err != nil {
			return err
		}
		if _, err := orders.EncodeMaintenance(after); err != nil {
			return err
		}
		if !noted {
			if e.Detail, err = json.Marshal(about); err != nil {
				return err
			}
			if err := hub.Audit().Append(ctx, e); err != nil {
				return err
			}
			noted = true
		}
		_, err = hub.SaveMaintenance(ctx, after, revision)
		return err
	}
	err := save()
	for range changeAttempts {
		if !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrUnavailable) || !noted || ctx.Err() != nil {
			break
		}
		err = save()
	}
	if err == nil || !noted {
		return err
	}
	e.Failed = audit.Line(err.Error())
	return errors.Join(err, hub.Audit().Append(context.WithoutCancel(ctx), e))
}

// maintenanceListCommand prints the windows.
type maintenanceListCommand struct {
	hubAddress
	Output string `help:"Form of the output: text or json." enum:"text,json" default:"text" short:"o"`
}

// Run implements the command.
func (c *maintenanceListCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	return c.with(ctx, streams, root, func(ctx context.Context, hub *bus.Bus) error {
		windows, _, err := hub.Maintenance(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		kept := standing(now, orders.KeptMaintenance(windows, now)...)
		if c.Output == "json" {
			return cli.PrintJSON(streams.Out, kept)
		}
		return printWindows(streams.Out, kept)
	})
}

// listed is a window as the commands print it.
type listed struct {
	State string `json:"state"` // planned, open or ended
	runs.Maintenance
}

// standing says how windows stand.
func standing(now time.Time, windows ...runs.Maintenance) []listed {
	out := []listed{}
	for _, m := range windows {
		state := "open"
		switch {
		case now.Before(m.From):
			state = "planned"
		case !now.Before(m.To):
			state = "ended"
		}
		out = append(out, listed{State: state, Maintenance: m})
	}
	return out
}

func printWindows(out io.Writer, windows []listed) error {
	if len(windows) == 0 {
		_, err := fmt.Fprintln(out, "no maintenance")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tFROM\tTO\tSCENARIO\tREGION\tBY\tWHY")
	for _, m := range windows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, m.State, stamp(m.From), stamp(m.To), orAll(m.Scenario), orAll(m.Region), m.By, m.Why)
	}
	return table.Flush()
}

func orAll(name string) string {
	if name == "" {
		return "all"
	}
	return name
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// whoami names the user of this machine, as far as it is known.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		name += "@" + host
	}
	return audit.Line(name)
}

// auditCommand prints who changed what.
type auditCommand struct {
	hubAddress
	Since  moment `help:"From this time or day on; all that is kept by default, 400 days." env:"-" placeholder:"TIME"`
	Limit  int    `help:"Entries at most; the newest are shown." default:"1000" env:"-"`
	Output string `help:"Form of the output: text or json." enum:"text,json" default:"text" short:"o"`
}

// maxAudit bounds how many entries are printed.
const maxAudit = 100_000

// Run implements the command.
func (c *auditCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	if c.Limit < 1 || c.Limit > maxAudit {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--limit: got %d, want 1 to %d", c.Limit, maxAudit)}
	}
	since := c.Since.Time
	if since.IsZero() {
		since = time.Now().Add(-audit.Age)
	}
	return c.with(ctx, streams, root, func(ctx context.Context, hub *bus.Bus) error {
		trail, unusable, err := hub.Audit().Read(ctx, since, c.Limit)
		if err != nil {
			return err
		}
		if unusable > 0 {
			fmt.Fprintf(streams.Err, "coordinator: audit: %d messages are no entries, and are left out\n", unusable)
		}
		if c.Output == "json" {
			if trail == nil {
				trail = []audit.Record{}
			}
			return cli.PrintJSON(streams.Out, trail)
		}
		table := tabwriter.NewWriter(streams.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "STORED\tBY\tWHAT\tID\tDETAIL")
		for _, r := range trail {
			detail := audit.Line(string(r.Detail))
			if r.Failed != "" {
				detail = "failed: " + r.Failed
			}
			fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\n", stamp(r.StoredAt), r.By, r.Object, r.Action, r.ID, detail)
		}
		return table.Flush()
	})
}
