package orders

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"lastmile/internal/runs"
	"lastmile/internal/runs/notes"
)

func record() notes.Begun {
	return notes.Begun{
		Schema: runs.Schema, Region: "us", First: map[string]int64{"shop.none": 1_800_000_000, "shop.3g": 1_800_000_060}, Left: map[string]int64{"shop.3g": 1_800_000_120},
	}
}

func TestBeginningsComeBackAsTheyWere(t *testing.T) {
	want := record()
	packed, err := EncodeBegun(&want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeBegun(packed); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestUnusableBeginnings(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*notes.Begun)
		want  string
	}{
		"schema":         {func(b *notes.Begun) { b.Schema = 7 }, "got schema 7"},
		"region":         {func(b *notes.Begun) { b.Region = "u.s" }, "got region"},
		"no network":     {func(b *notes.Begun) { b.First["shop"] = 1 }, `got "shop"`},
		"no label":       {func(b *notes.Begun) { b.First["shop.*"] = 1 }, `got "shop.*"`},
		"no time":        {func(b *notes.Begun) { b.First["shop.4g"] = 0 }, "at 0 s"},
		"gone, no time":  {func(b *notes.Begun) { b.Left["shop.none"] = -1 }, "gone at -1 s"},
		"gone, not come": {func(b *notes.Begun) { b.Left["shop.4g"] = 1 }, "gone at 1 s"},
		"too many": {func(b *notes.Begun) {
			for n := range notes.MaxBegun {
				b.First[fmt.Sprintf("s%d.none", n)] = 1
			}
		}, "got 100002 combinations"},
	} {
		b := record()
		tc.spoil(&b)
		if _, err := EncodeBegun(&b); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
	if _, err := DecodeBegun([]byte("{}")); err == nil {
		t.Error("not packed: got no error")
	}
}

// The largest plan of a region that we promise to bear fits into one message of a server as it comes.
func TestTenThousandBeginningsFitIntoAMessage(t *testing.T) {
	b := notes.Begun{Schema: runs.Schema, Region: "us", First: map[string]int64{}}
	for n := range 10_000 {
		b.First[fmt.Sprintf("customer-journey-%d.network-%d", n/4, n%4)] = 1_800_000_000 + int64(n*n%3600)
	}
	packed, err := EncodeBegun(&b)
	if err != nil {
		t.Fatal(err)
	}
	if most := 1<<20 - headroom; len(packed) > most {
		t.Errorf("got %d bytes, want at most %d", len(packed), most)
	}
	t.Logf("10,000 combinations: %d bytes", len(packed))
}

func FuzzDecodeBegun(f *testing.F) {
	seed := record()
	packed, err := EncodeBegun(&seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Fuzz(func(t *testing.T, packed []byte) {
		got, err := DecodeBegun(packed)
		if err != nil {
			return
		}
		if err := got.Check(); err != nil {
			t.Fatalf("accepted %q: %v", packed, err)
		}
	})
}
