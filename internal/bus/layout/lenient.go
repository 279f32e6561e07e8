package layout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// The server's errors where it has less to give away than is wanted.
const (
	noDisk   = 10047
	noMemory = 10028
	noPeers  = 10005
)

// Lenient returns a JetStream that leaves a stream or a bucket as it is where the server refuses to update it for want of room, and what is there is large
// enough. A server reckons with the disk that is free when it starts. Where others have filled that since, it has less to give away than it has given
// already, and refuses whatever is asked of it; but what it has given stands, and is to be used.
func Lenient(log *slog.Logger, js jetstream.JetStream) jetstream.JetStream {
	return &lenient{JetStream: js, log: log}
}

type lenient struct {
	jetstream.JetStream
	log *slog.Logger
}

// CreateOrUpdateStream implements jetstream.JetStream.
func (l *lenient) CreateOrUpdateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := l.JetStream.CreateOrUpdateStream(ctx, c)
	if !lacksRoom(err) {
		return stream, err
	}
	stream, lookErr := l.JetStream.Stream(ctx, c.Name)
	if lookErr != nil {
		return nil, explained(c.MaxBytes, err)
	}
	if have := stream.CachedInfo().Config; max(have.MaxBytes, 0) < c.MaxBytes || have.Replicas != c.Replicas {
		return nil, explained(c.MaxBytes-max(have.MaxBytes, 0), err)
	}
	l.asItIs("stream", c.Name, err)
	return stream, nil
}

// CreateOrUpdateKeyValue implements jetstream.JetStream.
func (l *lenient) CreateOrUpdateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	bucket, err := l.JetStream.CreateOrUpdateKeyValue(ctx, c)
	if !lacksRoom(err) {
		return bucket, err
	}
	bucket, lookErr := l.KeyValue(ctx, c.Bucket)
	if lookErr != nil {
		return nil, explained(c.MaxBytes, err)
	}
	l.asItIs("bucket", c.Bucket, err)
	return bucket, nil
}

// leastBytes is of what size a stream is still worth having.
const leastBytes = 1 << 20

// Modest returns a JetStream that makes a stream smaller where the server has no room for all that is wanted, leaves one that is there as it is where it
// cannot be updated for want of room, and does without where there is room for none. It is for what a hub that is full did not need yesterday: coordinators
// start on it all the same.
func Modest(log *slog.Logger, js jetstream.JetStream) jetstream.JetStream {
	return &modest{JetStream: js, log: log}
}

type modest struct {
	jetstream.JetStream
	log *slog.Logger
}

// CreateOrUpdateStream implements jetstream.JetStream. Where there is no room at all it returns neither a stream nor an error.
func (m *modest) CreateOrUpdateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	want := c.MaxBytes
	stream, err := m.JetStream.CreateOrUpdateStream(ctx, c)
	if !crowded(err) {
		return stream, err
	}
	for full := err; ; {
		stream, lookErr := m.JetStream.Stream(ctx, c.Name)
		if lookErr == nil { // also one that another coordinator has just made
			m.log.Warn("bus server has too little room to update a stream, which stays as it is: make room on its disk, and restart it", "stream", c.Name, "err", full)
			return stream, nil
		}
		if !errors.Is(lookErr, jetstream.ErrStreamNotFound) {
			return nil, lookErr
		}
		if c.MaxBytes /= 2; c.MaxBytes < leastBytes {
			m.log.Error("bus server has no room for a stream, going on without it: make room on its disk, or allow the results of each region less, and restart it",
				"stream", c.Name, "want_mib", want>>20, "err", full)
			return nil, nil
		}
		if stream, err = m.JetStream.CreateOrUpdateStream(ctx, c); err == nil {
			m.log.Warn("bus server has little room, and keeps less of a stream: make room on its disk, and restart it", "stream", c.Name, "mib", c.MaxBytes>>20, "want_mib", want>>20)
			return stream, nil
		}
		if !crowded(err) {
			return nil, err
		}
	}
}

func (l *lenient) asItIs(what, name string, err error) {
	l.log.Warn("bus server has too little room to update what it keeps, which stays as it is: make room on its disk, and restart it", what, name, "err", err)
}

func lacksRoom(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == noDisk || api.ErrorCode == noMemory)
}

// crowded is lacksRoom, and what the servers of a cluster say where each has less room than is wanted.
func crowded(err error) bool {
	var api *jetstream.APIError
	return lacksRoom(err) || errors.As(err, &api) && api.ErrorCode == noPeers && strings.Contains(api.Description, "insufficient storage")
}

func explained(bytes int64, err error) error {
	return fmt.Errorf("got a bus server with too little room, want %d MiB more set aside there: make room on its disk, and restart it, or allow the results of each region less: %w",
		max(bytes, 0)>>20, err)
}
