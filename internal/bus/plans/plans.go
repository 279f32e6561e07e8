// Package plans keeps what each region's probes need to go on without a coordinator, at the hub.
//
//	name      key          holds
//	KV sched  <region>     the region's runs.Plan as gzip'd JSON: the latest one
//
// A coordinator replaces a plan by compare-and-swap. Probes read it directly, without a consumer, and only when a heartbeat was answered
// with a revision that they do not have.
package plans

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
)

// Bucket is the KV bucket of the plans.
const Bucket = "sched"

// MaxSize is how many bytes a plan may take unpacked. Packed it has to fit into one message.
const MaxSize = 32 << 20

// headroom is what a message needs beside its body.
const headroom = 4 << 10

// The errors that a caller may look for.
var (
	ErrNone       = errors.New("read plan: the region has none yet")
	ErrSuperseded = errors.New("a later leader has put a plan there")
)

// Ensure makes the bucket, or brings one that exists up to date. replicas is on how many of the hub's servers it is kept.
func Ensure(ctx context.Context, js jetstream.JetStream, replicas int) error {
	_, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "What each region's probes measure when they are on their own, changed by compare-and-swap only", History: 5,
		Replicas: replicas,
	})
	return err
}

// Put stores a plan in place of its region's last one. One of the same revision stays as it is; one of a later term does too, and the
// error is ErrSuperseded. Where somebody else was faster, Put looks again, a few times.
func Put(ctx context.Context, js jetstream.JetStream, p *runs.Plan) error {
	const attempts = 5
	body, err := Encode(p)
	if err != nil {
		return err
	}
	if most := js.Conn().MaxPayload() - headroom; most > 0 && int64(len(body)) > most {
		return fmt.Errorf("encode plan of %s: got %d bytes packed, want at most %d", p.Region, len(body), most)
	}
	kv, err := js.KeyValue(ctx, Bucket)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err = replace(ctx, kv, p, body)
		if err == nil || attempt == attempts || !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
	}
}

// replace tries once; jetstream.ErrKeyExists where somebody else was faster.
func replace(ctx context.Context, kv jetstream.KeyValue, p *runs.Plan, body []byte) error {
	entry, err := kv.Get(ctx, p.Region)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		_, err = kv.Create(ctx, p.Region, body)
		return err
	}
	if err != nil {
		return err
	}
	if old, err := Decode(entry.Value()); err == nil { // one that nobody can read may be replaced
		switch {
		case old.Revision == p.Revision:
			return nil
		case old.Term > p.Term:
			return fmt.Errorf("%w: got term %d there, want at most %d", ErrSuperseded, old.Term, p.Term)
		}
	}
	_, err = kv.Update(ctx, p.Region, body, entry.Revision())
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return fmt.Errorf("%w: %w", jetstream.ErrKeyExists, err)
	}
	return err
}

// Get reads a region's plan. The errors: ErrNone; a *DecodeError for what is no plan of that region; those of the server.
func Get(ctx context.Context, js jetstream.JetStream, region string) (runs.Plan, error) {
	kv, err := js.KeyValue(ctx, Bucket)
	if err != nil {
		return runs.Plan{}, err
	}
	entry, err := kv.Get(ctx, region)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return runs.Plan{}, ErrNone
	}
	if err != nil {
		return runs.Plan{}, err
	}
	p, err := Decode(entry.Value())
	if err == nil && p.Region != region {
		err = fmt.Errorf("got a plan of region %s, want one of %s", p.Region, region)
	}
	if err != nil {
		return runs.Plan{}, &DecodeError{Err: err}
	}
	return p, nil
}

// DecodeError is the error of Get for what is no plan.
type DecodeError struct{ Err error }

// Error implements error.
func (e *DecodeError) Error() string { return "read plan: " + e.Err.Error() }

// Unwrap gives the reason.
func (e *DecodeError) Unwrap() error { return e.Err }

// Encode packs a plan that passes its check.
func Encode(p *runs.Plan) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode plan of %s: %w", p.Region, err)
	}
	if len(body) > MaxSize {
		return nil, fmt.Errorf("encode plan of %s: got %d bytes, want at most %d", p.Region, len(body), MaxSize)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err = w.Write(body); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encode plan of %s: %w", p.Region, err)
	}
	return packed.Bytes(), nil
}

// Decode unpacks a plan, MaxSize bytes of it at most, and checks it.
func Decode(packed []byte) (p runs.Plan, err error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return p, fmt.Errorf("unpack plan: %w", err)
	}
	r.Multistream(false)
	body, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return p, fmt.Errorf("unpack plan: %w", err)
	}
	if len(body) > MaxSize {
		return p, fmt.Errorf("unpack plan: got more than %d bytes", MaxSize)
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return runs.Plan{}, fmt.Errorf("decode plan: %w", err)
	}
	if err := p.Check(); err != nil {
		return runs.Plan{}, err
	}
	return p, nil
}
