// Package pktgen tests the script for the kernel's packet generator as far as
// that goes without one: by what it would write.
package pktgen

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// run runs the script and returns what it printed to either output.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("./pktgen.sh", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func TestDryRun(t *testing.T) {
	base := []string{"-x", "-i", "eth9", "-m", "02:00:00:00:00:01"}
	for _, c := range []struct {
		name  string
		args  []string
		wants []string
		not   string
	}{
		{"one thread", nil, []string{
			"kpktgend_0: add_device eth9@0", "eth9@0: dst_mac 02:00:00:00:00:01", "eth9@0: pkt_size 60",
			"eth9@0: src_min 192.168.0.0", "eth9@0: src_max 192.168.3.255",
			"eth9@0: udp_src_min 1024", "eth9@0: udp_src_max 1087",
			"eth9@0: flag IPSRC_RND", "eth9@0: flag UDPSRC_RND", "eth9@0: clone_skb 0",
		}, "ratep"},
		{"four threads share hosts and rate", []string{"-t", "4", "-c", "2", "-r", "1000000"}, []string{
			"kpktgend_2: add_device eth9@0", "kpktgend_5: add_device eth9@3", "eth9@3: ratep 250000",
			"eth9@1: src_min 192.168.1.0", "eth9@1: src_max 192.168.1.255", "eth9@3: src_max 192.168.3.255",
			"eth9@3: queue_map_min 3", "eth9@3: queue_map_max 3",
		}, "eth9@4"},
		{"in turn", []string{"-q"}, nil, "_RND"},
		{"fewer hosts than threads", []string{"-n", "63", "-t", "2"}, []string{
			"eth9@0: src_min 192.168.0.0", "eth9@0: src_max 192.168.0.0", "eth9@1: src_max 192.168.0.0",
		}, ""},
		{"long frames of many flows", []string{"-l", "1518", "-n", "16515072", "-s", "172.16.0.0"}, []string{
			"eth9@0: pkt_size 1514", "eth9@0: src_max 172.19.255.255",
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, err := run(t, append(base, c.args...)...)
			if err != nil {
				t.Fatalf("%v: %s", err, errs)
			}
			for _, want := range c.wants {
				if !strings.Contains("\n"+out, "\n"+want+"\n") {
					t.Errorf("no line %q in\n%s", want, out)
				}
			}
			if c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("%q in\n%s", c.not, out)
			}
		})
	}
}

func TestWrongArguments(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "usage:"},
		{"-i a", "usage:"},
		{"-i a -m b -x more", "usage:"},
		{"-i a -m b -x -z", "usage:"},
		{"-i a -m b -x -t 0", "-t needs 1 or more"},
		{"-i a -m b -x -n 0", "-n needs 1 or more"},
		{"-i a -m b -x -l 60", "at least 64"},
		{"-i a -m b -x -r fast", "'fast' is not a number"},
		{"-i a -m b -x -d 1.2.3.400", "'1.2.3.400' is not an IPv4 address"},
		{"-i a -m b -x -s host", "'host' is not an IPv4 address"},
	} {
		out, errs, err := run(t, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(errs, c.want) || strings.Contains(out, "add_device") {
			t.Errorf("pktgen.sh %s: %v, %q, want an error with %q", c.args, err, errs, c.want)
		}
	}
}
