package forward

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/bench"
)

func TestDevRun(t *testing.T) {
	if os.Getenv("C") == "" {
		t.Skip()
	}
	bin := os.Getenv("XDPCT")
	all := map[string]Contender{"kernel": Kernel(), "redirect": Redirect(), "kernel-nat": KernelNAT(), "xdpct": XDPCT("xdpct", bin), "busy": XDPCT("xdpct-busy", bin, "--busy-poll", "20")}
	for _, s := range strings.Split(os.Getenv("ALSO"), ";") {
		if n, c, ok := strings.Cut(s, "="); ok {
			f := strings.Fields(c)
			all[n] = XDPCT(n, f[0], f[1:]...)
		}
	}
	o := Options{}
	if os.Getenv("DBG") != "" {
		o.Trials = os.Stderr
	}
	for _, n := range strings.Split(os.Getenv("C"), ",") {
		o.Contenders = append(o.Contenders, all[n])
	}
	for _, m := range strings.Fields(os.Getenv("M")) {
		o.Measures = append(o.Measures, Measure(m))
	}
	for _, m := range strings.Fields(os.Getenv("RATES")) {
		v, _ := strconv.ParseFloat(m, 64)
		o.CPURates = append(o.CPURates, v*1000)
	}
	o.Rounds, _ = strconv.Atoi(os.Getenv("R"))
	ms, _ := strconv.Atoi(os.Getenv("MS"))
	o.Trial = time.Duration(ms) * time.Millisecond
	recs, err := Run(t.Context(), o, func(s string, d, n int) { fmt.Fprintln(os.Stderr, time.Now().Format("05.0"), s, d, n) })
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if os.Getenv("JSON") != "" {
			json.NewEncoder(os.Stdout).Encode(r)
			continue
		}
		fmt.Printf("%-10s %-14s %-8v %10.5g  [%.5g %.5g] %s\n", r.Params["contender"], r.Params["measure"], r.Params["load"], r.Median, r.P10, r.P90, r.Unit)
	}
	_ = bench.Record{}
}
