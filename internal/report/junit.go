package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"lastmile/internal/runs"
)

// suite is a run as JUnit's format has it: one suite with a case for each step.
type suite struct {
	XMLName   xml.Name `xml:"testsuite"`
	Name      string   `xml:"name,attr"`
	Timestamp string   `xml:"timestamp,attr"`
	Time      string   `xml:"time,attr"` // seconds, as all times
	Tests     int      `xml:"tests,attr"`
	Failures  int      `xml:"failures,attr"`
	Errors    int      `xml:"errors,attr"`
	Skipped   int      `xml:"skipped,attr"`
	Cases     []one    `xml:"testcase"`
	Output    string   `xml:"system-out,omitempty"`
}

type one struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	Time    string   `xml:"time,attr"`
	Failure *verdict `xml:"failure"`
	Error   *verdict `xml:"error"`
	Skipped *verdict `xml:"skipped"`
	Output  string   `xml:"system-out,omitempty"`
}

type verdict struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr,omitempty"`
}

// JUnit writes a result as JUnit XML. A step that failed is a failure; where we could not measure, the run has a case of its own that is
// an error, and so that no build server passes it, a run that failed as a whole has one that is a failure.
func JUnit(w io.Writer, r *runs.Result) error {
	s := suite{Name: r.Scenario, Timestamp: r.StartedAt.UTC().Format("2006-01-02T15:04:05"), Time: seconds(r.DurationMS)}
	class := fmt.Sprintf("%s.%s.%s", r.Scenario, r.Region, r.Network)
	failed := false
	for i := range r.Steps {
		step := &r.Steps[i]
		c := one{Name: step.ID, Class: class, Time: seconds(step.DurationMS)}
		for _, warning := range step.Warnings {
			c.Output += plain(warning) + "\n"
		}
		switch {
		case step.State == runs.StepFailed && r.State == runs.StateFailed:
			c.Failure, failed = verdictOf(step.Cause), true
		case step.State == runs.StepSkipped:
			c.Skipped = &verdict{Message: string(step.Skipped)}
		}
		s.Cases = append(s.Cases, c)
	}
	whole := one{Name: "run", Class: class, Time: seconds(r.DurationMS)}
	switch {
	case r.State == runs.StateInvalid:
		whole.Error = verdictOf(r.Cause)
		s.Cases = append(s.Cases, whole)
	case r.State == runs.StateFailed && !failed:
		whole.Failure = verdictOf(r.Cause)
		s.Cases = append(s.Cases, whole)
	}
	for _, c := range s.Cases {
		s.Tests++
		s.Failures += counted(c.Failure)
		s.Errors += counted(c.Error)
		s.Skipped += counted(c.Skipped)
	}
	var out strings.Builder
	Text(&out, r)
	s.Output = out.String()
	body, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode junit: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, body)
	return err
}

func seconds(ms float64) string { return fmt.Sprintf("%.3f", ms/1000) }

func counted(v *verdict) int {
	if v == nil {
		return 0
	}
	return 1
}

func verdictOf(c *runs.Cause) *verdict {
	if c == nil {
		return &verdict{}
	}
	return &verdict{Type: string(c.Class), Message: plain(c.Detail)}
}
