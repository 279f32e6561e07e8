package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"

	"lastmile/internal/cli"
	"lastmile/internal/console"
	"lastmile/internal/slo"
	"lastmile/internal/statement"
)

// ledgerCommand prints the accounting of a scenario, and why slots were not measured.
type ledgerCommand struct {
	Scenario    string     `arg:"" help:"Scenario, by name."`
	Since       slo.Window `help:"How far back: such as 30m, 24h, 3d; at most 3d." default:"24h"`
	Region      string     `help:"This region only." env:"-"`
	Network     string     `help:"This network only." env:"-"`
	All         bool       `help:"A line for each slot that was not measured, also where several in a row have the same reason."`
	Limit       int        `help:"Lines of slots that were not measured, at most; the newest are shown." default:"1000"`
	Output      string     `help:"Form of the output: text or json." enum:"text,json" default:"text" short:"o"`
	Coordinator []string   `help:"Address of the coordinator; of several, the first that leads answers." default:"http://127.0.0.1:9464" placeholder:"URL"`
}

// ledgerTime bounds the command.
const ledgerTime = time.Minute

// Help is the text below the flags.
func (c *ledgerCommand) Help() string {
	return "Exit status: 0 where the accounting adds up, 1 where it does not, 2 for a scenario that is not known, 3 where no coordinator could answer."
}

// Run implements the command.
func (c *ledgerCommand) Run(ctx context.Context, streams cli.Streams) error {
	if c.Since > statement.Longest {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--since: got %s, want at most %s: single slots are kept that long", c.Since, statement.Longest)}
	}
	if c.Limit < 1 || c.Limit > statement.MaxLimit {
		return &cli.Status{Code: cli.ExitUsage, Err: fmt.Errorf("--limit: got %d, want 1 to %d", c.Limit, statement.MaxLimit)}
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTime)
	defer cancel()
	s, err := c.ask(ctx)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = cli.PrintJSON(streams.Out, s)
	} else {
		err = console.PrintStatement(streams.Out, &s, terminal(streams.Out))
	}
	if err == nil && (!s.Within.Balanced || !s.InAll.Balanced) {
		err = &cli.Status{Code: cli.ExitFailed}
	}
	return err
}

// ask asks one coordinator after another until one answers.
func (c *ledgerCommand) ask(ctx context.Context) (statement.Statement, error) {
	q := statement.Query{Scenario: c.Scenario, Region: c.Region, Network: c.Network, Since: c.Since, Fold: !c.All, Limit: c.Limit}
	var problems []error
	for _, address := range c.Coordinator {
		s, err := statement.Ask(ctx, http.DefaultClient, address, q)
		if err == nil {
			return s, nil
		}
		var refused *statement.RefusedError
		if errors.As(err, &refused) && refused.Status < http.StatusInternalServerError {
			return s, &cli.Status{Code: cli.ExitUsage, Err: err}
		}
		problems = append(problems, fmt.Errorf("%s: %w", address, err))
	}
	return statement.Statement{}, &cli.Status{Code: cli.ExitInvalid, Err: errors.Join(problems...)}
}

// terminal says what an output can show.
func terminal(out io.Writer) console.Options {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return console.Options{}
	}
	return console.Options{
		Color: os.Getenv("NO_COLOR") == "",
		Size: func() console.Size {
			width, height, err := term.GetSize(int(file.Fd()))
			if err != nil {
				return console.Size{}
			}
			return console.Size{Width: width, Height: height}
		},
	}
}
