package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/xdpct/xdpct/"

// mayImport holds for each package of the module which others it may import.
// "*" is everything. A package that is not here is a mistake: a new one is a
// decision, not a habit.
var mayImport = map[string][]string{
	"cmd/xdpct":     {"*"},
	"dataplane":     {"dataplane/xsk", "dataplane/fib", "flowtable", "nat", "helpers", "packet"},
	"dataplane/xsk": {},
	"dataplane/fib": {},
	"control":       {"flowtable", "nat"},
	"helpers":       {"flowtable", "nat", "packet"},
	"nat":           {"flowtable", "packet"},
	"flowtable":     {"packet"},
	"packet":        {},
}

// freeTrees may import anything, and nothing else may import them, but for cmd.
var freeTrees = []string{"test", "bench"}

// free reports whether a package is in one of the freeTrees.
func free(pkg string) bool {
	return slices.ContainsFunc(freeTrees, func(tree string) bool {
		return pkg == tree || strings.HasPrefix(pkg, tree+"/")
	})
}

// allowed reports whether package pkg may import package dep.
func allowed(pkg, dep string) bool {
	list := mayImport[pkg]
	return free(pkg) || slices.Contains(list, "*") || slices.Contains(list, dep)
}

func TestImportDirections(t *testing.T) {
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	list.Dir = moduleRoot(t)
	list.Stderr = os.Stderr
	out, err := list.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(out); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		checkImports(t, strings.TrimPrefix(p.ImportPath, module), p.Imports)
	}
	if err := list.Wait(); err != nil {
		t.Fatal(err)
	}
	if seen < 5 {
		t.Errorf("go list found %d packages: the test sees nothing", seen)
	}
}

func checkImports(t *testing.T, pkg string, imports []string) {
	t.Helper()
	if _, known := mayImport[pkg]; !known && !free(pkg) {
		t.Errorf("package %s is not in the table of imports: add it, with a decision in docs/decisions", pkg)
		return
	}
	for _, path := range imports {
		dep, ours := strings.CutPrefix(path, module)
		if ours && !allowed(pkg, dep) {
			t.Errorf("package %s imports %s, which the table forbids", pkg, dep)
		}
		if pkg == "packet" && strings.Contains(path, ".") {
			t.Errorf("package packet imports %s: it may use the standard library only", path)
		}
	}
}

func TestTheTableForbidsWhatItShould(t *testing.T) {
	for _, c := range []struct {
		pkg, dep string
		want     bool
	}{
		{"dataplane", "control", false}, {"control", "dataplane", false}, {"flowtable", "nat", false},
		{"packet", "flowtable", false}, {"dataplane/xsk", "packet", false}, {"nat", "bench", false},
		{"cmd/xdpct", "bench", true}, {"test/e2e", "control", true}, {"dataplane", "nat", true},
	} {
		if got := allowed(c.pkg, c.dep); got != c.want {
			t.Errorf("%s -> %s: allowed %v, want %v", c.pkg, c.dep, got, c.want)
		}
	}
}

// moduleRoot returns the directory of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return root
}

// everyGoFile visits the Go files of the module by their path below its root.
func everyGoFile(t *testing.T, visit func(name string, content []byte)) {
	t.Helper()
	root := os.DirFS(moduleRoot(t))
	files := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base != "." && (base[0] == '.' || base == "testdata" || base == "vendor") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		content, err := fs.ReadFile(root, name)
		files++
		visit(name, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("found %d Go files: the test sees nothing", files)
	}
}

func TestUnsafeIsFencedIn(t *testing.T) {
	everyGoFile(t, func(name string, content []byte) {
		if strings.HasSuffix(name, "_unsafe.go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, imp := range f.Imports {
			if imp.Path.Value == `"unsafe"` {
				t.Errorf("%s imports unsafe: only *_unsafe.go may", name)
			}
		}
	})
}

func TestFilesAreShort(t *testing.T) {
	const limit = 500
	everyGoFile(t, func(name string, content []byte) {
		if n := strings.Count(string(content), "\n"); n > limit {
			t.Errorf("%s has %d lines, at most %d: split it by what it is about", name, n, limit)
		}
	})
}

func TestFilesAreNamedAfterTheirSubject(t *testing.T) {
	everyGoFile(t, func(name string, _ []byte) {
		switch filepath.Base(name) {
		case "util.go", "utils.go", "common.go", "misc.go", "types.go", "const.go", "helpers.go":
			t.Errorf("%s: name it after what it holds", name)
		}
	})
}

// What draws plots is a program of its own, because it is large.
func TestTheGatewayDrawsNothing(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./cmd/xdpct")
	list.Dir = moduleRoot(t)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		if strings.HasPrefix(path, "gonum.org/") {
			t.Errorf("cmd/xdpct links %s", strings.TrimSpace(path))
		}
	}
}
