package orders

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"lastmile/internal/runs"
)

const (
	maxUnpacked = 32 << 20 // bytes of a record of beginnings
	headroom    = 4 << 10  // what a message needs beside its body
)

// Begun returns with which slots a region's combinations began, and the revision to hand to SaveBegun. A region without a record has
// an empty one. A record that cannot be used counts as rejected and as empty, and can be replaced.
func (c *Coord) Begun(ctx context.Context, region string) (record runs.Begun, revision uint64, err error) {
	record = runs.Begun{Schema: runs.Schema, Region: region}
	packed, revision, err := c.read(ctx, KindBegun, region)
	if err != nil || revision == 0 {
		return record, 0, err
	}
	got, err := DecodeBegun(packed)
	if err == nil && got.Region != region {
		err = fmt.Errorf("got the beginnings of region %s, want those of %s", got.Region, region)
	}
	if err != nil {
		c.reject(KindBegun, key(KindBegun, region), err)
		return record, revision, nil
	}
	return got, revision, nil
}

// SaveBegun replaces a region's record and returns its new revision. revision is the one that Begun or the last SaveBegun returned; where it is no
// longer the latest the error holds ErrConflict, and nothing has changed.
func (c *Coord) SaveBegun(ctx context.Context, record runs.Begun, revision uint64) (uint64, error) {
	packed, err := EncodeBegun(&record)
	if err != nil {
		return 0, err
	}
	if most := c.js.Conn().MaxPayload() - headroom; most > 0 && int64(len(packed)) > most {
		return 0, fmt.Errorf("encode beginnings of %s: got %d bytes packed, want at most %d", record.Region, len(packed), most)
	}
	return c.swap(ctx, KindBegun, record.Region, packed, revision)
}

// EncodeBegun packs a record that passes its check: gzip'd JSON.
func EncodeBegun(record *runs.Begun) ([]byte, error) {
	if err := record.Check(); err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	err := json.NewEncoder(w).Encode(record)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encode beginnings of %s: %w", record.Region, err)
	}
	return packed.Bytes(), nil
}

// DecodeBegun unpacks a record, so far as it is not too large, and checks it.
func DecodeBegun(packed []byte) (record runs.Begun, err error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return record, fmt.Errorf("unpack beginnings: %w", err)
	}
	r.Multistream(false)
	body, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err != nil {
		return record, fmt.Errorf("unpack beginnings: %w", err)
	}
	if len(body) > maxUnpacked {
		return record, fmt.Errorf("unpack beginnings: got more than %d bytes", maxUnpacked)
	}
	if err := json.Unmarshal(body, &record); err != nil {
		return runs.Begun{}, fmt.Errorf("decode beginnings: %w", err)
	}
	if err := record.Check(); err != nil {
		return runs.Begun{}, err
	}
	return record, nil
}
