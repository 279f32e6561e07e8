package orders

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"

	"lastmile/internal/runs"
)

// maxVerdict bounds a verdict that has been unpacked, in bytes: more than a hundred thousand slots.
const maxVerdict = 32 << 20

// EncodeVerdict returns a verdict as JSON, gzip'd where that would be more than a server takes in one message. There is one of a minute only, so that it
// cannot come in parts: one of thousands of slots that could not be written would keep them without an end.
func EncodeVerdict(v *runs.Verdict, most int64) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil || most <= 0 || int64(len(body)) <= most-headroom {
		return body, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err = w.Write(body); err == nil {
		err = w.Close()
	}
	return packed.Bytes(), err
}

// UnpackVerdict returns the JSON of what EncodeVerdict made. What is not packed, or cannot be unpacked, it returns as it is.
func UnpackVerdict(packed []byte) []byte {
	if len(packed) == 0 || packed[0] == '{' {
		return packed
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return packed
	}
	r.Multistream(false)
	body, err := io.ReadAll(io.LimitReader(r, maxVerdict))
	if err != nil {
		return packed
	}
	return body
}
