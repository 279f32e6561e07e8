package orders

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// bigVerdict closes a minute of a region with many combinations, all of them of long names.
func bigVerdict(slots int) runs.Verdict {
	minute := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	v := runs.Verdict{Schema: runs.Schema, Region: "us", Minute: minute}
	for n := range slots {
		c := scenario.Combination{Scenario: fmt.Sprintf("s%d-%s", n, strings.Repeat("x", 50)), Region: "us", Network: strings.Repeat("n", 63)}
		v.Slots = append(v.Slots, runs.SlotVerdict{RunID: runs.NewID(c, minute.Add(time.Duration(n%60)*time.Second)), State: runs.StateMissing, Reason: runs.ReasonNoProbe})
	}
	return v
}

// A verdict of more slots than a message has room for in plain JSON gets through; a small one is plain.
func TestVerdictsFitIntoAMessage(t *testing.T) {
	for _, slots := range []int{0, 3, 15_000} {
		want := bigVerdict(slots)
		const most = 1 << 20
		body, err := EncodeVerdict(&want, most)
		if err != nil || len(body) > most-headroom {
			t.Fatalf("%d slots: got %d bytes, %v, want at most %d", slots, len(body), err, most-headroom)
		}
		if plain := body[0] == '{'; plain != (slots < 4) {
			t.Errorf("%d slots: got plain=%t", slots, plain)
		}
		var got runs.Verdict
		if err := json.Unmarshal(UnpackVerdict(body), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d slots: got another verdict back, %v", slots, err)
		}
	}
	for _, body := range [][]byte{nil, {0x1f}, {0x1f, 0x8b, 8, 0}, []byte("not packed")} {
		if got := UnpackVerdict(body); !bytes.Equal(got, body) {
			t.Errorf("%q: got %q, want it as it is", body, got)
		}
	}
}
