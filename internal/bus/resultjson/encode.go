package resultjson

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"lastmile/internal/runs"
)

// Encode makes the body of a result of at most limit bytes. Where the whole does not fit, the last requests are left out
// and their number is returned: the cache's counts, steps and cause stay true; what the hub counts by request is short of them.
func Encode(r runs.Result, limit int) (body []byte, dropped int, err error) {
	if body, err = json.Marshal(&r); err != nil {
		return nil, 0, err
	}
	if len(body) <= limit {
		return body, 0, nil
	}
	all := r.Requests
	sizes := make([]int, len(all))
	room := limit - len(body) - len(`"requests_dropped":1000000,`)
	for i := range all {
		one, err := json.Marshal(&all[i])
		if err != nil {
			return nil, 0, err
		}
		sizes[i] = len(one) + 1 // with its comma
		room += sizes[i]
	}
	keep := 0
	for keep < len(all) && sizes[keep] <= room {
		room -= sizes[keep]
		keep++
	}
	r.Requests, r.Dropped = all[:keep], r.Dropped+len(all)-keep
	if body, err = json.Marshal(&r); err != nil {
		return nil, 0, err
	}
	if len(body) > limit {
		return nil, 0, fmt.Errorf("got %d bytes without requests, want at most %d: %w", len(body), limit, nats.ErrMaxPayload)
	}
	return body, len(all) - keep, nil
}
