package orders

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
)

const (
	maxUnpacked = 32 << 20 // bytes of a record
	headroom    = 4 << 10  // what a message needs beside its body
)

// pack returns a record as gzip'd JSON.
func pack(record any) ([]byte, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	err := json.NewEncoder(w).Encode(record)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// unpack reads what pack made, so far as it is not too large.
func unpack(packed []byte, record any) error {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	r.Multistream(false)
	body, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if len(body) > maxUnpacked {
		return fmt.Errorf("unpack: got more than %d bytes", maxUnpacked)
	}
	return json.Unmarshal(body, record)
}

// fits refuses what the server would not take in one message.
func (c *Coord) fits(packed []byte) error {
	if most := c.js.Conn().MaxPayload() - headroom; most > 0 && int64(len(packed)) > most {
		return fmt.Errorf("got %d bytes packed, want at most %d", len(packed), most)
	}
	return nil
}
