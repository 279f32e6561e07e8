package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

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
	KindCursor     Kind = "cursor"
)

// Kinds lists all kinds in a fixed order.
func Kinds() []Kind {
	return []Kind{KindAssignment, KindResult, KindVerdict, KindHeartbeat, KindCursor}
}

// RejectedError is the error of a message that did not pass its checks. It has been counted in Stats and taken out of the way.
type RejectedError struct {
	Kind    Kind
	Subject string
	Err     error
}

// Error implements error.
func (e *RejectedError) Error() string { return fmt.Sprintf("reject %s on %s: %v", e.Kind, e.Subject, e.Err) }

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
const runHeader = "Lastmile-Run"

// Subjects. Their tokens have been checked with scenario.ValidName, alone or as parts of a run id.

func jobSubject(a *runs.Assignment) string {
	return fmt.Sprintf("job.%s.%s.%s.%s.%d", a.Region, a.Scenario.Pool(), a.Scenario.Name, a.Network.Name, a.Slot.Unix())
}

func resultSubject(r *runs.Result) string { return "res." + r.Region + "." + r.Scenario }

func verdictSubject(v *runs.Verdict) string {
	return "verdict." + v.Region + "." + strconv.FormatInt(v.Minute.Unix(), 10)
}

func heartbeatSubject(h *runs.Heartbeat) string { return "hb." + h.Region + "." + h.Probe }

func jobsStream(region string) string    { return "JOBS_" + region }
func resultsStream(region string) string { return "RESULTS_" + region }

const verdictStream = "VERDICT"

// checkName refuses what must not become a token of a subject.
func checkName(what, name string) error {
	if !scenario.ValidName(name) {
		return fmt.Errorf("got %s %.100q, want a DNS label: a-z, 0-9 and inner hyphens, at most 63", what, name)
	}
	return nil
}

// The check functions hold for what we send as well as for what we receive.

func checkResult(r *runs.Result) error {
	if err := r.Check(); err != nil {
		return err
	}
	return checkName("probe", r.Probe)
}

func checkVerdict(v *runs.Verdict) error {
	if err := checkName("region", v.Region); err != nil {
		return err
	}
	if !v.Minute.Equal(v.Minute.Truncate(time.Minute)) || v.Minute.Unix() <= 0 {
		return fmt.Errorf("got minute %s, want a whole one", v.Minute)
	}
	return v.Check()
}

func checkHeartbeat(h *runs.Heartbeat) error {
	if h.Schema != runs.Schema {
		return fmt.Errorf("got schema %d, want %d", h.Schema, runs.Schema)
	}
	if err := checkName("region", h.Region); err != nil {
		return err
	}
	return checkName("probe", h.Probe)
}

// The decode functions turn a message into what it claims to be, or say what is wrong with it. A body that does not belong to
// the subject it came on is wrong too: permissions are granted by subject.

func decodeAssignment(subject string, body []byte) (runs.Assignment, error) {
	var a runs.Assignment
	if err := json.Unmarshal(body, &a); err != nil {
		return a, err
	}
	if err := a.Check(); err != nil {
		return a, err
	}
	return a, matches(subject, jobSubject(&a))
}

func decodeResult(subject string, header nats.Header, body []byte) (runs.Result, error) {
	var r runs.Result
	if err := json.Unmarshal(body, &r); err != nil {
		return r, err
	}
	if err := checkResult(&r); err != nil {
		return r, err
	}
	if got := header.Get(runHeader); got != string(r.RunID) {
		return r, fmt.Errorf("got header %s %.200q, want the body's run id %s", runHeader, got, r.RunID)
	}
	return r, matches(subject, resultSubject(&r))
}

func decodeVerdict(subject string, body []byte) (runs.Verdict, error) {
	var v runs.Verdict
	if err := json.Unmarshal(body, &v); err != nil {
		return v, err
	}
	if err := checkVerdict(&v); err != nil {
		return v, err
	}
	return v, matches(subject, verdictSubject(&v))
}

func decodeHeartbeat(subject string, body []byte) (runs.Heartbeat, error) {
	var h runs.Heartbeat
	if err := json.Unmarshal(body, &h); err != nil {
		return h, err
	}
	if err := checkHeartbeat(&h); err != nil {
		return h, err
	}
	return h, matches(subject, heartbeatSubject(&h))
}

func matches(got, want string) error {
	if got != want {
		return fmt.Errorf("got subject %.300q, want that of the body, %s", got, want)
	}
	return nil
}

// encodeResult makes the body of a result of at most limit bytes. Where the whole does not fit, the last requests are left out
// and their number is returned: counts, steps and cause stay true.
func encodeResult(r runs.Result, limit int) (body []byte, dropped int, err error) {
	if body, err = json.Marshal(&r); err != nil {
		return nil, 0, err
	}
	if len(body) <= limit {
		return body, 0, nil
	}
	all := r.Requests
	sizes := make([]int, len(all))
	room := limit - len(body)
	for i := range all {
		one, err := json.Marshal(&all[i])
		if err != nil {
			return nil, 0, err
		}
		sizes[i] = len(one) + 1 // with its comma
		room += sizes[i]
	}
	keep := 0
	for keep < len(all) && sizes[keep] <= room {
		room -= sizes[keep]
		keep++
	}
	r.Requests = all[:keep]
	if body, err = json.Marshal(&r); err != nil {
		return nil, 0, err
	}
	if len(body) > limit {
		return nil, 0, fmt.Errorf("got %d bytes without requests, want at most %d: %w", len(body), limit, nats.ErrMaxPayload)
	}
	return body, len(all) - keep, nil
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
