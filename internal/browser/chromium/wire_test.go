package chromium

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
)

// A call to a session that comes to its end is over at once: Chromium says no more of it.
func TestCallOfEndedSession(t *testing.T) {
	t.Parallel()
	b, page := launch(t, Options{TempDir: tempDir(t)})
	ended := make(chan error, 1)
	go func() {
		_, err := Call(limited(), page, runtime.Evaluate, runtime.EvaluateParams{Expression: "new Promise(() => {})", AwaitPromise: new(true)})
		ended <- err
	}()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) { // the call is under way
		b.wire.mu.Lock()
		n := len(b.wire.waiting)
		b.wire.mu.Unlock()
		if n > 0 {
			break
		}
	}
	if _, err := Call(limited(), b.Endpoint(""), target.DetachFromTarget, target.DetachFromTargetParams{SessionID: page.id}); err != nil {
		t.Fatal(err)
	}
	var refused *cdproto.Error
	if err := <-ended; !errors.As(err, &refused) || !strings.Contains(refused.Message, "Session") {
		t.Errorf("call: got %v, want it refused for want of a session", err)
	}
}
