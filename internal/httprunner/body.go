package httprunner

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"lastmile/internal/scenario"
)

// bodies reads and decodes response bodies within a limit. A body is valid until the next is read: the memory is used again.
type bodies struct {
	limit   int64
	wire    bytes.Buffer
	decoded bytes.Buffer
	gunzip  *gzip.Reader // nil until needed
}

// errCoding is a body in a content coding that we did not ask for. Who does not look into the body need not mind.
var errCoding = errors.New("want gzip or none")

// read takes a body off the wire.
func (b *bodies) read(from io.Reader) ([]byte, error) { return b.fill(&b.wire, from) }

// decode undoes the content coding of a body. The result has at most limit bytes whatever the input claims.
func (b *bodies) decode(coding string, wire []byte) ([]byte, error) {
	coding = strings.ToLower(strings.TrimSpace(coding))
	switch {
	case coding == "" || coding == "identity" || len(wire) == 0: // the answer to a HEAD has a coding and no body
		return wire, nil
	case coding != "gzip" && coding != "x-gzip":
		return nil, fmt.Errorf("content-encoding: got %q, %w", clip(coding, maxValue), errCoding)
	}
	if b.gunzip == nil {
		b.gunzip = new(gzip.Reader)
	}
	err := b.gunzip.Reset(bytes.NewReader(wire))
	var out []byte
	if err == nil {
		out, err = b.fill(&b.decoded, b.gunzip)
	}
	if err != nil {
		return nil, fmt.Errorf("decode gzip: %w", err)
	}
	return out, nil
}

// fill reads all of from, up to the limit, into the emptied buffer.
func (b *bodies) fill(into *bytes.Buffer, from io.Reader) ([]byte, error) {
	into.Reset()
	_, err := into.ReadFrom(io.LimitReader(from, b.limit+1))
	if err == nil && int64(into.Len()) > b.limit {
		err = fmt.Errorf("body over limit: got more than %s", scenario.Bytes(b.limit))
	}
	return into.Bytes(), err
}
