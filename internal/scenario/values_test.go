package scenario

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{"1m": "1m", "60s": "1m", "90s": "1m30s", "500ms": "500ms", "1h": "1h", "1h0m0s": "1h", "10m": "10m", "1h10m": "1h10m", "1h0m10s": "1h0m10s", "100h": "100h", "0s": "0s", "0": "0s", "1.5s": "1.5s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("read %q: got %s and %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "45", "-1s", "1d", "soon", "1 s", "99999999h"} {
		var d Duration
		if _, ok := errors.AsType[*ValueError](d.UnmarshalText([]byte(text))); !ok || d != 0 {
			t.Errorf("read %q: got %s, want a ValueError", text, d)
		}
	}
}

func FuzzDuration(f *testing.F) {
	f.Add(int64(time.Minute))
	f.Add(int64(10 * time.Hour))
	f.Fuzz(func(t *testing.T, n int64) {
		d := Duration(max(n, 0))
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%d prints as %s, which reads as %d and %v", d, d, again, err)
		}
	})
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		`"900"`: 900, `900`: 900, `"900B"`: 900, `"200kB"`: 200_000, `"1MB"`: 1e6, `"1.5MB"`: 1_500_000, `"1 GB"`: 1e9, `0`: 0, `"0B"`: 0, `1e3`: 1000,
		`"1.001MB"`: 1_001_000, `"4.35kB"`: 4350, `"1.15GB"`: 1_150_000_000, // no binary fraction is exactly these
	} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err != nil || b != want {
			t.Errorf("read %s: got %d and %v, want %d", text, int64(b), err, int64(want))
		}
	}
	for _, text := range []string{`""`, `"B"`, `"-1B"`, `-1`, `"many"`, `"1TB"`, `"1mb"`, `"NaN"`, `"Inf"`, `"1e300GB"`, `null`, `[1]`, `{}`, `true`} {
		var b Bytes
		if _, ok := errors.AsType[*ValueError](json.Unmarshal([]byte(text), &b)); !ok {
			t.Errorf("read %s: got %d, want a ValueError", text, int64(b))
		}
	}
	for b, want := range map[Bytes]string{0: "0B", 1: "1B", 999: "999B", 1000: "1kB", 1500: "1500B", 2e6: "2MB", 3e9: "3GB"} {
		if got := b.String(); got != want {
			t.Errorf("print %d: got %s, want %s", int64(b), got, want)
		}
	}
}

func FuzzBytes(f *testing.F) {
	f.Add(int64(1_001_000))
	f.Fuzz(func(t *testing.T, n int64) {
		b := Bytes(max(n, -n, 0) % 1e15)
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%d prints as %s, which reads as %d and %v", int64(b), b, int64(again), err)
		}
	})
}

// Each value, read and written: want is the JSON that comes out, "" where it is refused.
func TestJSONForms(t *testing.T) {
	cases := []struct {
		target any
		in     string
		want   string
	}{
		{new(Text), `"paid"`, `"paid"`},
		{new(Text), `200`, `"200"`},
		{new(Text), `1.10`, `"1.10"`},
		{new(Text), `true`, `"true"`},
		{new(Text), `""`, `""`},
		{new(Text), `null`, ""},
		{new(Text), `[]`, ""},
		{new(Text), `{}`, ""},

		{new(Strings), `"all"`, `["all"]`},
		{new(Strings), `["us","eu"]`, `["us","eu"]`},
		{new(Strings), `[1,true]`, `["1","true"]`},
		{new(Strings), `[]`, `[]`},
		{new(Strings), `[null]`, ""},
		{new(Strings), `[["us"]]`, ""},
		{new(Strings), `null`, ""},

		{new(StatusSet), `200`, `["200"]`},
		{new(StatusSet), `"2xx"`, `["2xx"]`},
		{new(StatusSet), `[204,"3xx"]`, `["204","3xx"]`},
		{new(StatusSet), `99`, ""},
		{new(StatusSet), `600`, ""},
		{new(StatusSet), `"2XX"`, ""},
		{new(StatusSet), `"20"`, ""},
		{new(StatusSet), `"2x4"`, ""},
		{new(StatusSet), `200.5`, ""},
		{new(StatusSet), `[200,"x"]`, ""},

		{new(Selectors), `"#a"`, `[["#a"]]`},
		{new(Selectors), `["#a","#b"]`, `[["#a"],["#b"]]`},
		{new(Selectors), `[["#host","#in"],"#b"]`, `[["#host","#in"],["#b"]]`},
		{new(Selectors), `[]`, `[]`},
		{new(Selectors), `[[]]`, ""},
		{new(Selectors), `[[["#a"]]]`, ""},
		{new(Selectors), `[null]`, ""},
		{new(Selectors), `{}`, ""},
		{new(Selectors), `null`, ""},
	}
	for _, c := range cases {
		err := json.Unmarshal([]byte(c.in), c.target)
		if c.want == "" {
			if bad, ok := errors.AsType[*ValueError](err); c.in != "null" && (!ok || bad.Got == "" || bad.Want == "") {
				t.Errorf("%T from %s: got %v, want a ValueError", c.target, c.in, err)
			}
			continue
		}
		got, marshalErr := json.Marshal(c.target)
		if err != nil || marshalErr != nil || string(got) != c.want {
			t.Errorf("%T from %s: got %s and %v, %v, want %s", c.target, c.in, got, err, marshalErr, c.want)
			continue
		}
		again := reflect.New(reflect.TypeOf(c.target).Elem()).Interface()
		if err := json.Unmarshal(got, again); err != nil || !reflect.DeepEqual(again, c.target) {
			t.Errorf("%T from its own %s: got %v and %v", c.target, got, again, err)
		}
	}
}

func TestStatusSetHas(t *testing.T) {
	set := StatusSet{"204", "3xx"}
	for code, want := range map[int]bool{204: true, 200: false, 300: true, 399: true, 400: false, 0: false, 30: false, 3000: false, -3: false} {
		if got := set.Has(code); got != want {
			t.Errorf("%s has %d: got %v, want %v", set, code, got, want)
		}
	}
	if got := set.String(); got != "204 or 3xx" {
		t.Errorf("print: got %s", got)
	}
}

func FuzzValuesJSON(f *testing.F) {
	for _, text := range []string{`"a"`, `1`, `[1,"2"]`, `[["a"],"b"]`, `null`, `{}`, `"2xx"`, `1e400`, `"\ud800"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range []any{new(Text), new(Strings), new(StatusSet), new(Selectors), new(Bytes), new(Duration), new(Step)} {
			if json.Unmarshal(data, target) != nil {
				continue
			}
			body, err := json.Marshal(target)
			if err != nil {
				t.Fatalf("write %T from %s: %v", target, data, err)
			}
			again := reflect.New(reflect.TypeOf(target).Elem()).Interface()
			if err := json.Unmarshal(body, again); err != nil {
				t.Fatalf("%T from its own %s: %v", target, body, err)
			}
			if second, err := json.Marshal(again); err != nil || string(second) != string(body) {
				t.Errorf("%T: got %s and %v, want %s", target, second, err, body)
			}
		}
	})
}
