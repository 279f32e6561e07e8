package floors

import (
	"io/fs"
	"os"
	"testing"
)

// TestRepository holds this repository against the table of the house.
func TestRepository(t *testing.T) {
	top := os.DirFS("../..")
	sources, err := load(top)
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := fs.ReadFile(top, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	architecture, err := fs.ReadFile(top, "ARCHITECTURE.md")
	if err != nil {
		t.Error(err)
	}
	h := lastmile()
	folders, err := h.checkFolders(top)
	if err != nil {
		t.Fatal(err)
	}
	for name, problems := range map[string][]string{
		"table":        h.checkTable(sources),
		"imports":      h.checkImports(sources),
		"modules":      h.checkModules(sources, gomod),
		"pure":         h.checkPure(sources),
		"sizes":        h.checkSizes(sources),
		"docs":         h.checkDocs(sources),
		"mains":        h.checkMains(sources),
		"architecture": h.checkArchitecture(sources, string(architecture), gomod),
		"folders":      folders,
	} {
		t.Run(name, func(t *testing.T) {
			for _, problem := range problems {
				t.Error(problem)
			}
		})
	}
}
