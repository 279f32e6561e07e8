package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"lastmile/cmd/probe/links"
	"lastmile/internal/browser"
	"lastmile/internal/cli"
	"lastmile/internal/linkemu"
	"lastmile/internal/netprofile"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// doctorCommand says what works on this machine.
type doctorCommand struct {
	RunOptions
	Output string `help:"Form of the report: text or json." enum:"text,json" default:"text"`
}

// health is how a check came out.
type health string

const (
	healthy health = "ok"
	limited health = "warn" // runs are possible, though not all, or not as well
	broken  health = "fail" // what was asked for is not possible
)

// check is one line of the report.
type check struct {
	Name  string `json:"name"`
	State health `json:"state"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"` // what would help; empty where nothing need be done
}

// Run implements the command.
func (c *doctorCommand) Run(ctx context.Context, streams cli.Streams, root *grammar) error {
	d := doctor{log: root.Logger(streams.Err), options: c.RunOptions}
	checks := append(d.browsers(ctx), d.links(ctx)...)
	m := machine{files: os.DirFS("/")}
	checks = append(checks, m.checks(cmp.Or(c.TempDir, os.TempDir()))...)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check this machine: %w", err)
	}
	if c.Output == "json" {
		if err := cli.PrintJSON(streams.Out, checks); err != nil {
			return err
		}
	} else {
		printChecks(streams.Out, checks)
	}
	if slices.ContainsFunc(checks, func(c check) bool { return c.State == broken }) {
		return &cli.Status{Code: cli.ExitFailed}
	}
	return nil
}

// printChecks writes a line for each check, with the advice below it, then the sum.
func printChecks(w io.Writer, checks []check) {
	count := map[health]int{}
	for _, c := range checks {
		count[c.State]++
		fmt.Fprintf(w, "%-4s  %-16s  %s\n", c.State, c.Name, strings.ReplaceAll(c.Found, "\n", " "))
		if c.Do != "" {
			fmt.Fprintf(w, "%24s-> %s\n", "", c.Do)
		}
	}
	verdict := "probe runs are possible here"
	if count[broken] > 0 {
		verdict = "what these flags ask for is not possible here"
	}
	fmt.Fprintf(w, "\n%d ok, %d warnings, %d failures: %s\n", count[healthy], count[limited], count[broken], verdict)
}

// doctor tries what runs with these options do.
type doctor struct {
	log     *slog.Logger
	options RunOptions
}

const installChromium = "on Debian: " + browser.InstallCommand

// browsers starts each engine, and then one with its sandbox.
func (d doctor) browsers(ctx context.Context) []check {
	var out []check
	var works scenario.Engine
	for _, e := range []struct {
		engine     scenario.Engine
		flag, path string
		without    string // what is not possible then
	}{
		{scenario.EngineShell, "--chromium-shell", d.options.ChromiumShell, "browser scenarios that do not ask for engine: full"},
		{scenario.EngineFull, "--chromium-full", d.options.ChromiumFull, "scenarios with engine: full"},
	} {
		c := check{Name: "chromium-" + string(e.engine), State: healthy}
		found, err := d.start(ctx, e.engine, true)
		switch {
		case err == nil:
			c.Found = found
			works = cmp.Or(works, e.engine)
		case errors.Is(err, browser.ErrNotFound) && e.path == "":
			c.State, c.Found, c.Do = limited, "not found: no "+e.without+" here", installChromium
		case errors.Is(err, browser.ErrNotFound):
			c.State, c.Found, c.Do = broken, "not found: no program "+e.path, "correct "+e.flag+", or leave it out to have Chromium looked up"
		default:
			c.State, c.Found, c.Do = broken, err.Error(), "start it by hand to see what it says, and see temp-dir, shm and memory below"
		}
		out = append(out, c)
	}
	if works != "" {
		out = append(out, d.sandbox(ctx, works))
	}
	return out
}

// start starts an engine and ends it.
func (d doctor) start(ctx context.Context, engine scenario.Engine, noSandbox bool) (found string, err error) {
	flags := d.options.Chromium
	flags.NoSandbox = noSandbox
	if engine == scenario.EngineFull { // the flag of one must not hide what the other is like
		flags.ChromiumShell = ""
	} else {
		flags.ChromiumFull = ""
	}
	chrome, err := flags.open(d.log)
	if err != nil {
		return "", err
	}
	none, _ := netprofile.Lookup(netprofile.None)
	network, err := linkemu.New(d.log, linkemu.Options{}).Open(ctx, none, nil)
	if err != nil {
		return "", err
	}
	defer network.Close()
	if err := network.ServeBrowser(); err != nil {
		return "", err
	}
	began := time.Now()
	session, err := chrome.Open(ctx, &runs.Assignment{Scenario: scenario.Scenario{Name: "doctor", Engine: engine}}, network)
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	session.Close()
	found = fmt.Sprintf("starts in %.0f ms", took.Seconds()*1000)
	if version, err := chrome.Version(ctx); err == nil && engine == scenario.EngineShell {
		found = version + ", " + found
	}
	return found, nil
}

// sandbox says whether Chromium's works, whatever the flag says.
func (d doctor) sandbox(ctx context.Context, engine scenario.Engine) check {
	_, err := d.start(ctx, engine, false)
	off := d.options.NoSandbox
	c := check{Name: "chromium-sandbox", State: limited}
	switch {
	case err == nil && off:
		c.Found, c.Do = "works here, and is off by --no-sandbox", "leave --no-sandbox out"
	case err == nil:
		c.State, c.Found = healthy, "in use"
	case off:
		c.Found = "off by --no-sandbox; it would not work here: " + reason(err)
		c.Do = "visit only pages that you trust; or run the probe as a user other than root, where user namespaces are allowed"
	default:
		c.State, c.Found = broken, reason(err)
		c.Do = "run the probe as a user other than root, where user namespaces are allowed; or give --no-sandbox if every visited page is trusted"
	}
	return c
}

// reason is an error without what the report says already.
func reason(err error) string {
	if errors.Is(err, errNoBrowser) && os.Geteuid() == 0 {
		return "it does not work for root"
	}
	return err.Error()
}

// trialNetwork is what links are tried with: slow enough for any machine, and not so slow that it takes long.
const trialNetwork = "3g-fast"

// links tries the emulated link in the mode of the flags, and whether the other one is possible.
func (d doctor) links(ctx context.Context) []check {
	profile, _ := netprofile.Lookup(trialNetwork)
	out := d.dial(ctx, profile)
	_, missing := d.options.Chromium.open(d.log)
	if d.options.LinkMode != "namespace" {
		out = append(out, d.page(ctx, profile, missing))
	}
	c := check{Name: "link-namespace", State: healthy, Found: "possible"}
	if err := linkemu.CheckNamespace(ctx); err != nil {
		c.Found, c.Do, _ = strings.Cut(err.Error(), "; ")
		if c.State = limited; d.options.LinkMode == "namespace" {
			c.State = broken
			c.Do += "; or choose --link-mode proxy"
		}
	} else if d.options.LinkMode == "namespace" {
		c = d.page(ctx, profile, missing)
	}
	return append(out, c)
}

// dial measures a link without a browser.
func (d doctor) dial(ctx context.Context, p netprofile.Profile) []check {
	const period = 500 * time.Millisecond
	m, err := linkemu.New(d.log, linkemu.Options{}).Measure(ctx, p, period)
	if err != nil {
		return []check{{Name: "link-dial", State: broken, Found: err.Error()}}
	}
	const quiet = "give the probe more CPU time, or fewer runs at once; see probe calibrate"
	link := check{Name: "link-dial", State: healthy, Found: fmt.Sprintf("%s: handshake got/want %s ms", p.Name, links.GotWant(m.Handshake.MedianMS, m.Handshake.WantMS, 1))}
	if len(m.Misses) > 0 {
		link.State, link.Do = limited, quiet
		link.Found += "; off profile, such runs are invalid: " + m.Misses[0]
		if more := len(m.Misses) - 1; more > 0 {
			link.Found += fmt.Sprintf(", and %d more", more)
		}
	}
	timer := check{Name: "timer", State: healthy, Found: fmt.Sprintf("packets are %.2f ms late in the mean, 1 in 100 more than %.2f ms", m.Late.MeanMS, m.Late.P99MS)}
	if m.Late.P99MS > m.Tolerances.LateMS {
		timer.State, timer.Do = limited, quiet
		timer.Found += fmt.Sprintf(", want at most %.0f ms", m.Tolerances.LateMS)
	}
	return []check{link, timer}
}

// page loads a page of this process in Chromium across a link, with all that a run has.
func (d doctor) page(ctx context.Context, p netprofile.Profile, missing error) check {
	c := check{Name: "link-" + d.options.LinkMode, State: limited}
	if missing != nil {
		c.Found, c.Do = "not tried, as there is no browser to try it with", "see chromium above"
		return c
	}
	result, err := d.run(ctx, p)
	switch {
	case err != nil:
		c.State, c.Found = broken, err.Error()
	case result.State == runs.StatePassed:
		c.State, c.Found = healthy, fmt.Sprintf("a page crosses %s in %.0f ms", p.Name, result.Steps[0].DurationMS)
	case result.Link.Verdict == runs.OffProfile:
		c.Found, c.Do = result.Cause.Detail, "see link-dial"
	default:
		c.State, c.Found = broken, fmt.Sprintf("a page did not cross %s: %s: %s", p.Name, result.Cause.Class, result.Cause.Detail)
	}
	return c
}

// run runs a scenario against a server of this process, which no flag need allow.
func (d doctor) run(ctx context.Context, p netprofile.Profile) (*runs.Result, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>lastmile</title><link rel=icon href=data:,><p>It works.")
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // until it is closed
	}()
	defer func() {
		_ = server.Close()
		<-served
	}()
	o := d.options
	o.AllowNet = append(slices.Clone(o.AllowNet), netip.MustParsePrefix("127.0.0.1/32"))
	runner, missing, err := newRunner(ctx, d.log, "doctor", o)
	if err = cmp.Or(err, missing); err != nil {
		return nil, err
	}
	engine := scenario.EngineShell
	if _, err := d.start(ctx, engine, o.NoSandbox); errors.Is(err, browser.ErrNotFound) {
		engine = scenario.EngineFull
	}
	const limit = scenario.Duration(20 * time.Second)
	a := runs.NewAssignment(scenario.Scenario{
		Name: "doctor", Engine: engine, Timeout: 2 * limit, Regions: scenario.Strings{"here"}, AllowHosts: []string{"127.0.0.1"},
		Steps: []scenario.Step{{ID: "page", Type: scenario.StepNavigate, URL: "http://" + l.Addr().String() + "/", Timeout: limit}},
	}, "here", p, time.Now().UTC().Truncate(time.Second))
	result := runner.Run(ctx, &a)
	return &result, nil
}
