// Package outbox keeps at the hub what is to be told about alerts, until whoever is to be told has it, and remembers afterwards what that was.
//
//	name      subjects                        keeps
//	NOTIFY    notify.<sink>.<alert>           what the sink is to be told of the alert: the last eight messages, 30 days
//	          notified.<sink>.<alert>         up to which of them it has been told, as a sequence of the stream
//
// One coordinator at a time puts and delivers: the one that leads. It knows what it has put, so nothing is consumed: only when a coordinator begins to
// lead does it read the stream, once, from its first message to its last. So it has the messages in their order, at once and without waiting for an
// acknowledgement to run out, and knows what each sink was told last. A durable consumer would hand an alert's end out before its beginning where that
// has to be tried again.
//
// Crash order: put, deliver, note that it was delivered, deliver what comes next for that alert. A crash before the note has one message delivered
// twice, always the last one and never one behind which another has been delivered: its receiver knows it by its key.
package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the name of the stream.
const Stream = "NOTIFY"

// MaxSize is how many bytes a message may have.
const MaxSize = 128 << 10

const (
	messages = "notify"   // first token of the subjects of what is to be told
	notes    = "notified" // and of the notes of what has been

	perAlert  = 8 // messages of an alert for a sink: an outage of the sink, with an alert that comes and goes
	maxBytes  = 64 << 20
	maxAge    = 30 * 24 * time.Hour
	dedupe    = 10 * time.Minute
	headroom  = 1 << 10 // of a message, for its subject and headers
	putTime   = 5 * time.Second
	loadTime  = time.Minute
	loadBatch = 256
	loadIdle  = 30 * time.Second // after which the server forgets a consumer that nobody reads
	batchTime = 2 * time.Second
)

// Ensure makes the stream, or brings the one that exists up to date. replicas is on how many of the hub's servers it is kept.
func Ensure(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:              Stream,
		Description:       "What is to be told about alerts, and up to where it has been",
		Subjects:          []string{messages + ".*.*", notes + ".*.*"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxAge:            maxAge,
		MaxBytes:          maxBytes,
		MaxMsgSize:        MaxSize + headroom,
		MaxMsgsPerSubject: perAlert,
		Discard:           jetstream.DiscardOld,
		Duplicates:        dedupe,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", Stream, err)
	}
	return nil
}

// Outbox is safe for concurrent use.
type Outbox struct {
	js    jetstream.JetStream
	fault func(what string, err error) error
}

// New uses the stream that Ensure has made. fault wraps the errors of the server.
func New(js jetstream.JetStream, fault func(what string, err error) error) *Outbox {
	return &Outbox{js: js, fault: fault}
}

// Put stores a message for a sink about an alert, and returns its sequence, which is greater than those of all before it. One with the same id that was
// stored in the last ten minutes stays, and its sequence is returned. sink and alert are a-z, 0-9 and -, at most 64 of them.
func (o *Outbox) Put(ctx context.Context, sink, alert, id string, body []byte) (sequence uint64, err error) {
	what := "put message for " + sink
	if err := check(sink, alert); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if len(body) > MaxSize {
		return 0, fmt.Errorf("%s: got %d bytes, want at most %d", what, len(body), MaxSize)
	}
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	ack, err := o.js.PublishMsg(ctx, &nats.Msg{Subject: subject(messages, sink, alert), Data: body}, jetstream.WithMsgID(id))
	if err != nil {
		return 0, o.fault(what, err)
	}
	return ack.Sequence, nil
}

// note is the body of a note.
type note struct {
	UpTo uint64 `json:"up_to"`
}

// Done notes that a sink has been told of an alert up to the message with a sequence, or will not be told any more.
func (o *Outbox) Done(ctx context.Context, sink, alert string, sequence uint64) error {
	what := "note message of " + sink
	if err := check(sink, alert); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	body, err := json.Marshal(note{UpTo: sequence})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	if _, err := o.js.PublishMsg(ctx, &nats.Msg{Subject: subject(notes, sink, alert), Data: body}); err != nil {
		return o.fault(what, err)
	}
	return nil
}

func subject(kind, sink, alert string) string { return kind + "." + sink + "." + alert }

// token is what may become a part of a subject.
var token = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func check(sink, alert string) error {
	if !token.MatchString(sink) || !token.MatchString(alert) {
		return fmt.Errorf("got sink %.100q and alert %.100q, want a-z, 0-9 and -, at most 64", sink, alert)
	}
	return nil
}

// stored is a message as it was read.
type stored struct {
	sink, alert string
	sequence    uint64
	body        []byte
}

// Load calls each for all messages that are kept, in the order of their sequences. done says that the sink has been told. What is not a message of
// ours is passed over.
func (o *Outbox) Load(ctx context.Context, each func(sink, alert string, sequence uint64, done bool, body []byte)) error {
	const what = "read outbox"
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	var all []stored
	told := map[[2]string]uint64{}
	err := o.read(ctx, func(subject string, sequence uint64, body []byte) {
		kind, sink, alert, ok := parse(subject)
		if !ok {
			return
		}
		if kind == messages {
			all = append(all, stored{sink, alert, sequence, body})
			return
		}
		// A note is about what was stored before it; a later one of a coordinator that did not know yet that it no longer leads may be of less.
		var n note
		if json.Unmarshal(body, &n) == nil && n.UpTo < sequence {
			told[[2]string{sink, alert}] = max(told[[2]string{sink, alert}], n.UpTo)
		}
	})
	if err != nil {
		return o.fault(what, err)
	}
	for _, m := range all {
		each(m.sink, m.alert, m.sequence, m.sequence <= told[[2]string{m.sink, m.alert}], m.body)
	}
	return nil
}

// parse takes a subject apart.
func parse(subject string) (kind, sink, alert string, ok bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 3 || parts[0] != messages && parts[0] != notes || check(parts[1], parts[2]) != nil {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// read hands on the stream from its first message to the one that is its last now.
func (o *Outbox) read(ctx context.Context, each func(subject string, sequence uint64, body []byte)) error {
	stream, err := o.js.Stream(ctx, Stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := o.js.CreateConsumer(ctx, Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: loadIdle,
	})
	if err != nil {
		return err
	}
	// Where the consumer's server is behind the stream's leader, what is not there yet comes with a later batch.
	for last, count := uint64(0), uint64(0); last < state.LastSeq; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("got up to message %d, want %d: %w", last, state.LastSeq, err)
		}
		most := loadBatch // what is asked for is waited for
		if left := state.Msgs - count; count < state.Msgs && left < loadBatch {
			most = int(left)
		}
		batch, err := consumer.Fetch(most, jetstream.FetchMaxWait(batchTime))
		if err != nil {
			return err
		}
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			if count++; meta.Sequence.Consumer != count { // one was lost on its way
				return fmt.Errorf("got message %d of the consumer, want %d", meta.Sequence.Consumer, count)
			}
			if last = meta.Sequence.Stream; last > state.LastSeq {
				break
			}
			each(msg.Subject(), last, msg.Data())
		}
		if err := batch.Error(); err != nil {
			return err
		}
	}
	return o.js.DeleteConsumer(ctx, Stream, consumer.CachedInfo().Name)
}
