// Package report writes the result of a run for who asked for that run: as text for people, as JUnit XML for build servers.
package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Text writes a result for people.
func Text(w io.Writer, r *runs.Result) {
	fmt.Fprintf(w, "%s  %s in %s over %s: %s in %.0f ms\n", r.RunID, r.Scenario, r.Region, r.Network, strings.ToUpper(string(r.State)), r.DurationMS)
	for i := range r.Steps {
		printStep(w, &r.Steps[i])
	}
	if r.Cause != nil {
		fmt.Fprintf(w, "  cause: %s: %s\n", r.Cause.Class, plain(r.Cause.Detail))
	}
	printReplication(w, r.Replication)
	fmt.Fprintf(w, "  %d requests, CDN cache %d hits, %d misses\n", len(r.Requests), r.Cache.Hits, r.Cache.Misses)
	printLink(w, &r.Link)
	for _, reason := range r.Tainted {
		fmt.Fprintf(w, "  its times are not to be trusted: %s\n", plain(reason))
	}
	printArtefacts(w, r)
}

// printArtefacts says where what was kept of the run is.
func printArtefacts(w io.Writer, r *runs.Result) {
	for _, a := range r.Artefacts {
		what := string(a.Kind)
		if a.Step != "" {
			what += " of " + a.Step
		}
		if a.Truncated {
			what += ", shortened"
		}
		fmt.Fprintf(w, "  %s: %s\n", what, a.Location)
	}
	if r.ArtefactError != "" {
		fmt.Fprintf(w, "  not kept: %s\n", plain(r.ArtefactError))
	}
}

// printReplication says what a run saw of a write. Of its reads only a few are among the run's requests.
func printReplication(w io.Writer, p *runs.Replication) {
	if p == nil {
		return
	}
	switch {
	case p.LagMS != nil:
		fmt.Fprintf(w, "  written in %s, visible %.0f ms later (± %.0f ms)", p.From, *p.LagMS, p.ErrorMS)
	case p.Lost:
		fmt.Fprintf(w, "  written in %s, and lost", p.From)
	case !p.WrittenAt.IsZero():
		fmt.Fprintf(w, "  written in %s", p.From)
	default:
		fmt.Fprintf(w, "  nothing written in %s", p.From)
	}
	if p.Looks > 0 {
		fmt.Fprintf(w, "; %d reads, %d stale, %d backwards", p.Looks, p.StaleReads, p.Backwards)
	}
	fmt.Fprintln(w)
}

// printLink says which network the run went over, and what that was measured to be.
func printLink(w io.Writer, l *runs.Link) {
	fmt.Fprintf(w, "  link %s (%s)", l.Profile, l.Mode)
	if l.RTTMS != nil {
		fmt.Fprintf(w, ", RTT %.1f ms", *l.RTTMS)
	}
	for _, direction := range []struct {
		name    string
		kbit    *float64
		traffic *runs.LinkTraffic
	}{{"down", l.DownKbit, l.Down}, {"up", l.UpKbit, l.Up}} {
		if direction.kbit != nil {
			fmt.Fprintf(w, ", %s %.0f kbit/s", direction.name, *direction.kbit)
		}
		if t := direction.traffic; t != nil {
			fmt.Fprintf(w, " (%d packets, %d lost)", t.Sent, t.DroppedLoss+t.DroppedQueue)
		}
	}
	if l.Verdict != "" {
		fmt.Fprintf(w, ": %s", strings.ReplaceAll(string(l.Verdict), "_", " "))
	}
	fmt.Fprintln(w)
	if l.Blocked > 0 {
		fmt.Fprintf(w, "  blocked %d attempts to reach %s\n", l.Blocked, plain(strings.Join(l.BlockedHosts, ", ")))
	}
}

func printStep(w io.Writer, s *runs.Step) {
	fmt.Fprintf(w, "  %-9s %-16s %-14s", s.State, s.ID, s.Type)
	if s.State != runs.StepSkipped {
		fmt.Fprintf(w, " %7.0f ms %4d requests %9s", s.DurationMS, s.Requests, scenario.Bytes(s.Bytes))
	}
	if s.Attempts > 1 {
		fmt.Fprintf(w, "  %d attempts", s.Attempts)
	}
	if v := s.Vitals; v != nil && v.LCP != nil {
		fmt.Fprintf(w, "  LCP %.0f ms", *v.LCP)
	}
	fmt.Fprintln(w)
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "            %s\n", plain(warning))
	}
}

// plain is a text in which a target may have had a say, on one line and without what a terminal would obey.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, text)
}
