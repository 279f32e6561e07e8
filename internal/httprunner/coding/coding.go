// Package coding reads response bodies and undoes their content coding (gzip, br, zstd), within a limit of bytes and of memory, whatever
// the other side claims.
package coding

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"lastmile/internal/scenario"
)

// Accepted is what a request says in Accept-Encoding.
const Accepted = "gzip, br, zstd"

// maxWindow is how far back in its output a zstd frame may refer, in bytes: what senders may count on (RFC 9659). The format of br
// has a limit of its own, of 16 MiB.
const maxWindow = 8 << 20

// maxCoding bounds how much of a coding's name an error quotes, in bytes.
const maxCoding = 100

var (
	// ErrUnknown is a body in a content coding that was not asked for. Who does not look into the body need not mind.
	ErrUnknown = errors.New("want one of " + Accepted + ", or none")

	// ErrLimit is a body that is longer than the limit.
	ErrLimit = errors.New("body over limit")
)

// Bodies reads and decodes response bodies within a limit. A body is valid until the next is read: the memory is used again. It is not
// safe for concurrent use.
type Bodies struct {
	limit   int64
	wire    bytes.Buffer
	decoded bytes.Buffer
	gunzip  *gzip.Reader // nil until needed
	unbr    *brotli.Reader
	unzstd  *zstd.Decoder
}

// New makes a reader of bodies of at most limit bytes, as received and again decoded.
func New(limit scenario.Bytes) *Bodies { return &Bodies{limit: int64(limit)} }

// Read takes a body off the wire.
func (b *Bodies) Read(from io.Reader) ([]byte, error) { return b.fill(&b.wire, from) }

// Decode undoes the content coding of a body. The result has at most limit bytes whatever the input claims. The input is the target's,
// so whatever it brings a decoder to do is the target's failure and not the end of the probe.
func (b *Bodies) Decode(coding string, wire []byte) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			b.gunzip, b.unbr, b.unzstd = nil, nil, nil // in whatever state they are
			out, err = nil, fmt.Errorf("decode %.10s: got input that cannot be decoded", strings.ToLower(coding))
		}
	}()
	name := strings.ToLower(strings.TrimSpace(coding))
	if name == "" || name == "identity" || len(wire) == 0 { // the answer to a HEAD has a coding and no body
		return wire, nil
	}
	decoder, err := b.decoder(name, bytes.NewReader(wire))
	if errors.Is(err, ErrUnknown) {
		return nil, fmt.Errorf("content-encoding: got %q, %w", strings.ToValidUTF8(coding[:min(len(coding), maxCoding)], ""), err)
	}
	if err == nil {
		out, err = b.fill(&b.decoded, decoder)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", strings.TrimPrefix(name, "x-"), err)
	}
	return out, nil
}

// decoder returns the reader that undoes a coding of the input.
func (b *Bodies) decoder(coding string, wire io.Reader) (io.Reader, error) {
	var err error
	switch coding {
	case "gzip", "x-gzip":
		if b.gunzip == nil {
			b.gunzip = new(gzip.Reader)
		}
		return b.gunzip, b.gunzip.Reset(wire)
	case "br":
		if b.unbr == nil {
			b.unbr = new(brotli.Reader)
		}
		return b.unbr, b.unbr.Reset(wire)
	case "zstd":
		if b.unzstd == nil { // of one thread, which needs no goroutine that one would have to end
			if b.unzstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
				return nil, err
			}
		}
		return b.unzstd, b.unzstd.Reset(wire)
	}
	return nil, ErrUnknown
}

// fill reads all of from, up to the limit, into the emptied buffer.
func (b *Bodies) fill(into *bytes.Buffer, from io.Reader) ([]byte, error) {
	into.Reset()
	_, err := into.ReadFrom(io.LimitReader(from, b.limit+1))
	if err == nil && int64(into.Len()) > b.limit {
		err = fmt.Errorf("%w: got more than %s", ErrLimit, scenario.Bytes(b.limit))
	}
	return into.Bytes(), err
}
