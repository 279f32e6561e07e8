package floors

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is one parsed Go file.
type source struct {
	path    string // slash-separated, from the top of the repository
	dir     string // its package's folder
	test    bool
	lines   int
	imports []string
	tree    *ast.File
	fset    *token.FileSet
}

// load parses every Go file under fsys, build constraints or not. It skips what the go command skips (testdata,
// vendor, names that begin with a dot or an underscore) and folders that are modules of their own.
func load(fsys fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name == "." {
				return nil
			}
			_, ownModule := fs.Stat(fsys, path.Join(name, "go.mod"))
			if ownModule == nil || base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" || base[0] == '.' || base[0] == '_' {
			return nil
		}
		parsed, err := parse(fsys, name)
		if err != nil {
			return err
		}
		sources = append(sources, parsed)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load sources: %w", err)
	}
	return sources, nil
}

func parse(fsys fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return source{}, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	var imports []string
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, fmt.Errorf("parse import %s in %s: %w", spec.Path.Value, name, err)
		}
		imports = append(imports, imported)
	}
	return source{
		path:    name,
		dir:     path.Dir(name),
		test:    strings.HasSuffix(name, "_test.go"),
		lines:   bytes.Count(text, []byte("\n")),
		imports: imports,
		tree:    tree,
		fset:    fset,
	}, nil
}

// packages returns the folders of the sources, sorted, each once.
func packages(sources []source) []string {
	var dirs []string
	for _, s := range sources {
		dirs = append(dirs, s.dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// at renders a position as file:line.
func (s source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(pos).Line)
}

// directModules returns the modules that a go.mod requires without the mark "// indirect", in the file's order.
func directModules(gomod []byte) []string {
	requirement := regexp.MustCompile(`^(?:require\s+)?([^\s()]+\.[^\s()]+/[^\s()]+)\s+v\S+$`)
	var direct []string
	inBlock := false
	lines := bufio.NewScanner(bytes.NewReader(gomod))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "require ("):
			inBlock = true
		case line == ")":
			inBlock = false
		case inBlock || strings.HasPrefix(line, "require "):
			if match := requirement.FindStringSubmatch(line); match != nil {
				direct = append(direct, match[1])
			}
		}
	}
	return direct
}
