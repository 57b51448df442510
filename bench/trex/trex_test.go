// Package trex runs the tests of the TRex profiles, which are in Python.
package trex

import (
	"os/exec"
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("NOT TESTED: the TRex profiles need python3 (make setup)")
	}
	out, err := exec.Command(python, "-B", "-m", "unittest", "discover", "-s", ".").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\nOK") || strings.Contains(string(out), "Ran 0 tests") {
		t.Errorf("no tests ran:\n%s", out)
	}
}
