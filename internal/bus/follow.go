package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"lastmile/internal/bus/resultjson"
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
	// Lent says that Result keeps nothing of the requests that it is given: when it has returned, their memory is that of another result. What
	// reads many results is a good deal faster so.
	Lent bool

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
	f := &flow{work: make(chan *parcel), out: make(chan *parcel, parcels), lent: h.Lent}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, r := range readers {
		group.Go(func() error { return r.run(groupCtx, f) })
	}
	var decoding sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoding.Go(f.decode)
	}
	var err error
	go func() {
		err = group.Wait()
		close(f.work)
		decoding.Wait()
		close(f.out)
	}()
	f.take(h, len(readers))
	return err
}

// tickEvery is how often Handler.Tick is called.
const tickEvery = time.Second

// take calls the handler for what comes out until there is no more.
func (f *flow) take(h Handler, behind int) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case p, ok := <-f.out:
			if !ok {
				return
			}
			<-p.decoded
			for i := range p.events {
				p.events[i].deliver(h)
				if s := p.events[i].space; s != nil {
					f.spaces.Put(s)
				}
			}
			if p.caughtUp {
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

// The bounds of what is under way between readers and handler: some 8 MB, whatever the size of the messages.
const (
	parcels       = 16
	parcelLetters = 32
	parcelBytes   = 256 << 10
)

// flow is the way of messages from the readers to the handler. They are decoded on all processors at once, and come out in the order in
// which each reader sent them.
type flow struct {
	work chan *parcel // to be decoded
	out  chan *parcel // the same ones, in order

	lent   bool
	spaces sync.Pool // of *resultjson.Space, where results are lent
}

// parcel is some messages of one stream in a row.
type parcel struct {
	reader   *reader
	letters  []letter
	bytes    int
	events   []event
	decoded  chan struct{} // closed when there are events
	caughtUp bool          // the last one of what was stored when Follow began
}

func (p *parcel) full() bool { return len(p.letters) == parcelLetters || p.bytes >= parcelBytes }

// letter is a message with what it says of itself.
type letter struct {
	msg  jetstream.Msg
	meta *jetstream.MsgMetadata
}

// send puts a parcel on its way; false means that ctx has ended.
func (f *flow) send(ctx context.Context, p *parcel) bool {
	p.decoded = make(chan struct{})
	select {
	case f.work <- p:
	case <-ctx.Done():
		return false
	}
	select {
	case f.out <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// decode works until there is no more to do.
func (f *flow) decode() {
	for p := range f.work {
		p.events = make([]event, len(p.letters))
		for i, l := range p.letters {
			space, _ := f.spaces.Get().(*resultjson.Space)
			if space == nil {
				space = new(resultjson.Space)
			}
			if p.events[i] = p.reader.decode(l.msg, l.meta, space); f.lent {
				p.events[i].space = space
			}
		}
		p.letters = nil
		close(p.decoded)
	}
}

// event is what a message is: one of whichever kind, or a rejection.
type event struct {
	meta     Meta
	result   *runs.Result
	verdict  *runs.Verdict
	rejected *RejectedError
	space    *resultjson.Space // where the result's requests are, if they are lent
}

func (e *event) deliver(h Handler) {
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
	short    int       // how often in a row the stream was shorter than what has been read of it
	caughtUp bool
}

const (
	readerPause  = 500 * time.Millisecond
	readerBatch  = 256
	readerBytes  = 16 << 20 // of one batch; a client drops what exceeds 64 MiB
	readerFetch  = 10 * time.Second
	readerIdle   = 30 * time.Second // after which the server forgets a consumer that nobody reads
	readerHealth = time.Second      // between the server's signs of life
	shortLooks   = 10               // after which a replicated stream that is shorter than what was read of it is believed to be
)

// ErrRewound is in the error of Follow for a stream that is not the one that was read before, or has lost some of it.
var ErrRewound = errors.New("stream is not the one that was followed")

func (r *reader) run(ctx context.Context, f *flow) error {
	for {
		err := r.session(ctx, f)
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
func (r *reader) session(ctx context.Context, f *flow) error {
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
		r.reportCaughtUp(ctx, f)
	}
	for last := uint64(0); ; {
		if last, err = r.batch(ctx, consumer, last, f); err != nil {
			return err
		}
	}
}

// batch sends on the next messages; last is the consumer's own count of them, which shows a gap.
func (r *reader) batch(ctx context.Context, consumer jetstream.Consumer, last uint64, f *flow) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, readerFetch)
	defer cancel()
	batch, err := consumer.Fetch(readerBatch, jetstream.FetchContext(limited), jetstream.FetchHeartbeat(readerHealth),
		jetstream.FetchMaxBytes(readerBytes))
	if err != nil {
		return last, err
	}
	p := &parcel{reader: r}
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err == nil && meta.Sequence.Consumer != last+1 {
			err = fmt.Errorf("got message %d of the consumer, want %d", meta.Sequence.Consumer, last+1)
		}
		if err != nil {
			r.send(ctx, f, p)
			return last, err
		}
		last++
		p.letters = append(p.letters, letter{msg, meta})
		p.bytes += len(msg.Data())
		if p.full() || r.reached(meta) || r.caughtUp && len(batch.Messages()) == 0 { // what is new does not wait for what has not come yet
			if !r.send(ctx, f, p) {
				return last, ctx.Err()
			}
			p = &parcel{reader: r}
		}
	}
	r.send(ctx, f, p)
	return last, batch.Error()
}

// send hands on what has been read so far. What is cut off by the end of ctx is nobody's: it will be read again by whoever comes next. Then it returns
// false, and nothing that stands behind it may be sent: its reader would believe that it has had everything up to there.
func (r *reader) send(ctx context.Context, f *flow, p *parcel) bool {
	if len(p.letters) == 0 {
		return true
	}
	end := p.letters[len(p.letters)-1].meta
	if r.reached(end) {
		p.caughtUp, r.caughtUp = true, true
	}
	if !f.send(ctx, p) {
		return false
	}
	r.seen = end.Sequence.Stream
	return true
}

// reached reports whether a message is the one with which the reader has caught up.
func (r *reader) reached(meta *jetstream.MsgMetadata) bool {
	return !r.caughtUp && (meta.NumPending == 0 || meta.Sequence.Stream >= r.target)
}

// recognise makes sure that the stream still is the one that was read before. A wiped or restored one would hand out sequences
// anew, and messages would be passed over in silence.
func (r *reader) recognise(ctx context.Context) error {
	stream, err := r.bus.js.Stream(ctx, r.stream)
	if err != nil {
		return err
	}
	return r.judge(stream.CachedInfo())
}

// judge compares a stream with what has been read of it.
func (r *reader) judge(info *jetstream.StreamInfo) error {
	if r.target == 0 {
		r.target = info.State.LastSeq
	}
	switch {
	case r.created.IsZero():
		r.created = info.Created
	case !info.Created.Equal(r.created):
		return fmt.Errorf("%w: got one created %s, want %s", ErrRewound, info.Created, r.created)
	case info.State.LastSeq < r.seen:
		err := fmt.Errorf("got last sequence %d, want at least %d", info.State.LastSeq, r.seen)
		if r.short++; info.Config.Replicas > 1 && r.short < shortLooks { // a new leader may not have read all of its log yet
			return err
		}
		return fmt.Errorf("%w: %w", ErrRewound, err)
	case r.seen > 0 && info.State.FirstSeq > r.seen+1:
		r.bus.log.Error("messages were deleted before they were read: they are not in the books", "stream", r.stream, "read", r.seen, "first", info.State.FirstSeq)
	}
	r.short = 0
	return nil
}

func (r *reader) reportCaughtUp(ctx context.Context, f *flow) {
	if !r.caughtUp {
		r.caughtUp = f.send(ctx, &parcel{reader: r, caughtUp: true})
	}
}

func (r *reader) decode(msg jetstream.Msg, meta *jetstream.MsgMetadata, space *resultjson.Space) event {
	e := event{meta: Meta{Stream: meta.Stream, Sequence: meta.Sequence.Stream, StoredAt: meta.Timestamp, Created: r.created}}
	var err error
	if r.kind == KindVerdict {
		var v runs.Verdict
		v, err = decodeVerdict(msg.Subject(), msg.Data())
		e.verdict = &v
	} else {
		var result runs.Result
		result, err = decodeResultIn(space, msg.Subject(), msg.Headers(), msg.Data())
		e.result = &result
	}
	if err != nil {
		return event{meta: e.meta, rejected: r.bus.reject(r.kind, msg.Subject(), err)}
	}
	return e
}
