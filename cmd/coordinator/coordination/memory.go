package coordination

import (
	"errors"
	"io"
	"log/slog"

	"lastmile/internal/baseline"
	"lastmile/internal/evaluate"
	"lastmile/internal/ledger"
)

// memory is what a coordinator has made of the streams.
type memory struct {
	ledger *ledger.Ledger
	engine *evaluate.Engine
	usual  *baseline.Baseline
}

func newMemory() memory {
	books := ledger.New()
	return memory{ledger: books, engine: evaluate.New(books), usual: baseline.New()}
}

// save writes all of it. Nothing may enter it meanwhile; alerts may be decided.
func (m memory) save(w io.Writer) error {
	for _, part := range []func(io.Writer) error{m.ledger.Save, m.engine.Save, m.usual.Save} {
		if err := part(w); err != nil {
			return err
		}
	}
	return nil
}

// load reads what save wrote. Books that are sound stand, even where what the alerts are decided on, or what is usual, is not: then that begins anew. To
// begin anew from the streams would lose what the hub no longer keeps.
func (m *memory) load(log *slog.Logger, r io.Reader) error {
	if err := m.ledger.Load(r); err != nil {
		return err
	}
	switch err := m.engine.Load(r); {
	case errors.Is(err, io.EOF):
		log.Info("snapshot of a version that decided on no alerts: the evidence for them, and what is usual, begin anew")
		m.engine = evaluate.New(m.ledger)
		return nil
	case err != nil:
		log.Error("snapshot without what alerts are decided on: that begins anew", "err", err)
		m.engine = evaluate.New(m.ledger)
		return nil
	}
	if err := m.usual.Load(r); err != nil {
		log.Error("snapshot without what is usual: that begins anew", "err", err)
	}
	return nil
}
