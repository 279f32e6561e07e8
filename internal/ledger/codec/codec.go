// Package codec is the form in which books are saved, and the counts that they are made of. What it reads may come from a damaged file: nothing
// in it makes a reader panic, or take more room than the file has.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Encoder appends to Out what a Decoder reads.
type Encoder struct{ Out []byte }

// Number appends one that is not below zero, in as few bytes as it needs.
func (e *Encoder) Number(n int64) { e.Out = binary.AppendUvarint(e.Out, uint64(n)) }

// Signed appends any number.
func (e *Encoder) Signed(n int64) { e.Out = binary.AppendVarint(e.Out, n) }

// Bytes appends bytes as they are, without their number.
func (e *Encoder) Bytes(b []byte) { e.Out = append(e.Out, b...) }

// Duration appends a time span; a sum of nonsense may have gone round, and be below zero.
func (e *Encoder) Duration(d time.Duration) { e.Signed(int64(d)) }

// Flag appends a yes or no.
func (e *Encoder) Flag(b bool) {
	if b {
		e.Out = append(e.Out, 1)
	} else {
		e.Out = append(e.Out, 0)
	}
}

// Text appends a text with its length.
func (e *Encoder) Text(s string) {
	e.Number(int64(len(s)))
	e.Out = append(e.Out, s...)
}

// Decoder reads Rest. After an error, which stands in Err, it gives zeros; what is made to hold something is never larger than Rest.
type Decoder struct {
	Rest []byte
	Err  error
}

// Fail notes an error, unless there is one.
func (d *Decoder) Fail(format string, args ...any) {
	if d.Err == nil {
		d.Err = fmt.Errorf(format, args...)
		d.Rest = nil
	}
}

var errShort = errors.New("got an end, want more bytes")

// Number reads one that is not below zero.
func (d *Decoder) Number() int64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 || v > math.MaxInt64 {
		d.Fail("read number: %w", errShort)
		return 0
	}
	d.Rest = d.Rest[n:]
	return int64(v)
}

// Signed reads any number.
func (d *Decoder) Signed() int64 {
	v, n := binary.Varint(d.Rest)
	if n <= 0 {
		d.Fail("read number: %w", errShort)
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Count reads the number of things that follow, each of which takes a byte at least.
func (d *Decoder) Count() int {
	n := d.Number()
	if n > int64(len(d.Rest)) {
		d.Fail("read count: got %d, want at most the %d bytes that are left", n, len(d.Rest))
		return 0
	}
	return int(n)
}

// Each calls yield as often as the count that follows says, while there is no error.
func (d *Decoder) Each(yield func(int) bool) {
	n := d.Count()
	for i := 0; i < n && d.Err == nil; i++ {
		if !yield(i) {
			return
		}
	}
}

// Bytes reads n bytes, which are a part of Rest.
func (d *Decoder) Bytes(n int) []byte {
	if n < 0 || n > len(d.Rest) {
		d.Fail("read %d bytes: %w", n, errShort)
		return nil
	}
	b := d.Rest[:n:n]
	d.Rest = d.Rest[n:]
	return b
}

// Text reads one.
func (d *Decoder) Text() string { return string(d.Bytes(d.Count())) }

// Duration reads a time span.
func (d *Decoder) Duration() time.Duration { return time.Duration(d.Signed()) }

// Flag reads a yes or no.
func (d *Decoder) Flag() bool {
	b := d.Bytes(1)
	if len(b) == 0 {
		return false
	}
	if b[0] > 1 {
		d.Fail("read flag: got %d, want 0 or 1", b[0])
	}
	return b[0] == 1
}

// EncodeTally appends counts by any kind of name.
func EncodeTally[K ~string](e *Encoder, t Tally[K]) {
	e.Number(int64(len(t)))
	for _, one := range t {
		e.Text(string(one.Key))
		e.Signed(one.N)
	}
}

// DecodeTally reads what EncodeTally appended.
func DecodeTally[K ~string](d *Decoder) (t Tally[K]) {
	for range d.Each {
		t = append(t, Tallied[K]{Key: K(d.Text()), N: d.Signed()})
	}
	return t
}
