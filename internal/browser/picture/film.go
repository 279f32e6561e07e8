package picture

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"log/slog"
	"sync"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"lastmile/internal/browser/chromium"
	"lastmile/internal/runs"
)

// The bounds of a filmstrip.
const (
	filmWidth   = 320 // pixels
	filmHeight  = 720
	filmQuality = 40
	filmPace    = 100 * time.Millisecond // between two frames, at the least; doubled when there are too many
	filmRest    = 10 * time.Second       // between two frames, at the most
	filmFrames  = 60
	filmBytes   = 500 << 10
	lookLimit   = time.Second // for the look after a frame
)

// Film records what a page shows while it changes: small pictures, each masked as those of Take are, or left out. It is safe for
// concurrent use.
type Film struct {
	log    *slog.Logger
	frames chan *page.EventScreencastFrame // at most one is under way: Chromium waits for it to be acknowledged

	mu    sync.Mutex
	mask  *Mask
	step  string
	strip []runs.Picture
	bytes int
	pace  time.Duration

	stop func() // ends the recording and waits for it; nil before Start
}

// NewFilm returns a film that is still to be started. Its Event method must get the screencast frames of the page.
func NewFilm(log *slog.Logger) *Film {
	return &Film{log: log, frames: make(chan *page.EventScreencastFrame, 1), pace: filmPace}
}

// Event takes an event of the browser and reports whether it was the film's. It runs on the goroutine that reads the pipe.
func (f *Film) Event(msg *cdproto.Message) bool {
	if f == nil || msg.Method != cdproto.EventPageScreencastFrame {
		return false
	}
	ev := new(page.EventScreencastFrame)
	if err := jsonv2.Unmarshal(msg.Params, ev, chromedp.DefaultUnmarshalOptions); err != nil {
		return true // without an acknowledgement there will be no more of them
	}
	select {
	case f.frames <- ev:
	default:
	}
	return true
}

// Begin names the step that what comes belongs to.
func (f *Film) Begin(step string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step = step
}

// Start begins the recording where it has not begun. Stop ends it. The mask is for what is recorded from now on, in either case: there
// may be more to cover as the run goes on.
func (f *Film) Start(p Page, m *Mask) {
	f.mu.Lock()
	f.mask = m
	f.mu.Unlock()
	if f.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	f.stop = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		f.record(ctx, p)
	}()
}

// Stop ends the recording, waits for it, and returns the filmstrip.
func (f *Film) Stop() []runs.Picture {
	if f == nil || f.stop == nil {
		return nil
	}
	f.stop()
	return f.strip
}

// cast asks Chromium for frames, the present one first.
func cast(e chromium.Endpoint) {
	chromium.Post(e, page.StopScreencast, cdp.Empty{})
	chromium.Post(e, page.StartScreencast, page.StartScreencastParams{
		Format: page.StartScreencastFormatJpeg, Quality: new(int64(filmQuality)), MaxWidth: filmWidth, MaxHeight: filmHeight, MaxFramesInFlight: 1,
	})
}

// record keeps the frames before and after which the same was to be covered. Each is produced after the one before was acknowledged,
// and that is after the look before it.
func (f *Film) record(ctx context.Context, p Page) {
	var before *sight
	cast(p.Endpoint)
	for {
		var ev *page.EventScreencastFrame
		select {
		case <-ctx.Done():
			return
		case ev = <-f.frames:
		}
		at := time.Now()
		if ev.Metadata != nil && ev.Metadata.Timestamp > 0 {
			at = time.UnixMicro(int64(ev.Metadata.Timestamp.Float64() * 1e6))
		}
		limited, cancel := context.WithTimeout(ctx, lookLimit)
		after, err := look(limited, p, f.covered(), silent{})
		cancel()
		if errors.Is(err, chromium.ErrLost) {
			return
		}
		sure := err == nil && before != nil && before.same(after)
		if sure {
			if err := f.keep(ev.Data, at, after); err != nil {
				f.log.Debug("frame left out", "err", err)
			}
		}
		before = after // nil where the look failed
		if !f.rest(ctx) {
			return
		}
		if sure {
			chromium.Post(p.Endpoint, page.ScreencastFrameAck, page.ScreencastFrameAckParams{SessionID: ev.SessionID})
		} else {
			cast(p.Endpoint) // what was left out may stay as it is, and would not be sent again
		}
	}
}

// covered is what must not show now.
func (f *Film) covered() *Mask {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mask
}

// rest waits until the next frame may come; false where ctx ends first.
func (f *Film) rest(ctx context.Context) bool {
	f.mu.Lock()
	pace := f.pace
	f.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pace):
		return true
	}
}

// keep covers what must not show in a frame and adds it to the strip. A strip that grows too long loses every other frame, and is
// recorded at half the pace from then on.
func (f *Film) keep(body []byte, at time.Time, s *sight) error {
	if len(s.boxes) > 0 {
		shown, err := jpeg.Decode(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = encode(cover(shown, s), filmQuality, filmBytes/4); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strip = append(f.strip, runs.Picture{Kind: runs.ArtefactFilmstrip, Step: f.step, At: at, JPEG: body})
	f.bytes += len(body)
	for len(f.strip) > filmFrames || f.bytes > filmBytes && len(f.strip) > 1 {
		f.thin()
	}
	return nil
}

// thin drops every other frame but the last. The lock is held.
func (f *Film) thin() {
	kept := f.strip[:0]
	f.bytes = 0
	for i, p := range f.strip {
		if (len(f.strip)-1-i)%2 == 0 {
			kept = append(kept, p)
			f.bytes += len(p.JPEG)
		}
	}
	clear(f.strip[len(kept):])
	f.strip = kept
	f.pace = min(2*f.pace, filmRest)
}
