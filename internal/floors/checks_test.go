package floors

import (
	"bytes"
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkTable reports packages that the house does not know, and packages it knows that no longer exist.
func (h house) checkTable(sources []source) []string {
	var problems []string
	built := packages(sources)
	for _, dir := range built {
		if _, known := h.steps[dir]; !known {
			problems = append(problems, fmt.Sprintf(
				"package %s stands on no step: add it to the table in internal/floors, and to ARCHITECTURE.md", dir))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(h.steps)) {
		if !slices.Contains(built, dir) {
			problems = append(problems, fmt.Sprintf("the table names package %s, which has no Go file: remove it", dir))
		}
	}
	return problems
}

// checkImports reports imports that point sideways or up, a room's parts taken by another room, modules without an
// owner, and modules taken from their owner. Test files may import upwards and any module of the table, since a test is no part of the house.
func (h house) checkImports(sources []source) []string {
	var problems []string
	report := func(s source, format string, args ...any) {
		problems = append(problems, s.path+": "+fmt.Sprintf(format, args...))
	}
	for _, s := range sources {
		step, known := h.steps[s.dir]
		if !known {
			continue // checkTable reports it
		}
		for _, imported := range s.imports {
			if dir, ok := strings.CutPrefix(imported, h.module+"/"); ok {
				target, known := h.steps[dir]
				switch {
				case !known:
					report(s, "imports %s, which stands on no step of the table in internal/floors", imported)
				case !s.test && (target == fitting || target == part || target == wing) && !within(s.dir, path.Dir(dir)):
					report(s, "imports %s, a part of %s, which alone may import it", imported, path.Dir(dir))
				case !s.test && target >= step:
					report(s, "imports %s: got step %d imported by step %d, want a lower step", imported, target, step)
				}
				continue
			}
			if problem := h.foreign(s, step, imported); problem != "" {
				report(s, "%s", problem)
			}
		}
	}
	return problems
}

// foreign says what is wrong with the import of a package outside this module, or returns "".
func (h house) foreign(s source, step int, imported string) string {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	name, owned := h.moduleOf(imported)
	use := h.owners[name]
	switch {
	case !owned:
		return fmt.Sprintf("imports %s, a module without an owner: add one to the table in internal/floors", imported)
	case s.test || slices.ContainsFunc(use.owners, func(owner string) bool { return within(s.dir, owner) }):
		return ""
	case use.testOnly:
		return fmt.Sprintf("imports %s, which only tests may import", imported)
	case use.anyRoom && step > h.pure:
		return ""
	case use.anyRoom:
		return fmt.Sprintf("imports %s: got a pure package, want the standard library only", imported)
	}
	return fmt.Sprintf("imports %s: got %s, want its owner %s", imported, s.dir, strings.Join(use.owners, " or "))
}

// within reports whether a path is top or lies below it.
func within(name, top string) bool { return name == top || strings.HasPrefix(name, top+"/") }

// moduleOf returns the longest module of the table that contains the imported package.
func (h house) moduleOf(imported string) (name string, found bool) {
	for candidate := range h.owners {
		if within(imported, candidate) && len(candidate) > len(name) {
			name = candidate
		}
	}
	return name, name != ""
}

// checkModules reports direct requirements of go.mod that have no owner, and modules of the table that nothing
// imports.
func (h house) checkModules(sources []source, gomod []byte) []string {
	var problems []string
	for _, name := range directModules(gomod) {
		if _, owned := h.owners[name]; !owned {
			problems = append(problems, fmt.Sprintf("go.mod requires %s, which has no owner in internal/floors", name))
		}
	}
	used := map[string]bool{}
	for _, s := range sources {
		for _, imported := range s.imports {
			name, _ := h.moduleOf(imported)
			used[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.owners)) {
		if !used[name] {
			problems = append(problems, fmt.Sprintf("the table gives %s an owner, but nothing imports it: remove it", name))
		}
	}
	return problems
}

// pureUse says what a pure package may use of a standard package that reaches out of the process or reads the
// clock. Packages that are not named here are free.
type pureUse struct {
	nothing bool           // no import at all
	only    *regexp.Regexp // the names that may be used
	never   *regexp.Regexp // the names that may not be used
}

func pureUses() map[string]pureUse {
	return map[string]pureUse{
		"database/sql": {nothing: true},
		"log":          {nothing: true},
		"net":          {nothing: true},
		"os":           {nothing: true},
		"os/exec":      {nothing: true},
		"os/signal":    {nothing: true},
		"syscall":      {nothing: true},
		// A secret says how it is logged; that is not logging.
		"log/slog": {only: regexp.MustCompile(`^(Value|LogValuer|Attr|\w+Value)$`)},
		// The vocabulary of HTTP is data.
		"net/http":     {only: regexp.MustCompile(`^(Header|CanonicalHeaderKey|Status\w+|Method\w+|ParseHTTPVersion)$`)},
		"math/rand":    {nothing: true},
		"math/rand/v2": {only: regexp.MustCompile(`^(New|NewPCG|NewChaCha8|PCG|ChaCha8|Rand|Source)$`)},
		"time":         {never: regexp.MustCompile(`^(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTicker|NewTimer)$`)},
	}
}

// checkPure reports what packages on the pure steps use of the world and of the clock.
func (h house) checkPure(sources []source) []string {
	var problems []string
	uses := pureUses()
	for _, s := range sources {
		if step, known := h.steps[s.dir]; !known || step > h.pure || s.test {
			continue
		}
		names := map[string]string{} // what the file calls an imported package -> its path
		for i, spec := range s.tree.Imports {
			imported := s.imports[i]
			if uses[imported].nothing {
				problems = append(problems, fmt.Sprintf("%s: got a pure package that imports %s, want no I/O, no clock, no logging",
					s.path, imported))
			}
			local := path.Base(strings.TrimSuffix(imported, "/v2"))
			if spec.Name != nil {
				local = spec.Name.Name
			}
			names[local] = imported
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			// An identifier that resolved inside the file is a variable that hides the package.
			if x, ok := selector.X.(*ast.Ident); ok && x.Obj == nil && !uses[names[x.Name]].allow(selector.Sel.Name) {
				problems = append(problems, fmt.Sprintf("%s: got %s.%s in a pure package, want it handed in",
					s.at(selector.Pos()), names[x.Name], selector.Sel.Name))
			}
			return true
		})
	}
	return problems
}

func (u pureUse) allow(name string) bool {
	if u.only != nil {
		return u.only.MatchString(name)
	}
	return u.never == nil || !u.never.MatchString(name)
}

// checkSizes reports functions, files and packages that are longer than the limits.
func (h house) checkSizes(sources []source) []string {
	var problems []string
	perPackage := map[string]int{}
	for _, s := range sources {
		if s.lines > h.limits.file {
			problems = append(problems, fmt.Sprintf("%s: got %d lines, want at most %d", s.path, s.lines, h.limits.file))
		}
		if s.test {
			continue
		}
		perPackage[s.dir] += s.lines
		for _, decl := range s.tree.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			first, last := s.fset.Position(function.Pos()).Line, s.fset.Position(function.End()).Line
			if lines := last - first + 1; lines > h.limits.function {
				problems = append(problems, fmt.Sprintf("%s: function %s: got %d lines, want at most %d",
					s.at(function.Pos()), function.Name.Name, lines, h.limits.function))
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(perPackage)) {
		if perPackage[dir] > h.limits.pkg {
			problems = append(problems, fmt.Sprintf("package %s: got %d lines without tests, want at most %d",
				dir, perPackage[dir], h.limits.pkg))
		}
	}
	return problems
}

// checkDocs reports packages without a package comment of the usual form.
func (h house) checkDocs(sources []source) []string {
	documented := map[string]bool{}
	for _, s := range sources {
		if s.test || s.tree.Doc == nil {
			continue
		}
		opening := "Package " + s.tree.Name.Name + " "
		if s.tree.Name.Name == "main" {
			opening = "Command " + path.Base(s.dir) + " "
		}
		if strings.HasPrefix(s.tree.Doc.Text(), opening) {
			documented[s.dir] = true
		}
	}
	var problems []string
	for _, dir := range packages(sources) {
		if !documented[dir] {
			problems = append(problems, fmt.Sprintf(
				`package %s has no comment that begins "Package <name> ", or "Command <name> " where it is a main package`, dir))
		}
	}
	return problems
}

// checkMains reports main functions of more than three statements: what a program does is in its app package, where a
// test can start it.
func (h house) checkMains(sources []source) []string {
	var problems []string
	for _, s := range sources {
		if s.tree.Name.Name != "main" {
			continue
		}
		for _, decl := range s.tree.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if ok && function.Name.Name == "main" && len(function.Body.List) > 3 {
				problems = append(problems, fmt.Sprintf("%s: main: got %d statements, want at most 3",
					s.at(function.Pos()), len(function.Body.List)))
			}
		}
	}
	return problems
}

// checkArchitecture reports packages and direct modules that the architecture document does not name.
func (h house) checkArchitecture(sources []source, architecture string, gomod []byte) []string {
	var problems []string
	names := func(word string) bool {
		return regexp.MustCompile(`(^|[^\w-])` + regexp.QuoteMeta(word) + `($|[^\w-])`).MatchString(architecture)
	}
	for _, dir := range packages(sources) {
		if strings.HasPrefix(dir, "internal/") && !names(path.Base(dir)) {
			problems = append(problems, fmt.Sprintf("ARCHITECTURE.md does not name package %s: say what it owns", path.Base(dir)))
		}
	}
	for _, module := range directModules(gomod) {
		short := regexp.MustCompile(`/v\d+$`).ReplaceAllString(strings.TrimPrefix(module, "github.com/"), "")
		if !names(short) {
			problems = append(problems, fmt.Sprintf(
				"ARCHITECTURE.md does not name %s, a direct requirement of go.mod: say which package owns it and why", module))
		}
	}
	return problems
}

// checkFolders reports folders at the top of the repository that neither the house nor .gitignore names.
func (h house) checkFolders(fsys fs.FS) ([]string, error) {
	ignored, err := fs.ReadFile(fsys, ".gitignore")
	if err != nil {
		return nil, fmt.Errorf("read the ignored folders: %w", err)
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read the top folder: %w", err)
	}
	var problems []string
	for _, entry := range entries {
		name := entry.Name()
		local := slices.ContainsFunc(bytes.Split(ignored, []byte("\n")), func(line []byte) bool {
			return string(line) == "/"+name+"/"
		})
		if entry.IsDir() && !local && !slices.Contains(h.folders, name) {
			problems = append(problems, fmt.Sprintf("folder %s: got a new folder at the top, want one of %s",
				strconv.Quote(name), strings.Join(h.folders, " ")))
		}
	}
	return problems, nil
}
