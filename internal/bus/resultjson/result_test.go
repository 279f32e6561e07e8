package resultjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

// random fills a value with something in every field that travels.
func random(v reflect.Value, rng *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		words := []string{"hit", "step-1", "Grüße, 世界", "a \"quoted\" \\ word", "<a href='x'>&amp;\u2028", "tab\tand\nline", "", "https://shop.example.com/assets/app-17.js", "passed"}
		v.SetString(words[rng.IntN(len(words))])
	case reflect.Int, reflect.Int64:
		v.SetInt(rng.Int64N(1<<40) - 1<<20)
	case reflect.Float64:
		v.SetFloat([]float64{0, -1.5, 1e-7, 1e21, 0.1, 12.345, rng.Float64(), rng.ExpFloat64() * 1e6, float64(rng.IntN(1_000_000)) / 1000}[rng.IntN(9)])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		random(v.Elem(), rng)
	case reflect.Slice:
		n := 1 + rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			random(v.Index(i), rng)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{"hit", "miss", "shield-hit"} {
			value := reflect.New(v.Type().Elem()).Elem()
			random(value, rng)
			v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(rng.Int64N(1<<32), rng.Int64N(1e9)).UTC()))
			return
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Type().Field(i).Tag.Get("json") == "-" && name != "Age" && name != "HasAge" {
				continue
			}
			random(v.Field(i), rng)
			if name == "Age" {
				v.Field(i).SetInt(rng.Int64N(1<<30) * int64(time.Second))
			}
		}
	}
}

// A field that a result has and this package does not know would be lost in silence: every field is filled here.
func TestAllFieldsAreRead(t *testing.T) {
	var space Space
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var full runs.Result
		random(reflect.ValueOf(&full).Elem(), rng)
		body, err := json.Marshal(&full)
		if err != nil {
			t.Fatal(err)
		}
		var want, got runs.Result
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		d := decoder{in: body, space: new(Space)}
		if d.result(&got); d.bad || d.at != len(body) {
			t.Fatalf("seed %d: got a result that is left to encoding/json, want it read here: %s", seed, body)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got\n%+v\nwant\n%+v\nof %s", seed, got, want, body)
		}
		if again, err := space.Decode(body); err != nil || !reflect.DeepEqual(again, want) {
			t.Fatalf("seed %d, in a space that another result had: got\n%+v and %v\nwant\n%+v\nof %s", seed, again, err, want, body)
		}
	}
}

// What a probe of the next version adds is passed over, and what nobody writes is still read, or refused, as encoding/json has it.
func TestStrangeBodies(t *testing.T) {
	ours := []string{
		`{}`, ` { "schema" : 1 , "slot" : "2026-11-21T08:00:00Z" } `, `{"steps":null,"requests":null,"cause":null,"tainted":null}`, `{"steps":[],"requests":[]}`,
		`{"new":{"Deep":[1,-2.5e3,"x\u00e9",true,null,{},[]]},"run_id":"a"}`, `{"region":"us","region":"eu"}`, `{"duration_ms":null,"schema":null}`,
		`{"tainted":[null,"x"]}`, `{"requests":[{"cache":{"age_seconds":null,"state":"hit"}}]}`, `{"requests":[{"cache":{"state":"hit"},"cache":{"tier":"edge"}}]}`,
		`{"duration_ms":-0}`, `{"duration_ms":123456789012345678901234567890}`, `{"duration_ms":1E+2}`, `{"cause":null,"cause":{"class":"dns"}}`,
	}
	theirs := []string{
		``, `null`, `[]`, `{`, `{"schema":1.0}`, `{"schema":"1"}`, `{"schema":01}`, `{"SCHEMA":1}`, `{"schema":1}x`, `{"schema":1,}`, `{"steps":[{},]}`, `{"steps":[null]}`,
		`{"cause":{"class":"dns"},"cause":{"step":"a"}}`, `{"link":{"mode":"dial"},"link":{"profile":"3g"}}`, `{"steps":[{"id":"a"}],"steps":[{"type":"x"}]}`,
		`{"slot":"yesterday"}`, `{"slot":null}`, `{"region":"` + "\xff" + `"}`, `{"region":"a` + "\x01" + `"}`, `{"new":-}`, `{"new":1.}`, `{"new":1e}`, `{"new":tru}`, `{"new":"\x"}`,
		`{"region":"\ud800"}`[:11] + `\`, `{"region":"abcdefgh\"}`, `{"duration_ms":1e999}`, `{"new":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"schema":99999999999999999999}`, `{"r\u0065gion":"us"}`, `{"cache":null}`, `{"load":{"cores":{}}}`,
	}
	for _, body := range append(ours, theirs...) {
		same(t, []byte(body))
	}
	for _, body := range ours {
		d := decoder{in: []byte(body), space: new(Space)}
		if d.result(new(runs.Result)); d.bad {
			t.Errorf("%s: got it left to encoding/json, want it read here", body)
		}
	}
}

// One message must not take all memory. What is only long is no such thing.
func TestCrowdedBodies(t *testing.T) {
	repeated := func(value string) []byte {
		return []byte(`{"requests":[` + strings.TrimSuffix(strings.Repeat(value+",", 1<<20/(len(value)+1)), ",") + `]}`)
	}
	for _, value := range []string{`{}`, `0`, `null`, `{ }`, `{"":0}`} {
		if _, err := Decode(repeated(value)); !errors.Is(err, ErrCrowded) {
			t.Errorf("many times %s: got %v, want it refused", value, err)
		}
	}
	for _, value := range []string{`{"url":"https://shop.example.com"}`, `{"url":"\",,,,,,,,,,,,,,,,,,,,,,,,,,,,,"}`} {
		if got, err := Decode(repeated(value)); err != nil || len(got.Requests) < 20_000 {
			t.Errorf("many times %s: got %d requests and %v, want them all", value, len(got.Requests), err)
		}
	}
}

// same asserts that a body means what encoding/json takes it for.
func same(t *testing.T, body []byte) {
	t.Helper()
	var want runs.Result
	wantErr := json.Unmarshal(body, &want)
	got, err := Decode(body)
	if errors.Is(err, ErrCrowded) {
		return
	}
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("%s: got error %v, want %v", body, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got\n%+v\nwant\n%+v", body, got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(4) {
		var r runs.Result
		random(reflect.ValueOf(&r).Elem(), rand.New(rand.NewPCG(seed, 9)))
		body, err := json.Marshal(&r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(body[:len(body)/2])
	}
	f.Add([]byte(`{"requests":[{"phases":{"dns_ms":1.5},"cache":{"state":"hit","age_seconds":3}}],"cache":{"by_state":{"hit":1}},"new":[{"A":"\u0041"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { same(t, body) })
}
