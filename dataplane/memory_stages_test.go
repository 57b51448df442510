package dataplane

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// methodBody returns the body of a method of this package.
func methodBody(t *testing.T, file, name string) *ast.BlockStmt {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution) // comments are left out
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == name {
			return fn.Body
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return nil
}

// printed returns the statements as text, without empty lines.
func printed(t *testing.T, body *ast.BlockStmt) string {
	t.Helper()
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// isLap reports whether a statement is s.lap(Stage), and which.
func isLap(s ast.Stmt) (stage string, ok bool) {
	e, ok := s.(*ast.ExprStmt)
	if !ok {
		return "", false
	}
	call, ok := e.X.(*ast.CallExpr)
	if !ok {
		return "", false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "lap" {
		return "", false
	}
	return call.Args[0].(*ast.Ident).Name, true
}

// withoutLaps removes the laps of a body, and branches that held nothing else.
func withoutLaps(body *ast.BlockStmt) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			var kept []ast.Stmt
			for _, s := range n.List {
				if _, lap := isLap(s); !lap {
					kept = append(kept, s)
				}
			}
			n.List = kept
		case *ast.IfStmt:
			if b, ok := n.Else.(*ast.BlockStmt); ok {
				withoutLaps(b)
				if len(b.List) == 0 {
					n.Else = nil
				}
			}
		}
		return true
	})
}

// The path that is measured stage by stage must be the path.
func TestStagedBurstIsRunBurst(t *testing.T) {
	staged := methodBody(t, "memory_stages.go", "stagedBurst")
	withoutLaps(staged)
	if diff := cmp.Diff(printed(t, methodBody(t, "worker.go", "runBurst")), printed(t, staged)); diff != "" {
		t.Errorf("stagedBurst is not runBurst with laps (-runBurst +stagedBurst):\n%s", diff)
	}
}

// endsStage reports whether the time of what follows a statement is its own:
// after a lap, and after the branch for packets, which ends with one.
func endsStage(s ast.Stmt) bool {
	_, branch := s.(*ast.IfStmt)
	_, lap := isLap(s)
	return lap || branch
}

// Each stage has its lap, in order, and nothing runs between two laps but one
// stage.
func TestEachStageHasItsLap(t *testing.T) {
	var laps []string
	ast.Inspect(methodBody(t, "memory_stages.go", "stagedBurst"), func(n ast.Node) bool {
		b, ok := n.(*ast.BlockStmt)
		if !ok {
			return true
		}
		for i, s := range b.List {
			stage, lap := isLap(s)
			if !lap {
				continue
			}
			if i > 1 && !endsStage(b.List[i-2]) {
				t.Errorf("more than one statement before the lap of %s", stage)
			}
			laps = append(laps, stage)
		}
		return true
	})
	want := []string{"StageExpire", "StageMail", "StageRX", "StageParse", "StageSteer", "StageLookup", "StageTrack", "StageHelp",
		"StageTranslate", "StageForward", "StageTX", "StageRX"}
	if diff := cmp.Diff(want, laps); diff != "" {
		t.Errorf("laps by block (-want +got):\n%s", diff)
	}
}

// A staged burst does the work, and tells where the time went.
func TestStagedBurst(t *testing.T) {
	p := newPath(t, nil)
	plain := newPath(t, nil)
	for _, gw := range []*path{p, plain} {
		gw.deliver(lan, 0, build(t, lan, udp(7000, 53)))
	}
	bursts, packets := 0, 0
	n := p.StagedBurst(0, func(taken int, times *StageTimes) {
		bursts++
		packets += taken
		if taken == 0 && (times[StageParse] != 0 || times[StageTX] != 0) {
			t.Errorf("an empty burst spent time on packets: %v", times)
		}
		if taken > 0 && (times[StageTrack] <= 0 || times.Total() < times[StageTrack]) {
			t.Errorf("times %v", times)
		}
	})
	if n != 1 || packets != 1 || bursts != 2 {
		t.Errorf("%d packets, %d told in %d bursts, want 1, 1, 2", n, packets, bursts)
	}
	plain.Burst(0)
	if diff := cmp.Diff(plain.WorkerStats(), p.WorkerStats()); diff != "" {
		t.Errorf("counters after Burst and StagedBurst differ:\n%s", diff)
	}
	if StageRX.String() != "rx" || StageMail.String() != "mail" {
		t.Error("stage names are out of order")
	}
}
