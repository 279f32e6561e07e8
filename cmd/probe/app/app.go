// Package app is the probe program: its commands, and the wiring of the rooms behind them.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"lastmile/cmd/probe/links"
	"lastmile/internal/browser"
	"lastmile/internal/cli"
	"lastmile/internal/journey"
	"lastmile/internal/scenario"
	"lastmile/internal/tracing"
	"lastmile/internal/vars"
)

// version is set at build time.
var version string

// grammar is the command line.
type grammar struct {
	cli.Common

	Serve     serveCommand     `cmd:"" help:"Join the fleet: take this region's runs off the bus, run them, report."`
	Run       runCommand       `cmd:"" help:"Run one scenario here and now, with no fleet, and print what became of it."`
	Networks  links.List       `cmd:"" help:"Print the access networks that there are to run over: the presets, and your own."`
	Calibrate calibrateCommand `cmd:"" help:"Prove the emulated networks on this machine, with real TCP through each."`
	Doctor    doctorCommand    `cmd:"" help:"Say what works on this machine with these flags, what does not, and what to do."`
}

// calibrateCommand proves the emulated networks on this machine.
type calibrateCommand struct {
	links.Calibrate
}

// Run implements the command.
func (c *calibrateCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	return c.Prove(ctx, root.Logger(streams.Err), streams)
}

// Main runs the program and returns its exit status.
func Main(ctx context.Context, args []string, streams cli.Streams) int {
	about := cli.About{Name: "probe", Version: version, Description: "Runs scripted user journeys and measures what a user of this region would see."}
	return cli.Main(ctx, about, &grammar{}, args, streams)
}

// Chromium holds the flags that say which browser to use and how.
type Chromium struct {
	ChromiumShell string `help:"Path of chromium-headless-shell; looked up where empty." type:"path"`
	ChromiumFull  string `help:"Path of the full Chromium, for scenarios with engine: full; looked up where empty." type:"path"`
	NoSandbox     bool   `help:"Start Chromium without its sandbox. Needed as root, and in containers that allow no user namespaces."`
	TempDir       string `help:"Where Chromium's run directories are made; the system's where empty." type:"path"`

	MaxMemory scenario.Bytes `help:"Memory that a run's browser may use: a page that makes it use more fails." default:"1500MB"`
	MaxBytes  scenario.Bytes `help:"Bytes that the pages of a run may receive, unpacked; beyond that the run fails." default:"200MB"`
}

// refusal says why Chromium would not start for a user, before it is tried with every run.
func (c Chromium) refusal(uid int) error {
	if uid == 0 && !c.NoSandbox {
		return errors.New("chromium's sandbox does not work for root: run as another user, or with --no-sandbox where every visited page is trusted")
	}
	return nil
}

// errNoBrowser is in the error of open where the way out is the user's: there is no Chromium, or it may not run like this.
var errNoBrowser = errors.New("no browser journeys here")

// open finds the browser.
func (c Chromium) open(log *slog.Logger) (*browser.Runner, error) {
	chrome, err := browser.New(log, browser.Options{
		ShellPath: c.ChromiumShell, FullPath: c.ChromiumFull, NoSandbox: c.NoSandbox, TempDir: c.TempDir,
		Limits: browser.Limits{Memory: c.MaxMemory, Bytes: c.MaxBytes},
	})
	if errors.Is(err, browser.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", errNoBrowser, err)
	}
	if err != nil {
		return nil, err
	}
	if err := c.refusal(os.Geteuid()); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoBrowser, err)
	}
	return chrome, nil
}

// Check reports why browser journeys cannot run with these flags; nil where they can.
func (c Chromium) Check(log *slog.Logger) error {
	_, err := c.open(log)
	return err
}

// RunOptions are what runs need, in a fleet or alone.
type RunOptions struct {
	Chromium
	Link
	Secrets
	tracing.Flags

	Traces  *tracing.Exporter `kong:"-"` // made from the flags
	Keeper  journey.Keeper    `kong:"-"` // of artefacts; nil = none are made
	Regions journey.Relay     `kong:"-"` // the way to the runs of other regions; nil = a run that replicates is alone
}

// Secrets holds the flags that say where secrets come from.
type Secrets struct {
	SecretsDir string            `help:"Directory with one file for each secret, named like it. Otherwise LASTMILE_SECRET_<NAME> is read." type:"existingdir"`
	Preset     map[string]string `kong:"-"` // given by a program that embeds the probe; wins
}

// lookup finds a secret's value: a file wins over the environment. A file that is there and cannot be read is an error.
func (s Secrets) lookup(name string) (vars.Secret, error) {
	if value, ok := s.Preset[name]; ok {
		return vars.Secret(value), nil
	}
	if s.SecretsDir != "" {
		body, err := os.ReadFile(filepath.Join(s.SecretsDir, filepath.Base(name)))
		if err == nil {
			return vars.Secret(strings.TrimRight(string(body), "\r\n")), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	if value, ok := os.LookupEnv("LASTMILE_SECRET_" + name); ok {
		return vars.Secret(value), nil
	}
	return "", fmt.Errorf("not set on this probe: set LASTMILE_SECRET_%s, or put a file %s into --secrets-dir", name, name)
}
