package diff

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestComplianceNamesWhatExists checks that docs/rfc-compliance.md names only tests
// and scripts that there are.
func TestComplianceNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile("../../docs/rfc-compliance.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts := make(map[string]bool)
	for _, s := range readScripts(t) {
		// Those for both IP versions are named without the version.
		scripts[strings.TrimSuffix(strings.TrimSuffix(s.Name, "/v4"), "/v6")] = true
	}
	tests := testFunctions(t)
	named := 0
	for _, m := range regexp.MustCompile("`(Test\\w+|[a-z0-9-]+/[a-z0-9-]+)`").FindAllStringSubmatch(string(page), -1) {
		named++
		if !scripts[m[1]] && !tests[m[1]] {
			t.Errorf("docs/rfc-compliance.md names %s: no test or script is called so", m[1])
		}
	}
	if named < 60 {
		t.Errorf("%d names found: the test sees nothing", named)
	}
	checkRows(t, string(page))
}

// checkRows checks that each requirement is met and shown, deviates for a reason, or
// is not there yet.
func checkRows(t *testing.T, page string) {
	t.Helper()
	rows := 0
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[2]) == "requirement" {
			continue
		}
		rows++
		verdict, how := strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])
		switch {
		case verdict == "not yet":
		case verdict == "deviates" && how != "":
		case verdict == "yes" && (strings.Contains(how, "`") || strings.Contains(how, "see ")):
		default:
			t.Errorf("neither yes with what shows it, nor deviates with a reason, nor not yet: %s", line)
		}
	}
	if rows < 60 {
		t.Errorf("%d requirements found: the test sees nothing", rows)
	}
}

// testFunctions are the names of all Go tests of the repository.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := fs.ReadFile(root, path)
		for _, m := range declaration.FindAllStringSubmatch(string(content), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
