package orders

import (
	"context"
	"fmt"

	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
)

// Begun returns with which slots a region's combinations began, and the revision to hand to SaveBegun. A region without a record has
// an empty one. A record that cannot be used counts as rejected and as empty, and can be replaced.
func (c *Coord) Begun(ctx context.Context, region string) (record notes.Begun, revision uint64, err error) {
	record = notes.Begun{Schema: runs.Schema, Region: region}
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
func (c *Coord) SaveBegun(ctx context.Context, record notes.Begun, revision uint64) (uint64, error) {
	packed, err := EncodeBegun(&record)
	if err != nil {
		return 0, err
	}
	if err := c.fits(packed); err != nil {
		return 0, fmt.Errorf("encode beginnings of %s: %w", record.Region, err)
	}
	return c.swap(ctx, KindBegun, record.Region, packed, revision)
}

// EncodeBegun packs a record that passes its check: gzip'd JSON.
func EncodeBegun(record *notes.Begun) ([]byte, error) {
	if err := record.Check(); err != nil {
		return nil, err
	}
	packed, err := pack(record)
	if err != nil {
		return nil, fmt.Errorf("encode beginnings of %s: %w", record.Region, err)
	}
	return packed, nil
}

// DecodeBegun unpacks a record, so far as it is not too large, and checks it.
func DecodeBegun(packed []byte) (record notes.Begun, err error) {
	if err := unpack(packed, &record); err != nil {
		return notes.Begun{}, fmt.Errorf("decode beginnings: %w", err)
	}
	if err := record.Check(); err != nil {
		return notes.Begun{}, err
	}
	return record, nil
}
