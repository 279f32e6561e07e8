// Package cli is what both programs share at their edge: flags from arguments and LASTMILE_ variables, logs, exit status, and the
// HTTP listener for metrics and health.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// Streams are a program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Status is an error that carries the exit status of the program. One without text prints nothing: the program has said what
// there is to say.
type Status struct {
	Code int
	Err  error
}

// Error implements error.
func (s *Status) Error() string {
	if s.Err == nil {
		return fmt.Sprintf("exit status %d", s.Code)
	}
	return s.Err.Error()
}

// Unwrap gives the error underneath.
func (s *Status) Unwrap() error { return s.Err }

// The exit statuses of both programs.
const (
	ExitFailed  = 1 // the journey failed, or the program did
	ExitUsage   = 2 // bad flags, bad input
	ExitInvalid = 3 // could not measure
)

// About names a program.
type About struct {
	Name        string
	Description string
	Version     string
	Vars        map[string]string // values for ${name} in the help texts
}

// Main parses the arguments into grammar (a struct in kong's terms, whose commands have a Run method taking a context.Context and
// Streams), runs the command and returns the exit status.
func Main(ctx context.Context, about About, grammar any, args []string, streams Streams) int {
	exited := false
	parser, err := kong.New(grammar,
		kong.Name(about.Name),
		kong.Description(about.Description),
		kong.DefaultEnvars("LASTMILE"),
		kong.Writers(streams.Out, streams.Err),
		kong.Vars{"version": Version(about.Version)},
		kong.Vars(about.Vars),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(int) { exited = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams),
	)
	if err != nil {
		return report(about.Name, streams.Err, &Status{Code: ExitFailed, Err: err})
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited { // help or version was asked for and has been printed
		return 0
	}
	if err != nil {
		return report(about.Name, streams.Err, &Status{Code: ExitUsage, Err: err})
	}
	if err := command.Run(); err != nil {
		return report(about.Name, streams.Err, err)
	}
	return 0
}

// report prints an error and returns its exit status.
func report(name string, w io.Writer, err error) int {
	status := &Status{Code: ExitFailed}
	errors.As(err, &status)
	text := err.Error() // the whole of it: the status may be one of several errors
	if status.Err == nil && text == status.Error() {
		return status.Code
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(w, "%s: %s\n", name, line)
	}
	return status.Code
}

// Version is the version set at build time, or what the build recorded of the source.
func Version(set string) string {
	if set != "" {
		return set
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

// Common holds the flags of every program.
type Common struct {
	Version   kong.VersionFlag `help:"Print the version and exit." env:"-"` // as a variable it would end every command
	LogLevel  string           `help:"Least severe level to log: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string           `help:"Form of the log: text or json." enum:"text,json" default:"text"`
}

// Logger returns a logger that writes to w.
func (c Common) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // kong has checked the flag; only a zero Common comes here
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
