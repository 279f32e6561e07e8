// Package objects keeps the artefacts of runs in the hub's object store: one bucket for each region, bounded in size and age.
package objects

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// Limits bound a bucket.
type Limits struct {
	Bytes int64         // of all artefacts of a region
	Age   time.Duration // after which an artefact is gone
}

// maxObject is the largest artefact that is read back, in bytes.
const maxObject = 64 << 20

// Bucket holds the artefacts of one region. It is safe for concurrent use.
type Bucket struct {
	js     jetstream.JetStream
	name   string
	region string
	limits atomic.Pointer[Limits] // those that it is to have; nil until Ensure
}

// New returns the bucket of a region. It need not be there yet.
func New(js jetstream.JetStream, region string) *Bucket {
	return &Bucket{js: js, name: "ARTEFACTS_" + region, region: region}
}

// Ensure makes the bucket, or brings the one that is there up to date: the limits are those given last. It takes that much room from
// what the server has for all its streams, so it is made only where it is to be used.
func (b *Bucket) Ensure(ctx context.Context, limits Limits) error {
	b.limits.Store(&limits)
	replicas := 1 // or as many as the region's results have
	switch results, err := b.js.Stream(ctx, "RESULTS_"+b.region); {
	case err == nil:
		replicas = results.CachedInfo().Config.Replicas
	case !errors.Is(err, jetstream.ErrStreamNotFound): // fewer than there are would delete some
		return fmt.Errorf("ensure bucket %s: %w", b.name, err)
	}
	_, err := b.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: b.name, Description: "What is kept of runs beside their numbers", TTL: limits.Age, MaxBytes: limits.Bytes, Storage: jetstream.FileStorage,
		Replicas: replicas,
	})
	if err != nil {
		return fmt.Errorf("ensure bucket %s: %w", b.name, err)
	}
	return nil
}

// objectName is what a file of a run is called in the bucket.
func objectName(id runs.ID, file string) string { return string(id) + "/" + file }

// The keys of an object's metadata.
const (
	metaKind = "kind"
	metaStep = "step"
	metaType = "content-type"
)

// Keep stores the files of a run and says where they are. In a full bucket the oldest artefacts make room. Where a file cannot be stored,
// the others still are, and the error says so.
func (b *Bucket) Keep(ctx context.Context, a *runs.Assignment, files []runs.File) ([]runs.Artefact, error) {
	if !b.js.Conn().IsConnected() { // a run does not wait for it
		return nil, errors.New("keep artefacts: the hub cannot be reached")
	}
	store, err := b.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("keep artefacts: bucket %s: %w", b.name, err)
	}
	size := int64(0)
	for _, f := range files {
		size += int64(len(f.Data))
	}
	status, err := store.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("keep artefacts: bucket %s: %w", b.name, err)
	}
	if err := b.makeRoom(ctx, store, status, size); err != nil {
		return nil, fmt.Errorf("keep artefacts: %w", err)
	}
	var kept []runs.Artefact
	var errs []error
	for _, f := range files {
		meta := jetstream.ObjectMeta{
			Name:     objectName(a.RunID, f.Name),
			Metadata: map[string]string{metaKind: string(f.Kind), metaStep: f.Step, metaType: f.ContentType},
		}
		info, err := store.Put(ctx, meta, bytes.NewReader(f.Data))
		if err != nil {
			errs = append(errs, fmt.Errorf("keep artefact %s: %w", f.Name, err))
			continue
		}
		sum := sha256.Sum256(f.Data)
		kept = append(kept, runs.Artefact{
			Kind: f.Kind, Step: f.Step, Name: f.Name, ContentType: f.ContentType, Bytes: int64(len(f.Data)), SHA256: hex.EncodeToString(sum[:]),
			Store: runs.StoreHub, ExpiresAt: info.ModTime.Add(status.TTL()).UTC(), Truncated: f.Truncated,
		})
	}
	return kept, errors.Join(errs...)
}

// open returns the bucket, which it makes where Ensure could not, or where the hub has lost it since.
func (b *Bucket) open(ctx context.Context) (jetstream.ObjectStore, error) {
	store, err := b.js.ObjectStore(ctx, b.name)
	limits := b.limits.Load()
	if !errors.Is(err, jetstream.ErrBucketNotFound) || limits == nil {
		return store, err
	}
	if err := b.Ensure(ctx, *limits); err != nil {
		return nil, err
	}
	return b.js.ObjectStore(ctx, b.name)
}

// overhead is what the server stores beside each 128 KiB of an object, generously.
func overhead(size int64) int64 { return size/64 + 64<<10 }

// makeRoom deletes the oldest artefacts until size more bytes fit. The server itself would refuse the new ones.
func (b *Bucket) makeRoom(ctx context.Context, store jetstream.ObjectStore, status jetstream.ObjectStoreStatus, size int64) error {
	bucket, ok := status.(*jetstream.ObjectBucketStatus)
	if !ok || bucket.StreamInfo().Config.MaxBytes <= 0 {
		return nil
	}
	limit := bucket.StreamInfo().Config.MaxBytes
	if size+overhead(size) > limit {
		return fmt.Errorf("bucket %s: got %d bytes, want less than it holds, %d", b.name, size, limit)
	}
	over := int64(status.Size()) + size + overhead(size) - limit
	if over <= 0 {
		return nil
	}
	all, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) { // what is left of those that were deleted takes room, too
		return fmt.Errorf("bucket %s: list: %w", b.name, err)
	}
	slices.SortFunc(all, func(x, y *jetstream.ObjectInfo) int {
		return cmp.Or(x.ModTime.Compare(y.ModTime), cmp.Compare(x.Name, y.Name))
	})
	over += limit / 20 // so that not every run has to look through the bucket
	for _, info := range all {
		if over <= 0 {
			return nil
		}
		if err := store.Delete(ctx, info.Name); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) { // by another probe meanwhile
			return fmt.Errorf("bucket %s: delete %s: %w", b.name, info.Name, err)
		}
		over -= int64(info.Size)
	}
	return nil
}

// List returns the artefacts of a run that are in the bucket, by name. A bucket that is not there has none.
func (b *Bucket) List(ctx context.Context, id runs.ID) ([]runs.Artefact, error) {
	store, err := b.js.ObjectStore(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list artefacts: bucket %s: %w", b.name, err)
	}
	all, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, fmt.Errorf("list artefacts: bucket %s: %w", b.name, err)
	}
	status, err := store.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("list artefacts: bucket %s: %w", b.name, err)
	}
	var out []runs.Artefact
	for _, info := range all {
		if file, ok := strings.CutPrefix(info.Name, objectName(id, "")); ok {
			out = append(out, runs.Artefact{
				Kind: runs.ArtefactKind(info.Metadata[metaKind]), Step: info.Metadata[metaStep], Name: file, ContentType: info.Metadata[metaType],
				Bytes: int64(info.Size), Store: runs.StoreHub, ExpiresAt: info.ModTime.Add(status.TTL()).UTC(),
			})
		}
	}
	slices.SortFunc(out, func(x, y runs.Artefact) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}

// Get returns an artefact's content.
func (b *Bucket) Get(ctx context.Context, id runs.ID, file string) ([]byte, error) {
	what := fmt.Sprintf("get artefact %s of %s", file, id)
	store, err := b.js.ObjectStore(ctx, b.name)
	if err != nil {
		return nil, fmt.Errorf("%s: bucket %s: %w", what, b.name, err)
	}
	object, err := store.Get(ctx, objectName(id, file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = object.Close() }() // it has been read by then, or the error is told
	body, err := io.ReadAll(io.LimitReader(object, maxObject+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(body) > maxObject {
		return nil, fmt.Errorf("%s: got more than %d bytes", what, maxObject)
	}
	return body, nil
}
