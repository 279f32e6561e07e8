// Package audit keeps what people changed: who, when, what.
//
//	name   subjects        keeps
//	AUDIT  audit.<object>  one Entry for each change, 400 days
//
// The stream is append-only: no message of it can be deleted or purged, and its configuration cannot be changed back so that it could. An entry is
// written before the change that it speaks of, so that no change is without one; where nothing came of the change, another entry says so. When the
// stream is full, which takes more than fifty thousand changes, it takes no more rather than forget, and nothing can be changed.
//
// Who changed something is who they said they were: the hub has one token for all. Whoever has that can delete the stream as a whole.
package audit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

const (
	// Stream is the stream's name.
	Stream = "AUDIT"
	// Age is how long an entry is kept.
	Age = 400 * 24 * time.Hour

	prefix   = "audit."
	maxBytes = 32 << 20
	maxEntry = 16 << 10 // bytes of one entry
	maxText  = 1000     // bytes of a text in it

	repeats  = 10 * time.Minute // within which one that is published twice is stored once
	attempt  = 2 * time.Second  // for one exchange with the hub
	pause    = 100 * time.Millisecond
	maxBatch = 500 // entries fetched at a time
)

// Entry is one change.
type Entry struct {
	Schema int             `json:"schema"`
	At     time.Time       `json:"at"`               // by the clock of who made it
	By     string          `json:"by"`               // who, as they named themselves
	Object string          `json:"object"`           // kind of what was changed: a label
	Action string          `json:"action"`           // a label
	ID     string          `json:"id"`               // of what was changed: a label
	Failed string          `json:"failed,omitempty"` // the change that was announced did not come about: why
	Detail json.RawMessage `json:"detail,omitempty"` // what it is to be after the change
}

// Record is an entry as it is stored.
type Record struct {
	Entry
	Sequence uint64    `json:"sequence"`
	StoredAt time.Time `json:"stored_at"` // by the hub's clock
}

// Check reports what makes an entry unusable.
func (e *Entry) Check() error {
	switch {
	case e.Schema != runs.Schema:
		return fmt.Errorf("check audit entry: got schema %d, want %d", e.Schema, runs.Schema)
	case !scenario.ValidName(e.Object) || !scenario.ValidName(e.Action) || !scenario.ValidName(e.ID):
		return fmt.Errorf("check audit entry: got object %.100q, action %.100q, id %.100q, want labels", e.Object, e.Action, e.ID)
	case e.At.Unix() <= 0:
		return fmt.Errorf("check audit entry: got time %s, want when it was", e.At)
	case e.By == "" || !printable(e.By):
		return fmt.Errorf("check audit entry: got by %.100q, want one printable line of 1 to %d bytes", e.By, maxText)
	case !printable(e.Failed):
		return fmt.Errorf("check audit entry: got failed %.100q, want one printable line of at most %d bytes", e.Failed, maxText)
	case len(e.Detail) > 0 && !json.Valid(e.Detail):
		return fmt.Errorf("check audit entry: got detail %.100q, want JSON", e.Detail)
	}
	return nil
}

func printable(text string) bool {
	return len(text) <= maxText && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Line makes one printable line of a text, cut where it is too long for an entry.
func Line(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	for len(text) > maxText {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// Ensure makes the stream, or brings the one that exists up to date. replicas is on how many of the hub's servers it is kept.
func Ensure(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        Stream,
		Description: "What people changed: append-only",
		Subjects:    []string{prefix + "*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		MaxAge:      Age,
		MaxBytes:    maxBytes,
		MaxMsgSize:  maxEntry,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		DenyPurge:   true,
		Duplicates:  repeats,
	})
	return err
}

// Trail reads and writes the stream. It is safe for concurrent use.
type Trail struct {
	js    jetstream.JetStream
	fault func(what string, err error) error
}

// New uses the stream of a hub. fault wraps the errors of the server.
func New(js jetstream.JetStream, fault func(what string, err error) error) *Trail {
	return &Trail{js: js, fault: fault}
}

// Append stores an entry. Silence is answered by the same message, which the hub stores once, until ctx ends; an answer is final. nil means that it is
// stored.
func (t *Trail) Append(ctx context.Context, e Entry) error {
	const what = "write audit entry"
	e.Schema = runs.Schema
	if err := e.Check(); err != nil {
		return err
	}
	body, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if len(body) > maxEntry-1024 { // what the header takes
		return fmt.Errorf("%s: got %d bytes, want at most %d", what, len(body), maxEntry-1024)
	}
	msg := &nats.Msg{Subject: prefix + e.Object, Data: body}
	id := rand.Text()
	for {
		once, cancel := context.WithTimeout(ctx, attempt)
		_, err := t.js.PublishMsg(once, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(Stream))
		cancel()
		var api *jetstream.APIError
		switch {
		case err == nil:
			return nil
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			return t.fault(what, fmt.Errorf("got no stream %s at the hub, which its coordinator makes when it starts, if there is room for it: %w", Stream, err))
		case errors.As(err, &api) && api.Code != 503, errors.Is(err, nats.ErrConnectionClosed):
			return t.fault(what, err)
		}
		select {
		case <-ctx.Done():
			return t.fault(what, err)
		case <-time.After(pause):
		}
	}
}

// Read returns the last entries, oldest first, limit of them at most, that were stored since a time; and how many messages among them are no entries.
func (t *Trail) Read(ctx context.Context, since time.Time, limit int) (found []Record, unusable int, err error) {
	const what = "read audit trail"
	consumer, err := t.js.OrderedConsumer(ctx, Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since, MaxResetAttempts: 1, // else a fetch from a hub that has gone outlives ctx
	})
	if err != nil {
		return nil, 0, t.fault(what, err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, 0, t.fault(what, err)
	}
	for left := info.NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, maxBatch)), jetstream.FetchContext(ctx))
		if err != nil {
			return nil, 0, t.fault(what, err)
		}
		for msg := range batch.Messages() {
			left--
			r, err := decode(msg)
			if err != nil {
				unusable++
				continue
			}
			if found = append(found, r); len(found) > 2*limit {
				found = slices.Delete(found, 0, len(found)-limit)
			}
		}
		if err := errors.Join(batch.Error(), ctx.Err()); err != nil {
			return nil, 0, t.fault(what, err)
		}
	}
	return found[max(len(found)-limit, 0):], unusable, nil
}

func decode(msg jetstream.Msg) (Record, error) {
	e, err := Decode(msg.Subject(), msg.Data())
	if err != nil {
		return Record{}, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return Record{}, err
	}
	return Record{Entry: e, Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp.UTC()}, nil
}

// Decode reads an entry that came on a subject, and checks that it belongs there.
func Decode(subject string, body []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(body, &e); err != nil {
		return Entry{}, fmt.Errorf("decode audit entry: %w", err)
	}
	if err := e.Check(); err != nil {
		return Entry{}, err
	}
	if want := prefix + e.Object; subject != want {
		return Entry{}, fmt.Errorf("decode audit entry: got subject %.100q, want that of the body, %s", subject, want)
	}
	return e, nil
}
