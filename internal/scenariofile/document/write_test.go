package document

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// travel writes a value and reads it again.
func travel(t *testing.T, v map[string]any) (string, map[string]any) {
	t.Helper()
	text, err := Write(v)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := Read("x.yaml", text, &got).Err(); err != nil {
		t.Fatalf("read what was written of %q: %v\n%s", v, err, text)
	}
	return string(text), got
}

// Every text comes back as it was, as a key and as a value, in a block and on one line.
func checkText(t *testing.T, text string) {
	t.Helper()
	long := strings.Repeat("long ", 30)
	want := map[string]any{"block": text, "flow": []any{text, map[string]any{"a": text, text: "b"}}, "deep": map[string]any{"a": long, "b": text, "k" + text: long}, "list": []any{long, text, map[string]any{"a": long, "b": text}}}
	if file, got := travel(t, want); !reflect.DeepEqual(got, want) {
		t.Errorf("write %q: got back %q from\n%s", text, got, file)
	}
}

var awkward = []string{
	"1m30s", "1.5ms", "5s5", "12h", "1e5m", `a" #b: c`, `"`, `""`, `\\`, `[data-test="a"]`, `it's "a"`, ` "a" `, `é"`, `"a", b`, `a"}`, "'", "''", `'"`,
	"", " ", "a", "a b", " a", "a ", "\t", "a\tb", "\n", "a\n", "a\n\n", "\na", "a\nb", "a\n\nb\n", "a\n  b\nc", "  a\nb", "a \nb", "a\n#b\n- c\n", "a\n---\nb", "...", "---", "--- a", "a\r\nb", "\r", "|", ">", "|-",
	"true", "False", "NULL", "~", "yes", "No", "on", "y", "1", "-1", "+1", "0x1f", "0o17", "017", "1_000", "1e3", "1.5", ".5", "5.", ".inf", "-.INF", ".NaN", "inf", "nan", "Infinity", "1:30", "2026-01-02", "12:30:45", "=", "<<",
	"a: b", "a:b", "a:", ":a", ":", "a #b", "a#b", "#a", "a, b", "a,b", "[a]", "a]", "{a}", "a}", "&a", "*a", "!a", "!!str a", "%a", "@a", "`a", "'a'", `"a"`, `a"b`, "it's", `\`, `a\nb`, `C:\dir`, "? a", "?a", "a ?b", "- a", "-a", "-",
	"https://shop.example.com:8080/a?b=c&d=%20#frag", "https://[::1]/", "//div[@id='a']", "xpath///*[@id=\"a\"]/div[2]", "aria/Sign in", "#go", ".btn:nth-of-type(2) > a", "a > b ~ c", "${vars.x}", "$${x}", "$",
	"é", "日本語", "😀", "\u00a0", "\u0085", "\u2028", "\ufeff", "\u200b", "\u007f", "\u0000", "\u001b[0m", "\U000e0001", "\ufffd", "e\u0301", "\U0010ffff", "a\u0000b",
	"document.querySelector('a')\n  .click()", "() => {\n\treturn 1\n}", "// comment\ncode", "key: value\nother: [", "a: |\n b", "_1", "_", "a_b", "$.a", "(a)", "a;b", "a<b>c^d", "a::before", "a: ", "x :y", "a :", "null ", "a%b", "/", "//", ".", "..", ".a", "a.",
}

func TestWriteTexts(t *testing.T) {
	for _, text := range awkward {
		checkText(t, text)
	}
	for r := rune(0); r < 0x100; r++ {
		checkText(t, "a"+string(r)+"b")
		checkText(t, string(r))
	}
	for r := rune(0x100); r < 0x11000; r += 97 {
		if utf8.ValidRune(r) {
			checkText(t, string(r)+string(r+1))
		}
	}
}

func FuzzWriteText(f *testing.F) {
	for _, text := range awkward {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if utf8.ValidString(text) && len(text) < 2000 {
			checkText(t, text)
		}
	})
}

func TestWriteValues(t *testing.T) {
	for _, v := range []any{
		nil, true, false, 0.0, -1.0, 1.5, 5000.0, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e20, 1e21, -1e300, 9007199254740993.0, float64(1 << 53), 1e-7, 123456789012345680.0,
		[]any{}, map[string]any{}, []any{[]any{}, map[string]any{}, nil}, []any{[]any{[]any{"a"}}, "b"}, map[string]any{"": nil, "a": map[string]any{"b": []any{}}},
	} {
		want := map[string]any{"a": v, "b": []any{v, v}, "c": map[string]any{"d": v}}
		if file, got := travel(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("write %v: got back %v from\n%s", v, got, file)
		}
	}
}

// Whatever nesting a JSON file may have, the YAML file may have as well.
func TestWriteDepth(t *testing.T) {
	for _, unit := range [][2]string{{`[`, `]`}, {`{"a":`, `}`}, {`{"a: ":`, `}`}, {`[{"-":[1,`, `],"b":1}]`}, {`{"a":1,"b":`, `,"c":"` + strings.Repeat("x ", 50) + `"}`}} {
		depth := (maxJSONDepth - 1) / (strings.Count(unit[1], "]") + strings.Count(unit[1], "}"))
		text := `{"x":` + strings.Repeat(unit[0], depth) + "1" + strings.Repeat(unit[1], depth) + "}"
		value, d := ReadJSON("x.json", []byte(text))
		if err := d.Err(); err != nil {
			t.Fatalf("read %s: %v", text, err)
		}
		want := value.(map[string]any)
		if file, got := travel(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("write %s: got back %v from\n%s", text, got, file)
		}
	}
}

func TestWriteRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var value func(depth int) any
	text := func() string { return awkward[random.IntN(len(awkward))] }
	value = func(depth int) any {
		switch n := random.IntN(7); {
		case n == 0:
			return random.NormFloat64() * 1e6
		case n == 1:
			return random.IntN(2) == 0
		case n == 2:
			return nil
		case n <= 4 || depth > 8:
			return text()
		case n == 5:
			list := []any{}
			for range random.IntN(5) {
				list = append(list, value(depth+1))
			}
			return list
		}
		object := map[string]any{}
		for range random.IntN(5) {
			object[text()] = value(depth + 1)
		}
		return object
	}
	for range 500 {
		want := map[string]any{text(): value(0), text(): value(0), "steps": []any{map[string]any{"a": value(0), text(): value(0)}}}
		if file, got := travel(t, want); !reflect.DeepEqual(got, want) {
			t.Fatalf("write %q: got back %q from\n%s", want, got, file)
		}
	}
}

func TestReadJSON(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "x.json:1:1: got invalid JSON",
		"{\n \"a\": tru\n}":     "x.json:2:10: got invalid JSON",
		"{\"a\": 1}\nx":         "x.json:2:",
		"{\"a\": [1\n,]}":       "x.json:2:2: got invalid JSON",
		"{\"a\":\n 1":           "x.json:2:3: got invalid JSON",
		"{\"é\": \xff}":         "x.json:1:7: got a byte that is not text",
		"{\"a\":1,\n \"a\":2}":  "x.json:2:2: a: got the key again, after line 1, want each key once",
		`{"a": 1e400}`:          "x.json:1:7: a: got 1e400, want a number",
		`{"a": ["\ud83d"]}`:     `x.json:1:8: a[0]: got half a surrogate pair (\ud83d), want`,
		`{"a": "\\\ud83d\ude"}`: "got invalid JSON",
		`{"\udc00": 1}`:         `x.json:1:2: got half a surrogate pair (\udc00)`,
		`{"a": ` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}":       "x.json:1:31: got more than 24 levels of nesting",
		`{"a": ` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}": "exceeded max depth",
		`{"a": [` + strings.Repeat("1,", MaxTokens) + "1]}":                      "got more than 30000 JSON tokens",
		`"` + strings.Repeat("a", MaxSize) + `"`:                                 "got more than 1024 KiB",
	} {
		_, d := ReadJSON("x.json", []byte(text))
		if err := d.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("read %.80q: got %v, want %s", text, err, want)
		}
	}
	const good = "\ufeff{\"a\": [1, 2.5e1, \"\\ud83d\\ude00\\\\ud83d\\u0041\", null, true, {}], \"\": -0.0, \"\x7f\": \"\"}"
	got, d := ReadJSON("x.json", []byte(good))
	var want any
	if err := json.Unmarshal([]byte(good[3:]), &want); err != nil {
		t.Fatal(err)
	}
	if err := d.Err(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %s: got %v and %v, want %v", good, got, err, want)
	}
	d.Refuse("a list", "a", "1")
	d.Refuse("text", "b")
	if err := d.Err(); err == nil || err.Error() != "x.json:1:1: b: got nothing, want text\nx.json:1:11: a[1]: got 2.5e1, want a list" {
		t.Errorf("refuse: got %v", err)
	}
}

func FuzzReadJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,"\ud83d\ude00"]}`, "[]", "1", `{"a":{"a":1,"a":2}}`, "\ufeff{}", `{"":"\ud800"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, d := ReadJSON("x.json", data)
		var want any
		err := json.Unmarshal(data, &want)
		if d.Err() == nil && err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("read %q: got %v, want %v", data, got, want)
		}
	})
}
