package dataplane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// boundsChecks are the checks of an index or slice that the compiler leaves in
// the functions that every packet goes through. Where it is not 0, the index
// comes from a table or a ring and has to be checked, once.
var boundsChecks = map[string]map[string]int{
	"packet/parse.go":     {"ParsePlain": 0},
	"packet/verify.go":    {"VerifyPlain": 2}, // the headers; the packet
	"packet/checksum.go":  {"sumWords": 0},
	"packet/ip.go":        {"IPv4Header.DecrementTTL": 1},
	"flowtable/hash.go":   {"*Table.Hash4": 0},
	"flowtable/flow.go":   {"*Flow.Target4": 0, "*Flow.Expired": 0, "*Flow.Status": 0},
	"flowtable/tuple.go":  {"*Tuple.Set4": 0},
	"flowtable/index.go":  {"firstSlot": 0, "*bucket.matches": 0, "*bucket.first": 0},
	"flowtable/lookup.go": {"*Table.LookupAt": 2, "*Table.Prefetch": 2},
	"flowtable/tracker.go": {
		"*Tracker.Steady": 1, // the record
	},
	"nat/rewrite.go":            {"RewritePlain": 2},     // the headers; the TCP checksum
	"dataplane/parse.go":        {"*Worker.parseOne": 2}, // the packet without its padding; its headers
	"dataplane/track.go":        {"*Worker.trackSteady": 0},
	"dataplane/xsk/ring.go":     {"*ring[T].produce": 1, "*ring[T].consume": 1},
	"dataplane/xsk/umem.go":     {"*UMEM.Packet": 1},
	"dataplane/fib/snapshot.go": {"*Snapshot.Hop": 1},
}

func TestBoundsChecksOfThePath(t *testing.T) {
	found := make(map[string][]int) // file to lines
	seen := make(map[string]bool)   // a generic function is compiled several times
	line := regexp.MustCompile(`^(\S+\.go):(\d+):\d+: Found Is(Slice)?InBounds`)
	for text := range compilerSays(t, "-d=ssa/check_bce", "build", "./packet", "./flowtable", "./nat", "./dataplane/...") {
		if m := line.FindStringSubmatch(text); m != nil && !seen[text] {
			seen[text] = true
			n, _ := strconv.Atoi(m[2])
			found[m[1]] = append(found[m[1]], n)
		}
	}
	if len(found) == 0 {
		t.Fatal("the compiler reports no bounds check at all: the test tests nothing")
	}
	for file, functions := range boundsChecks {
		spans := functionSpans(t, filepath.Join("..", file))
		for name, want := range functions {
			span, ok := spans[name]
			if !ok {
				t.Errorf("%s has no function %s", file, name)
				continue
			}
			got := 0
			for _, n := range found[file] {
				if n >= span.first && n <= span.last {
					got++
				}
			}
			if got != want {
				t.Errorf("%s: %d bounds checks in %s, want %d", file, got, name, want)
			}
		}
	}
}

// inlined are calls that must not cost a call for each packet in bin/xdpct, by file:
// small functions anyway, large ones because of the profile (cmd/xdpct/default.pgo).
var inlined = map[string][]string{
	"dataplane/parse.go":     {"packet.ParsePlain", "flowtable.(*Tuple).Set4", "flowtable.(*Table).Hash4"},
	"dataplane/track.go":     {"flowtable.(*Tracker).Steady"},
	"dataplane/translate.go": {"nat.RewritePlain", "flowtable.(*Flow).Target4", "flowtable.(*Flow).Status"},
	"dataplane/forward.go":   {"packet.IPv4Header.DecrementTTL", "fib.(*Snapshot).Hop", "fib.(*Snapshot).MarkUsed", "packet.Ethernet.SetAddrs"},
	"dataplane/rx.go":        {"(*Worker).admit", "xsk.(*UMEM).Packet"},
	"dataplane/tx.go":        {"(*framePool).put"},
	"nat/rewrite.go":         {"words64", "packet.Delta.Apply"},
	"flowtable/lookup.go":    {"(*Flow).Expired", "probeOf"},
}

func TestInliningOfThePath(t *testing.T) {
	found := make(map[string][]string)
	line := regexp.MustCompile(`^(\S+\.go):\d+:\d+: inlining call to (\S+)`)
	for text := range compilerSays(t, "-m", "build", "-o", "/dev/null", "./cmd/xdpct") {
		if m := line.FindStringSubmatch(text); m != nil {
			found[m[1]] = append(found[m[1]], m[2])
		}
	}
	for file, calls := range inlined {
		for _, call := range calls {
			if !slices.Contains(found[file], call) {
				t.Errorf("%s: the call of %s is not inlined (after a change of the path: make profile)", file, call)
			}
		}
	}
}

// compilerSays yields what the compiler writes about our packages with a flag,
// a line at a time, file names from the root of the repository. The go command
// remembers it from earlier builds.
func compilerSays(t *testing.T, flag string, command ...string) func(func(string) bool) {
	t.Helper()
	args := slices.Insert(command, 1, "-buildvcs=false", "-gcflags=github.com/xdpct/xdpct/...="+flag)
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return func(yield func(string) bool) {
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan() && yield(s.Text()); {
		}
	}
}

// span is the lines of a function.
type span struct{ first, last int }

// functionSpans returns where the functions of a file are; methods have the
// name *Type.Method or Type.Method.
func functionSpans(t *testing.T, path string) map[string]span {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	spans := make(map[string]span)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			spans[functionName(fn)] = span{files.Position(fn.Pos()).Line, files.Position(fn.End()).Line}
		}
	}
	return spans
}

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return typeName(fn.Recv.List[0].Type) + "." + fn.Name.Name
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "*" + typeName(e.X)
	case *ast.IndexExpr:
		return fmt.Sprintf("%s[%s]", typeName(e.X), typeName(e.Index))
	case *ast.Ident:
		return e.Name
	}
	return "?"
}
