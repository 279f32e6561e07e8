package artefact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"lastmile/internal/bus/objects"
	"lastmile/internal/runs"
)

// The kinds of places.
const (
	InDir   = "dir"
	AtHub   = "hub"
	Nowhere = "off"
)

// Place is where the artefacts of a probe are kept: in a directory of its own, at the hub, or nowhere. It is safe for concurrent use.
type Place struct {
	log    *slog.Logger
	opts   Options
	store  *Store // nil = not in a directory
	atHub  bool
	bucket atomic.Pointer[objects.Bucket] // nil until the hub has been reached
	last   atomic.Pointer[runs.File]
}

// OpenPlace opens a place of the kind. At the hub the limits are those of a region's artefacts together. The caller closes it.
func OpenPlace(log *slog.Logger, kind string, opts Options) (*Place, error) {
	p := &Place{log: log, opts: opts.orDefaults(), atHub: kind == AtHub}
	switch kind {
	case Nowhere, AtHub:
		return p, nil
	case InDir:
		var err error
		p.store, err = Open(log, opts)
		return p, err
	}
	return nil, fmt.Errorf("open artefacts: got place %q, want one of %s, %s, %s", kind, InDir, AtHub, Nowhere)
}

// Keep stores the files of a run, and says where they are; nowhere is no error.
func (p *Place) Keep(ctx context.Context, a *runs.Assignment, files []runs.File) ([]runs.Artefact, error) {
	for i := range files {
		if files[i].Kind == runs.ArtefactHAR {
			p.last.Store(&files[i])
		}
	}
	switch {
	case p.store != nil:
		return p.store.Keep(ctx, a, files)
	case !p.atHub:
		return nil, nil
	}
	bucket := p.bucket.Load()
	if bucket == nil {
		return nil, errors.New("keep artefacts: the hub has no place for them yet")
	}
	return bucket.Keep(ctx, a, files)
}

// LastHAR returns the last HAR that was to be kept, nil where there was none.
func (p *Place) LastHAR() []byte {
	if f := p.last.Load(); f != nil {
		return f.Data
	}
	return nil
}

// Reached makes the place at the hub, if that is where artefacts go. Until there is one, runs say that their artefacts are missing.
func (p *Place) Reached(ctx context.Context, bucket *objects.Bucket) {
	if !p.atHub {
		return
	}
	if err := bucket.Ensure(ctx, objects.Limits{Bytes: p.opts.Bytes, Age: p.opts.Age}); err != nil {
		p.log.Error("no place for artefacts at the hub yet", "err", err)
	}
	p.bucket.Store(bucket) // which tries again with each run
}

// Run lets artefacts expire until ctx ends. At the hub they do so by themselves.
func (p *Place) Run(ctx context.Context) error {
	if p.store == nil {
		return nil
	}
	return p.store.Run(ctx)
}

// Stats returns the state of the directory, if it is in one.
func (p *Place) Stats() Stats {
	if p.store == nil {
		return Stats{}
	}
	return p.store.Stats()
}

// Shed frees so many bytes of the disk that dir is on, as Store.Shed does; nothing where artefacts are elsewhere.
func (p *Place) Shed(dir string, need int64) (freed int64) {
	if p.store == nil || !p.store.shares(dir) {
		return 0
	}
	return p.store.Shed(need)
}

// Close releases the directory. Nothing is kept after it.
func (p *Place) Close() {
	if p.store != nil {
		_ = p.store.Close() // nothing is under way
	}
}
