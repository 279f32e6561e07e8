package scenariofile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/netprofile"
	"lastmile/internal/scenariofile/document"
)

// checkErrors fails where an error of Parse does not say where it is.
func checkErrors(t *testing.T, file string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	all := document.All(err)
	if len(all) == 0 {
		t.Fatalf("parse: got %v, want errors with positions", err)
	}
	before := &document.Error{}
	for _, e := range all {
		if e.File != file || e.Line < 1 || e.Column < 1 || e.Got == "" || e.Want == "" {
			t.Errorf("parse: got %+v, want file %s, a position, got and want", e, file)
		}
		if e.Line < before.Line || e.Line == before.Line && e.Column < before.Column {
			t.Errorf("parse: got %s after %s, want them by position", e, before)
		}
		if strings.ContainsAny(e.Error(), "\n\r") {
			t.Errorf("parse: got %q, want one line", e.Error())
		}
		before = e
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"a: b: c", "? ? a", "- - - a", "{a: [b, {c: d}]}", "&a *a", "!!map {a: 1}", "a: |\n x\n", "%YAML 1.2\n---\na", "\ufeffa: 1", "<<: {a: b}", "- &a\n-", "---\n---\n", "a: !!str", "steps: [{type: *x}]", "'"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		_, err := Parse("fuzz.yaml", data, testFleet())
		checkErrors(t, "fuzz.yaml", err)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("parse %d bytes: took %s", len(data), took)
		}
		_, err = parseRegions("fuzz.yaml", data)
		checkErrors(t, "fuzz.yaml", err)
	})
}

func FuzzParseNetworks(f *testing.F) {
	files, err := filepath.Glob("testdata/networks/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("find testdata: got %d files and %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseNetworks("fuzz.yaml", data)
		checkErrors(t, "fuzz.yaml", err)
		if err == nil && len(set) == 0 {
			t.Error("parse: got no network and no error")
		}
		for _, p := range set {
			if _, preset := netprofile.Lookup(p.Name); err == nil && (preset || len(p.Validate()) > 0 || p.Version != p.OwnVersion()) {
				t.Errorf("parse: got %+v without an error: %v", p, p.Validate())
			}
		}
	})
}

// Files made to exhaust a parser get an error in bounded time. The largest bound is wide, for slow machines under load.
func TestParseHostile(t *testing.T) {
	const limit = time.Minute // of a machine that is busy with other things as well
	repeat := func(text string, size int) string { return strings.Repeat(text, size/len(text)) }
	units := []string{
		"[", "{", "- ", "-\n", "a:\n", "a: ", "a: b\n", "? ", "&a ", "*a ", "!!a ", "!a", "{a: ", "[a: ", "[],", "---\n", "...\n", "a: |\n",
		"#\n", "\"", "'", "<<: ", "%a\n", "\t", "\r\n", " ", "é", "- a\n", "a: &x\n", "- !!str\n", ":", ",", "a,", "]", "}", "a\n", "? a\n: b\n", "{},", "- - \n",
	}
	slowest := []string{"{", "&a ", "a: |\n", "a,", "é", "'"} // per byte, for the scanner
	for _, unit := range units {
		for _, prefix := range []string{"", "[", "steps:\n  - json: {"} {
			for _, size := range []int{2 * document.MaxTokens, document.MaxSize} {
				if size == document.MaxSize && (prefix != "" || !slices.Contains(slowest, unit)) {
					continue // only the scanner sees these, and it has no depth
				}
				text := prefix + repeat(unit, size)
				start := time.Now()
				_, err := Parse("hostile.yaml", []byte(text), testFleet())
				if took := time.Since(start); took > limit {
					t.Errorf("parse %q and %q repeated to %d bytes: took %s, want at most %s", prefix, unit, len(text), took, limit)
				}
				if err == nil {
					t.Errorf("parse %q repeated: got no error", unit)
				}
				checkErrors(t, "hostile.yaml", err)
			}
		}
	}
}
