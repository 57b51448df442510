package diff

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// only chooses scripts by a part of their name.
var only = flag.String("script", "", "play only scripts whose name contains `TEXT`")

// TestMain fails the run if a lab of this process is left over at its end.
func TestMain(m *testing.M) {
	code := m.Run()
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "list the namespaces: %v: %s\n", err, out)
		code = 1
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, fmt.Sprintf("xdpct-%d-", os.Getpid())) {
			fmt.Fprintf(os.Stderr, "left over after all tests: namespace %s", line)
			code = 1
		}
	}
	os.Exit(code)
}

// readScripts reads all scripts of testdata.
func readScripts(t testing.TB) (scripts []*Script) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, s := range parsed {
			s.Name = strings.TrimSuffix(filepath.Base(name), ".script") + "/" + s.Name
		}
		scripts = append(scripts, parsed...)
	}
	return scripts
}

// confirm returns the differences that come again. Of the others there may be few.
func confirm(t *testing.T, rig *Rig, differences []*Difference) []*Difference {
	t.Helper()
	real, chance, err := rig.Confirm(differences)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range chance {
		t.Logf("differed once and not when played again: %s", d)
	}
	if allowed := 3 + len(differences)/50; len(chance) > allowed {
		t.Errorf("%d of %d scripts differed once and not when played again: more than chance (%d)",
			len(chance), len(differences), allowed)
	}
	return real
}

// play runs scripts in all their profiles at once, each as a test of its own.
func play(t *testing.T, scripts []*Script) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root for network namespaces and AF_XDP: sudo make test-diff")
	}
	for _, p := range Profiles {
		var mine []*Script
		for _, s := range scripts {
			for _, name := range s.Profiles {
				if _, known := profile(name); !known {
					t.Fatalf("script %s: no profile %q", s.Name, name)
				}
				if name == p.Name && p.has(s) && strings.Contains(s.Name, *only) {
					mine = append(mine, s)
				}
			}
		}
		if len(mine) == 0 {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			rig := NewRig(t, p)
			differences, err := rig.Run(mine)
			if err != nil {
				t.Fatal(err)
			}
			differences = confirm(t, rig, differences)
			for i, s := range mine {
				t.Run(s.Name, func(t *testing.T) {
					if differences[i] != nil {
						t.Errorf("%s", differences[i])
					}
				})
			}
		})
	}
}
