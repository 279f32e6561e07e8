package notify

import (
	"context"
	"fmt"
	"io"
	"sync"

	"lastmile/internal/notify/delivery"
	"lastmile/internal/notify/wording"
)

// dry has what the sinks would be told written, each thing once. Nothing is kept beyond the process: a coordinator that is started without it must tell
// what is active then.
func (n *Notifier) dry(w io.Writer, words wording.Words) {
	n.outbox = &memory{}
	out := &printer{w: w}
	for _, s := range n.sinks {
		s.to, s.repeats = &dryRun{out, s.name, words}, false
	}
	if len(n.sinks) == 0 {
		n.take(&sink{name: "nobody", id: "nobody", to: &dryRun{out, "nobody, for there is no sink", words}})
	}
}

// printer writes for several at once.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

// dryRun stands in for a sink.
type dryRun struct {
	out   *printer
	whom  string
	words wording.Words
}

// Send implements sender.
func (d *dryRun) Send(_ context.Context, notices []delivery.Notice) error {
	d.out.mu.Lock()
	defer d.out.mu.Unlock()
	for i := range notices {
		if _, err := io.WriteString(d.out.w, d.words.Text(&notices[i].Alert, d.whom)); err != nil {
			return fmt.Errorf("write what would be sent: %w", err)
		}
	}
	return nil
}

// memory is an outbox that keeps nothing.
type memory struct {
	mu   sync.Mutex
	last uint64
}

// Put implements Outbox.
func (m *memory) Put(context.Context, string, string, string, []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	return m.last, nil
}

// Done implements Outbox.
func (m *memory) Done(context.Context, string, string, uint64) error { return nil }

// Load implements Outbox.
func (m *memory) Load(context.Context, func(string, string, uint64, bool, []byte)) error { return nil }
