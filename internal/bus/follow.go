package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"lastmile/internal/runs"
)

// Meta says where a message stands. Stream and sequence identify it for ever.
type Meta struct {
	Stream   string
	Sequence uint64
	StoredAt time.Time // by the server's clock
	Created  time.Time // the stream, to know it again
}

// Handler takes what Follow reads. Its functions are called one at a time; Result and Verdict must be set.
type Handler struct {
	Result   func(runs.Result, Meta)
	Verdict  func(runs.Verdict, Meta)
	Tick     func()               // about once a second, between messages; nil = none
	CaughtUp func()               // once, when all that was stored when Follow began has been handed over
	Rejected func(*RejectedError) // a message that could not be used; it stays in the stream
}

// Follow hands all results and verdicts of the regions to the handler, from the first one stored or, for a stream in from, from the one after its
// position, and goes on with new ones until ctx ends (then it returns nil). Each message is handed over once, those of one stream in their order; the streams are
// interleaved at random. Interruptions are waited out. An error means that a stream is missing or, with ErrRewound in it, is not the one it was: what has
// been handed over no longer stands, and the caller must begin anew, without positions.
func (b *Bus) Follow(ctx context.Context, regions []string, from map[string]runs.Position, h Handler) error {
	readers := []*reader{{bus: b, stream: verdictStream, kind: KindVerdict}}
	for _, region := range regions {
		if err := checkName("region", region); err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		readers[0].filters = append(readers[0].filters, "verdict."+region+".*")
		readers = append(readers, &reader{bus: b, stream: resultsStream(region), kind: KindResult, filters: []string{"res." + region + ".*"}})
	}
	if len(regions) == 0 {
		return errors.New("follow: got no regions, want at least one")
	}
	for _, r := range readers {
		if at, ok := from[r.stream]; ok {
			r.seen, r.created = at.Sequence, at.Created
		}
	}
	events := make(chan event, 256)
	group, groupCtx := errgroup.WithContext(ctx)
	for _, r := range readers {
		group.Go(func() error { return r.run(groupCtx, events) })
	}
	var err error
	go func() {
		err = group.Wait()
		close(events)
	}()
	h.take(events, len(readers))
	return err
}

// tickEvery is how often Handler.Tick is called.
const tickEvery = time.Second

// take calls the handler for each event until there are no more.
func (h Handler) take(events <-chan event, behind int) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return
			case !e.caughtUp:
				e.deliver(h)
			default:
				if behind--; behind == 0 && h.CaughtUp != nil {
					h.CaughtUp()
				}
			}
		case <-ticker.C:
			if h.Tick != nil {
				h.Tick()
			}
		}
	}
}

// event is one step of a reader: a message of whichever kind, a rejection, or the news that it has caught up.
type event struct {
	meta     Meta
	result   *runs.Result
	verdict  *runs.Verdict
	rejected *RejectedError
	caughtUp bool
}

func (e event) deliver(h Handler) {
	switch {
	case e.result != nil:
		h.Result(*e.result, e.meta)
	case e.verdict != nil:
		h.Verdict(*e.verdict, e.meta)
	case e.rejected != nil && h.Rejected != nil:
		h.Rejected(e.rejected)
	}
}

// reader follows one stream with a consumer of its own that it makes anew after every interruption, from the first message it has
// not seen. nats.go's ordered consumer does the same, but does not heed a context while it waits for the server.
type reader struct {
	bus     *Bus
	stream  string
	kind    Kind
	filters []string

	seen     uint64    // the last stream sequence handed over
	created  time.Time // of the stream, to know it again
	target   uint64    // the stream's last sequence when Follow began
	caughtUp bool
}

const (
	readerPause  = 500 * time.Millisecond
	readerBatch  = 256
	readerBytes  = 16 << 20 // of one batch; a client drops what exceeds 64 MiB
	readerFetch  = 10 * time.Second
	readerIdle   = 30 * time.Second // after which the server forgets a consumer that nobody reads
	readerHealth = time.Second      // between the server's signs of life
)

// ErrRewound is in the error of Follow for a stream that is not the one that was read before, or has lost some of it.
var ErrRewound = errors.New("stream is not the one that was followed")

func (r *reader) run(ctx context.Context, out chan<- event) error {
	for {
		err := r.session(ctx, out)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrRewound) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("follow %s: %w", r.stream, err)
		}
		r.bus.log.Info("bus stream interrupted, reading on", "stream", r.stream, "sequence", r.seen, "err", err)
		if pause(ctx, readerPause) != nil {
			return nil
		}
	}
}

// session reads with one consumer until something is wrong with it.
func (r *reader) session(ctx context.Context, out chan<- event) error {
	ctx, cancel := context.WithCancel(ctx) // ends a batch that is left half read
	defer cancel()
	if err := r.bus.awaitConnected(ctx); err != nil {
		return err
	}
	if err := r.recognise(ctx); err != nil {
		return err
	}
	consumer, err := r.bus.js.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		FilterSubjects:    r.filters,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.seen + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerIdle,
	})
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		r.reportCaughtUp(ctx, out)
	}
	for last := uint64(0); ; {
		if last, err = r.batch(ctx, consumer, last, out); err != nil {
			return err
		}
	}
}

// batch hands over the next messages; last is the consumer's own count of them, which shows a gap.
func (r *reader) batch(ctx context.Context, consumer jetstream.Consumer, last uint64, out chan<- event) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, readerFetch)
	defer cancel()
	batch, err := consumer.Fetch(readerBatch, jetstream.FetchContext(limited), jetstream.FetchHeartbeat(readerHealth),
		jetstream.FetchMaxBytes(readerBytes))
	if err != nil {
		return last, err
	}
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return last, err
		}
		if last++; meta.Sequence.Consumer != last {
			return last, fmt.Errorf("got message %d of the consumer, want %d", meta.Sequence.Consumer, last)
		}
		r.send(ctx, out, r.decode(msg, meta))
		r.seen = meta.Sequence.Stream
		if meta.NumPending == 0 || r.seen >= r.target {
			r.reportCaughtUp(ctx, out)
		}
	}
	return last, batch.Error()
}

// recognise makes sure that the stream still is the one that was read before. A wiped or restored one would hand out sequences
// anew, and messages would be passed over in silence.
func (r *reader) recognise(ctx context.Context) error {
	stream, err := r.bus.js.Stream(ctx, r.stream)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if r.target == 0 {
		r.target = info.State.LastSeq
	}
	switch {
	case r.created.IsZero():
		r.created = info.Created
	case !info.Created.Equal(r.created):
		return fmt.Errorf("%w: got one created %s, want %s", ErrRewound, info.Created, r.created)
	case info.State.LastSeq < r.seen:
		return fmt.Errorf("%w: got last sequence %d, want at least %d", ErrRewound, info.State.LastSeq, r.seen)
	}
	return nil
}

func (r *reader) reportCaughtUp(ctx context.Context, out chan<- event) {
	if !r.caughtUp {
		r.caughtUp = true
		r.send(ctx, out, event{caughtUp: true})
	}
}

func (r *reader) send(ctx context.Context, out chan<- event, e event) {
	select {
	case out <- e:
	case <-ctx.Done():
	}
}

func (r *reader) decode(msg jetstream.Msg, meta *jetstream.MsgMetadata) event {
	e := event{meta: Meta{Stream: meta.Stream, Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp, Created: r.created}}
	var err error
	if r.kind == KindVerdict {
		var v runs.Verdict
		v, err = decodeVerdict(msg.Subject(), msg.Data())
		e.verdict = &v
	} else {
		var result runs.Result
		result, err = decodeResult(msg.Subject(), msg.Headers(), msg.Data())
		e.result = &result
	}
	if err != nil {
		return event{meta: e.meta, rejected: r.bus.reject(r.kind, msg.Subject(), err)}
	}
	return e
}
