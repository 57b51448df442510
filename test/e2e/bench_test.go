package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestBenchForward lets the benchmark measure the kernel and xdpct for a moment.
// It looks at every packet that arrives, so records mean that both translated.
func TestBenchForward(t *testing.T) {
	cmd := exec.Command(lab.Binary(t), "bench", "forward", "--contenders", "kernel-nat,xdpct",
		"--rounds", "1", "--time", "20ms", "--flows", "64", "--measures", "cpu", "--cpu-rates", "20000", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("xdpct bench forward: %v\n%s", err, stderr.String())
	}
	measured := make(map[string]float64)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var r struct {
			Name   string
			Params struct{ Contender, Measure string }
			Median float64
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if r.Name == "forward" {
			measured[r.Params.Contender+" "+r.Params.Measure] = r.Median
		}
	}
	for _, want := range []string{"kernel-nat cpu", "xdpct cpu"} {
		if measured[want] <= 0 {
			t.Errorf("no CPU time among the results: %s", out)
		}
	}
	// Most get through even if the machine is busy.
	for _, loss := range []string{"kernel-nat loss", "xdpct loss"} {
		if measured[loss] > 50 {
			t.Errorf("%s: %v %% of the packets", loss, measured[loss])
		}
	}
}
