package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"lastmile/internal/bus/archive"
	"lastmile/internal/bus/layout"
	"lastmile/internal/bus/orders"
	"lastmile/internal/bus/resultjson"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// Kind names what a message ought to be. It is a metric label.
type Kind string

// The kinds of messages that can be rejected.
const (
	KindAssignment Kind = "assignment"
	KindResult     Kind = "result"
	KindVerdict    Kind = "verdict"
	KindHeartbeat  Kind = "heartbeat"
	KindCursor     Kind = orders.KindCursor
	KindBegun      Kind = orders.KindBegun
	KindAlerts     Kind = orders.KindAlerts
	KindPlan       Kind = "plan"
	KindPeer       Kind = "peer"
)

// Kinds lists all kinds in a fixed order.
func Kinds() []Kind {
	return []Kind{KindAssignment, KindResult, KindVerdict, KindHeartbeat, KindCursor, KindBegun, KindAlerts, KindPlan, KindPeer}
}

// RejectedError is the error of a message that did not pass its checks. It has been counted in Stats and taken out of the way.
type RejectedError struct {
	Kind    Kind
	Subject string
	Err     error
}

// Error implements error.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("reject %s on %s: %v", e.Kind, e.Subject, e.Err)
}

// Unwrap gives the reason.
func (e *RejectedError) Unwrap() error { return e.Err }

// reject counts a message that did not pass.
func (b *Bus) reject(kind Kind, subject string, err error) *RejectedError {
	b.mu.Lock()
	b.rejected[kind]++
	b.mu.Unlock()
	return &RejectedError{Kind: kind, Subject: fmt.Sprintf("%.300s", subject), Err: err}
}

// runHeader names the run that a result is of, so that tools can tell without reading the body.
const runHeader = archive.RunHeader

// Subjects. Their tokens have been checked with scenario.ValidName, alone or as parts of a run id.

func jobSubject(a *runs.Assignment) string {
	return fmt.Sprintf("job.%s.%s.%s.%s.%d", a.Region, a.Scenario.Pool(), a.Scenario.Name, a.Network.Name, a.Slot.Unix())
}

func resultSubject(r *runs.Result) string { return "res." + r.Region + "." + r.Scenario }

func verdictSubject(v *runs.Verdict) string {
	return "verdict." + v.Region + "." + strconv.FormatInt(v.Minute.Unix(), 10)
}

func heartbeatSubject(h *runs.Heartbeat) string { return "hb." + h.Region + "." + h.Probe }

func jobsStream(region string) string    { return layout.JobsStream(region) }
func resultsStream(region string) string { return layout.ResultsStream(region) }

const verdictStream = layout.Verdicts

// checkName refuses what must not become a token of a subject.
func checkName(what, name string) error {
	if !scenario.ValidName(name) {
		return fmt.Errorf("got %s %.100q, want a DNS label: a-z, 0-9 and inner hyphens, at most 63", what, name)
	}
	return nil
}

// checkResult holds for what we send as well as for what we receive.
func checkResult(r *runs.Result) error {
	if err := r.Check(); err != nil {
		return err
	}
	return checkName("probe", r.Probe)
}

// The decode functions turn a message into what it claims to be, or say what is wrong with it. A body that does not belong to
// the subject it came on is wrong too: permissions are granted by subject.

func decodeAssignment(subject string, body []byte) (runs.Assignment, error) {
	return decode(subject, body, (*runs.Assignment).Check, jobSubject)
}

func decodeResult(subject string, header nats.Header, body []byte) (runs.Result, error) {
	return decodeResultIn(new(resultjson.Space), subject, header, body)
}

func decodeResultIn(space *resultjson.Space, subject string, header nats.Header, body []byte) (runs.Result, error) {
	r, err := space.Decode(body)
	if err == nil {
		err = confirm(subject, &r, checkResult, resultSubject)
	}
	if got := header.Get(runHeader); err == nil && got != string(r.RunID) {
		err = fmt.Errorf("got header %s %.200q, want the body's run id %s", runHeader, got, r.RunID)
	}
	return r, err
}

func decodeVerdict(subject string, body []byte) (runs.Verdict, error) {
	return decode(subject, orders.UnpackVerdict(body), (*runs.Verdict).Check, verdictSubject)
}

func decodeHeartbeat(subject string, body []byte) (runs.Heartbeat, error) {
	return decode(subject, body, (*runs.Heartbeat).Check, heartbeatSubject)
}

func decode[T any](subject string, body []byte, check func(*T) error, subjectOf func(*T) string) (T, error) {
	var m T
	if err := json.Unmarshal(body, &m); err != nil {
		return m, err
	}
	return m, confirm(subject, &m, check, subjectOf)
}

// confirm checks what a message says, and that it came where it belongs.
func confirm[T any](subject string, m *T, check func(*T) error, subjectOf func(*T) string) error {
	if err := check(m); err != nil {
		return err
	}
	if want := subjectOf(m); subject != want {
		return fmt.Errorf("got subject %.300q, want that of the body, %s", subject, want)
	}
	return nil
}

// printable cuts a reason to what fits into a header line.
func printable(err error) string {
	return fmt.Sprintf("%.200s", strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error()))
}
