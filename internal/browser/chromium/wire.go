package chromium

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// ErrLost is the error of a call whose browser is gone or has been given up.
var ErrLost = errors.New("lost the connection to the browser")

// wire is the connection to one Chromium: commands go out, replies and events come in. It is safe for concurrent use.
type wire struct {
	pipe    chromedp.Transport
	onEvent func(*cdproto.Message) // called by run, one event at a time; may post but must not call

	mu      sync.Mutex
	next    int64
	waiting map[int64]call

	lost     chan struct{} // closed when no reply can be expected any more
	loseOnce sync.Once
}

// call is one that waits for its reply.
type call struct {
	session target.SessionID
	reply   chan *cdproto.Message // has room for it
}

func newWire(pipe chromedp.Transport, onEvent func(*cdproto.Message)) *wire {
	return &wire{pipe: pipe, onEvent: onEvent, waiting: map[int64]call{}, lost: make(chan struct{})}
}

// run reads until the pipe ends.
func (w *wire) run() {
	defer w.lose()
	for {
		msg := new(cdproto.Message)
		if err := w.pipe.Read(context.Background(), msg); err != nil {
			return
		}
		if msg.ID == 0 {
			w.onEvent(msg)
			w.ended(msg)
			continue
		}
		w.mu.Lock()
		waiting, ok := w.waiting[msg.ID]
		delete(w.waiting, msg.ID)
		w.mu.Unlock()
		if ok {
			waiting.reply <- msg
		}
	}
}

// ended answers the calls of a session that has come to its end: Chromium forgets those that are not the renderer's, such as the click
// by which a window closes itself. They get what it says to calls that come later.
func (w *wire) ended(msg *cdproto.Message) {
	if msg.Method != cdproto.EventTargetDetachedFromTarget {
		return
	}
	var ev target.EventDetachedFromTarget
	if err := jsonv2.Unmarshal(msg.Params, &ev, jsonv2.DefaultOptionsV2()); err != nil {
		return // as events are that say something new
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, waiting := range w.waiting {
		if waiting.session == ev.SessionID {
			delete(w.waiting, id)
			waiting.reply <- &cdproto.Message{ID: id, Error: &cdproto.Error{Code: -32001, Message: "Session with given id not found."}}
		}
	}
}

// lose ends every call under way and to come.
func (w *wire) lose() { w.loseOnce.Do(func() { close(w.lost) }) }

// Post sends a command and does not care for its reply: the one way to answer an event from within its handler. Chromium reads its
// end of the pipe in a thread of its own, so the write does not wait for it to act.
func Post[P, R any](e Endpoint, command cdp.Command[P, R], params P) {
	// An unsendable command means that the pipe has ended, which run reports.
	_ = e.wire.send(e.id, command.Method, params, nil)
}

func (w *wire) send(session target.SessionID, method string, params any, reply chan *cdproto.Message) error {
	body, err := jsonv2.Marshal(params, chromedp.DefaultMarshalOptions)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	w.mu.Lock()
	w.next++
	id := w.next
	if reply != nil {
		w.waiting[id] = call{session, reply}
	}
	w.mu.Unlock()
	err = w.pipe.Write(context.Background(), &cdproto.Message{
		ID: id, SessionID: session, Method: cdproto.MethodType(method), Params: body,
	})
	if err != nil {
		return fmt.Errorf("send %s: %w", method, errors.Join(err, ErrLost))
	}
	return nil
}

// Endpoint is one protocol session of a browser: that of a page, a frame or a worker, or the browser's own.
type Endpoint struct {
	wire *wire
	id   target.SessionID
}

// Call runs a command and waits for its result, for ctx, or for the loss of the browser (ErrLost). It must not be called from an
// event handler. The error of a command that Chromium refuses wraps a *cdproto.Error.
func Call[P, R any](ctx context.Context, e Endpoint, command cdp.Command[P, R], params P) (R, error) {
	var result R
	reply := make(chan *cdproto.Message, 1)
	if err := e.wire.send(e.id, command.Method, params, reply); err != nil {
		return result, err
	}
	select {
	case msg := <-reply:
		if msg.Error != nil {
			return result, fmt.Errorf("call %s: %w", command.Method, msg.Error)
		}
		if err := jsonv2.Unmarshal(msg.Result, &result, chromedp.DefaultUnmarshalOptions); err != nil {
			return result, fmt.Errorf("decode result of %s: %w", command.Method, err)
		}
		return result, nil
	case <-ctx.Done():
		return result, fmt.Errorf("call %s: %w", command.Method, ctx.Err())
	case <-e.wire.lost:
		return result, fmt.Errorf("call %s: %w", command.Method, ErrLost)
	}
}
