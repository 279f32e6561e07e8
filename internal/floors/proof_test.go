package floors

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// cottage is a small house for the tests of the checks themselves.
func cottage() house {
	return house{
		module: "cottage",
		pure:   ground,
		steps: map[string]int{
			"internal/floor": ground, "internal/kitchen": room, "internal/kitchen/sink": part, "internal/bath": room, "cmd/roof": roof,
		},
		owners: map[string]module{
			"example.com/stove":      {owners: []string{"internal/kitchen"}},
			"example.com/stove/gas":  {owners: []string{"internal/bath"}},
			"example.com/almost-std": {anyRoom: true},
			"example.com/tester":     {testOnly: true},
		},
		folders: []string{"cmd", "internal"},
		limits:  limits{function: 4, file: 8, pkg: 10},
	}
}

// files is a source tree: path -> text.
type files map[string]string

func (f files) tree() fstest.MapFS {
	tree := fstest.MapFS{}
	for name, text := range f {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

// TestChecksFindFaults shows for every rule a tree that keeps it and one that breaks it.
func TestChecksFindFaults(t *testing.T) {
	imports := func(sources []source) []string { return cottage().checkImports(sources) }
	pure := func(sources []source) []string { return cottage().checkPure(sources) }
	sizes := func(sources []source) []string { return cottage().checkSizes(sources) }
	docs := func(sources []source) []string { return cottage().checkDocs(sources) }
	for _, test := range []struct {
		name  string
		check func([]source) []string
		files files
		want  []string // one fragment per problem
	}{
		{"imports point down", imports, files{
			"cmd/roof/a.go":         `package roof; import _ "cottage/internal/kitchen"`,
			"internal/kitchen/a.go": `package kitchen; import (_ "fmt"; _ "cottage/internal/floor")`,
		}, nil},
		{"a room and its part", imports, files{
			"internal/kitchen/a.go":      `package kitchen; import _ "cottage/internal/kitchen/sink"`,
			"internal/kitchen/sink/a.go": `package sink; import (_ "cottage/internal/floor"; _ "example.com/stove")`,
		}, nil},
		{"another room's part", imports, files{
			"internal/bath/a.go":         `package bath; import _ "cottage/internal/kitchen/sink"`,
			"cmd/roof/a.go":              `package roof; import _ "cottage/internal/kitchen/sink"`,
			"internal/kitchen/sink/a.go": `package sink; import _ "cottage/internal/kitchen"`,
		}, []string{
			"internal/bath/a.go: imports cottage/internal/kitchen/sink, a part of internal/kitchen, which alone may import it",
			"cmd/roof/a.go: imports cottage/internal/kitchen/sink, a part", "sink/a.go: imports cottage/internal/kitchen: got step",
		}},
		{"rooms import each other", imports, files{
			"internal/kitchen/a.go": `package kitchen; import _ "cottage/internal/bath"`,
		}, []string{"internal/kitchen/a.go: imports cottage/internal/bath: got step 9 imported by step 9, want a lower step"}},
		{"the ground imports a room", imports, files{
			"internal/floor/a.go": `package floor; import _ "cottage/internal/bath"`,
		}, []string{"got step 9 imported by step 0"}},
		{"a build constraint hides nothing", imports, files{
			"internal/floor/a_plan9.go": "//go:build never\n\npackage floor; import _ \"cottage/internal/bath\"",
		}, []string{"got step 9 imported by step 0"}},
		{"tests may import upwards", imports, files{
			"internal/floor/a_test.go": `package floor; import (_ "cottage/internal/bath"; _ "example.com/stove")`,
		}, nil},
		{"unknown package, also in a test", imports, files{
			"internal/bath/a.go":      `package bath; import _ "cottage/internal/cellar"`,
			"internal/bath/a_test.go": `package bath; import _ "cottage/internal/cellar"`,
		}, []string{"a.go: imports cottage/internal/cellar, which stands on no step", "a_test.go: imports cottage/internal/cellar"}},
		{"the owner of a module", imports, files{
			"internal/kitchen/a.go": `package kitchen; import (_ "example.com/stove"; _ "example.com/stove/oven"; _ "example.com/almost-std")`,
			"internal/bath/a.go":    `package bath; import _ "example.com/stove/gas/pipe"`,
		}, nil},
		{"not the owner of a module", imports, files{
			"internal/bath/a.go": `package bath; import _ "example.com/stove/oven"`,
		}, []string{"imports example.com/stove/oven: got internal/bath, want its owner internal/kitchen"}},
		{"unknown module, also in a test", imports, files{
			"internal/bath/a.go":      `package bath; import _ "example.com/stovepipe"`,
			"internal/bath/a_test.go": `package bath; import _ "example.com/stovepipe"`,
		}, []string{"a.go: imports example.com/stovepipe, a module without an owner", "a_test.go: imports example.com/stovepipe"}},
		{"a module for tests", imports, files{
			"internal/bath/a.go":      `package bath; import _ "example.com/tester"`,
			"internal/bath/a_test.go": `package bath; import _ "example.com/tester/sub"`,
		}, []string{"a.go: imports example.com/tester, which only tests may import"}},
		{"pure packages have no modules", imports, files{
			"internal/floor/a.go": `package floor; import _ "example.com/almost-std"`,
		}, []string{"got a pure package, want the standard library only"}},

		{"time and headers as data", pure, files{
			"internal/floor/a.go": `package floor
import ("time"; "net/http"; "log/slog")
func f(now time.Time, h http.Header) slog.Value { return slog.StringValue(h.Get("Age") + now.Add(time.Second).String()) }`,
			"internal/floor/a_test.go": `package floor; import "os"; var _ = os.Getenv`,
			"internal/bath/a.go":       `package bath; import "time"; var _ = time.Now`,
		}, nil},
		{"the clock under another name", pure, files{
			"internal/floor/a.go": `package floor; import clock "time"; func f() clock.Time { return clock.Now() }`,
		}, []string{"internal/floor/a.go:1: got time.Now in a pure package"}},
		{"a variable that hides a package", pure, files{
			"internal/floor/a.go": `package floor; import "time"; var _ time.Time; func f(time struct{ Now int }) int { return time.Now }`,
		}, nil},
		{"I/O and logging", pure, files{
			"internal/floor/a.go": `package floor; import ("os"; "log/slog"; "net/http"); func f() { slog.Info(""); _, _ = http.Get(os.Args[0]) }`,
		}, []string{"imports os,", "got log/slog.Info", "got net/http.Get"}},

		{"sizes at the limit", sizes, files{
			"internal/floor/a.go":      "package floor\n\nfunc f() {\n\t_ = 1\n\t_ = 2\n}\n\n\n",
			"internal/floor/a_test.go": "package floor\n\nfunc g() {\n\t_ = 1\n\t_ = 2\n\t_ = 3\n}\n\n",
		}, nil},
		{"sizes above the limit", sizes, files{
			"internal/floor/a.go": "package floor\n\nfunc (t T) f() {\n\t_ = 1\n\t_ = 2\n\t_ = 3\n}\n\ntype T int\n",
			"internal/floor/b.go": "package floor\n\n",
		}, []string{"a.go: got 9 lines, want at most 8", "a.go:3: function f: got 5 lines, want at most 4", "package internal/floor: got 11 lines"}},

		{"package comments", docs, files{
			"internal/floor/a.go":      "// Package floor is below.\npackage floor",
			"internal/floor/b.go":      "package floor",
			"internal/floor/c_test.go": "package floor_test",
			"cmd/roof/main.go":         "// Command roof is above.\npackage main",
		}, nil},
		{"no package comment", docs, files{
			"internal/floor/a.go":     "// What floor does.\npackage floor",
			"internal/bath/a_test.go": "// Package bath is wet.\npackage bath",
			"cmd/roof/main.go":        "// Package main is above.\npackage main",
		}, []string{"package cmd/roof has no comment", "package internal/bath has no comment", "package internal/floor has no comment"}},

		{"main", cottage().checkMains, files{
			"cmd/roof/main.go":  "package main\nfunc main() { a(); b(); c() }",
			"cmd/wide/main.go":  "package main\nfunc main() { a(); b(); c(); d() }",
			"cmd/wide/other.go": "package main\nfunc mainly() { a(); b(); c(); d() }",
		}, []string{"cmd/wide/main.go:2: main: got 4 statements"}},

		{"the table", cottage().checkTable, files{
			"cmd/roof/a.go": "package roof", "internal/floor/a.go": "package floor", "internal/bath/a.go": "package bath",
			"internal/kitchen/sink/a.go": "package sink",
			"internal/attic/a.go":        "package attic", "internal/attic/testdata/x.go": "package x", "tools/go.mod": "", "tools/a.go": "package tools",
		}, []string{"package internal/attic stands on no step", "the table names package internal/kitchen"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sources, err := load(test.files.tree())
			if err != nil {
				t.Fatal(err)
			}
			expectProblems(t, test.check(sources), test.want)
		})
	}
}

func TestModulesAndArchitecture(t *testing.T) {
	gomod := []byte(`module cottage

go 1.26

require example.com/stove v1.2.3

require (
	example.com/almost-std v0.1.0
	example.com/stranger/v2 v2.0.0
	example.com/unseen v1.0.0 // indirect
	example.com/tester v1.0.0
)

exclude example.com/bad v1.0.0
`)
	sources, err := load(files{
		"internal/kitchen/a.go": `package kitchen; import (_ "example.com/stove/oven"; _ "example.com/almost-std")`,
		"internal/bath/a.go":    `package bath; import _ "example.com/stove/gas"`,
		"cmd/roof/a.go":         `package roof`,
	}.tree())
	if err != nil {
		t.Fatal(err)
	}
	expectProblems(t, cottage().checkModules(sources, gomod), []string{
		"go.mod requires example.com/stranger/v2, which has no owner",
		"the table gives example.com/tester an owner, but nothing imports it",
	})
	text := "The `kitchen` owns example.com/stove; bathroom. example.com/almost-std, example.com/stranger and example.com/tester-kit."
	expectProblems(t, cottage().checkArchitecture(sources, text, gomod), []string{
		"ARCHITECTURE.md does not name package bath",
		"ARCHITECTURE.md does not name example.com/tester,",
	})
}

func TestFolders(t *testing.T) {
	problems, err := cottage().checkFolders(files{
		".gitignore": "# local\n/bin/\n", "bin/x": "", "cmd/x": "", "internal/x": "", "pkg/x": "", "README.md": "",
	}.tree())
	if err != nil {
		t.Fatal(err)
	}
	expectProblems(t, problems, []string{`folder "pkg": got a new folder at the top, want one of cmd internal`})
}

func TestLoadReportsBrokenSource(t *testing.T) {
	_, err := load(files{"cmd/a.go": "package cmd; func {"}.tree())
	if err == nil || !strings.Contains(err.Error(), "load sources: cmd/a.go:1:") {
		t.Errorf("load a broken file: got error %v, want one that names the file and line", err)
	}
}

// expectProblems fails the test unless each wanted fragment is in exactly one problem, in any order, and no problem is left.
func expectProblems(t *testing.T, got, want []string) {
	t.Helper()
	left := slices.Clone(got)
	for _, fragment := range want {
		i := slices.IndexFunc(left, func(problem string) bool { return strings.Contains(problem, fragment) })
		if i < 0 {
			t.Errorf("got no problem with %q in %q", fragment, got)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, problem := range left {
		t.Errorf("got an unexpected problem: %s", problem)
	}
}
