package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// parseArgs reads a command line of run as cobra would.
func parseArgs(t *testing.T, args ...string) (runConfig, error) {
	t.Helper()
	var flags runFlags
	cmd := &cobra.Command{Use: "run"}
	flags.register(cmd.Flags())
	if err := cmd.ParseFlags(args); err != nil {
		return runConfig{}, asUsage(err)
	}
	cfg, _, err := readRun(cmd.Flags())
	return cfg, err
}

// withPorts puts the required flags before others.
func withPorts(args ...string) []string {
	return append([]string{"--internal", "in0", "--external", "out0"}, args...)
}

func TestRunConfigDefaults(t *testing.T) {
	got, err := parseArgs(t, withPorts("--masquerade")...)
	if err != nil {
		t.Fatal(err)
	}
	want := runConfig{
		Internal: []string{"in0"}, External: []string{"out0"}, Masquerade: true, MaxFlows: 262144,
		Control: "/run/xdpct.sock", ControlGroup: -1, Confine: true, RingSize: 2048, FrameSize: 2048, Tracker: *flowtable.NewTracker(),
		LogFormat: "text",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRunConfigReadsEveryFlag(t *testing.T) {
	got, err := parseArgs(t, "--internal", "in0,in1", "--internal", "in2", "--external", "out0",
		"--snat", "198.51.100.10-198.51.100.20:1024-65535", "--snat", "203.0.113.1",
		"--dnat", "tcp:198.51.100.10:443=10.0.0.5:8443", "--helper", "ftp:21,2121",
		"--queues", "4", "--cpus", "0,2-3", "--max-flows", "1.5M", "--control", "/tmp/x.sock", "--control-group", "root", "--confine=false", "--state", "/tmp/x.state",
		"--xdp", "native", "--zerocopy", "on", "--busy-poll", "20", "--spin", "--ring-size", "4096", "--frame-size", "4096",
		"--huge-pages", "off", "--timeouts", "rfc", "--timeout", "udp=45s", "--timeout", "tcp.established=7500",
		"--tcp-loose=false", "--tcp-liberal", "--tcp-ignore-invalid-rst", "--tcp-max-retrans", "5", "--invalid", "pass", "--checksum", "off",
		"--rp-filter", "strict", "--bogons", "drop", "--max-flows-per-host", "2k", "--new-flows-per-host", "100/s", "--steering", "ports", "--log-level", "debug", "--log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	timeouts := flowtable.RFCTimeouts()
	timeouts.UDP, timeouts.TCP[flowtable.TCPEstablished] = flowtable.Ticks(45*time.Second), flowtable.Ticks(7500*time.Second)
	addr := netip.MustParseAddr
	want := runConfig{
		Internal: []string{"in0", "in1", "in2"}, External: []string{"out0"},
		SNAT: []nat.Pool{
			{First: addr("198.51.100.10"), Last: addr("198.51.100.20"), FirstPort: 1024, LastPort: 65535},
			{First: addr("203.0.113.1"), Last: addr("203.0.113.1")},
		},
		DNAT:    []nat.DNATRule{{Proto: 6, Addr: addr("198.51.100.10"), Port: 443, ToAddr: addr("10.0.0.5"), ToPort: 8443}},
		Helpers: []helpers.Spec{{ID: helpers.IDFTP, Ports: []uint16{21, 2121}}},
		Queues:  4, CPUs: []int{0, 2, 3}, Steering: dataplane.SteeringPorts, MaxFlows: 1500000, Control: "/tmp/x.sock", State: "/tmp/x.state",
		XDP: xsk.AttachNative, ZeroCopy: xsk.ZeroCopyOn, HugePages: dataplane.HugePagesOff,
		BusyPoll: 20 * time.Microsecond, Spin: true, RingSize: 4096, FrameSize: 4096,
		Tracker:     flowtable.Tracker{Timeouts: timeouts, TCPLiberal: true, TCPIgnoreInvalidRST: true, TCPMaxRetrans: 5},
		ReversePath: dataplane.ReversePathStrict, DropBogons: true, MaxFlowsPerHost: 2000, NewFlowsPerHost: 100,
		PassInvalid: true, NoChecksums: true, LogLevel: slog.LevelDebug, LogFormat: "json",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongRunFlagsAreRefused(t *testing.T) {
	cases := []struct {
		args string
		want string // part of the message
	}{
		{"--external out0 --masquerade", "--internal is missing"},
		{"--internal in0 --masquerade", "--external is missing"},
		{"--internal in0 --external in0 --masquerade", "in0 is named twice"},
		{"--internal in0,in0 --external out0 --masquerade", "in0 is named twice"},
		{"--internal in0, --external out0 --masquerade", `--internal "in0,"`},
		{"--internal ../x --external out0 --masquerade", "no interface name"},
		{"--internal sixteen-bytes-xx --external out0 --masquerade", "no interface name"},
		{"--internal a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p --external q --masquerade", "17 interfaces"},
		{"+", "give --snat ADDR or --masquerade"},
		{"+ --masquerade --snat 203.0.113.1", "exclude each other"},
		{"+ --snat 203.0.113", "--snat"},
		{"+ --snat 203.0.113.9-203.0.113.1", "reversed"},
		{"+ --snat 203.0.113.1 --snat 203.0.113.1", "share addresses"},
		{"+ --masquerade --dnat tcp:203.0.113.1:443", "--dnat"},
		{"+ --masquerade --dnat icmp:203.0.113.1:1=10.0.0.1:1", "--dnat"},
		{"+ --masquerade --dnat tcp:203.0.113.1:1=10.0.0.1:1 --dnat tcp:203.0.113.1:1=10.0.0.2:1", "dnat rules 1 and 2"},
		{"+ --masquerade --helper irc", "expected ftp, tftp or sip"},
		{"+ --masquerade --helper tftp:69:loose", "--helper"},
		{"+ --masquerade --helper tftp:5060 --helper sip", "port 5060 is given to both tftp and sip"},
		{"+ --masquerade --helper ftp:0", "--helper"},
		{"+ --masquerade --queues -1", "--queues"},
		{"+ --masquerade --queues 65", "0-64"},
		{"+ --masquerade --queues two", "--queues"},
		{"+ --masquerade --cpus 0,", "--cpus"},
		{"+ --masquerade --cpus 3-1", "--cpus"},
		{"+ --masquerade --cpus 1,0-2", "CPU 1 is named twice"},
		{"+ --masquerade --cpus 1024", "--cpus"},
		{"+ --masquerade --queues 1 --cpus 0-1", "a CPU without a queue"},
		{"+ --masquerade --max-flows 0", "--max-flows"},
		{"+ --masquerade --max-flows 1G", "--max-flows"},
		{"+ --masquerade --max-flows 1e6", "--max-flows"},
		{"+ --masquerade --max-flows 2000.5", "--max-flows"},
		{"+ --masquerade --max-flows 1.00001k", "--max-flows"},
		{"+ --masquerade --max-flows -5M", "--max-flows"},
		{"+ --masquerade --max-flows 5000M", "--max-flows"},
		{"+ --masquerade --max-flows NaN", "--max-flows"},
		{"+ --masquerade --control=", "--control"},
		{"+ --masquerade --control-group=no-such-group", "there is no such group"},
		{"+ --masquerade --control /" + strings.Repeat("x", 107), "1-107 bytes"},
		{"+ --masquerade --xdp offload", "auto, native or generic"},
		{"+ --masquerade --zerocopy yes", "auto, on or off"},
		{"+ --masquerade --xdp generic --zerocopy on", "--zerocopy on needs the driver"},
		{"+ --masquerade --busy-poll 20us", "--busy-poll"},
		{"+ --masquerade --busy-poll 1000001", "--busy-poll"},
		{"+ --masquerade --ring-size 1000", "power of two"},
		{"+ --masquerade --ring-size 32", "64-32768"},
		{"+ --masquerade --ring-size 65536", "64-32768"},
		{"+ --masquerade --frame-size 1500", "2048 or 4096"},
		{"+ --masquerade --huge-pages 1G", "--huge-pages"},
		{"+ --masquerade --steering hash", "--steering"},
		{"+ --masquerade --timeouts bsd", "linux or rfc"},
		{"+ --masquerade --timeout udp", "NAME=DURATION"},
		{"+ --masquerade --timeout udp=", "no duration"},
		{"+ --masquerade --timeout udp=soon", "no duration"},
		{"+ --masquerade --timeout udp=0", "--timeout"},
		{"+ --masquerade --timeout udp=-5s", "--timeout"},
		{"+ --masquerade --timeout sctp.open=5s", "no time-out is called"},
		{"+ --masquerade --tcp-loose=maybe", "--tcp-loose"},
		{"+ --masquerade --invalid accept", "drop or pass"},
		{"+ --masquerade --checksum maybe", "on or off"},
		{"+ --masquerade --log-level loud", "--log-level"},
		{"+ --masquerade --log-format xml", "text or json"},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(strings.Replace(c.args, "+", "--internal in0 --external out0", 1))
			_, err := parseArgs(t, args...)
			if err == nil {
				t.Fatal("accepted")
			}
			line := errorLine(nil, err)
			if exitCode(err) != exitUsage || strings.Contains(line, "\n") || !strings.Contains(line, c.want) {
				t.Errorf("code %d, %q; want %q", exitCode(err), line, c.want)
			}
			checkOneLine(t, runCommand(t, append([]string{"run"}, args...)...), exitUsage)
		})
	}
}

func TestParseCount(t *testing.T) {
	for s, want := range map[string]int{"1024": 1024, "64k": 64000, "64K": 64000, "1M": 1000000, "0.5M": 500000, "1.5k": 1500} {
		if got, err := parseCount("--n", s, 1000, 1<<30); err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestLoggerFollowsTheFlags(t *testing.T) {
	var out bytes.Buffer
	e := &env{stderr: &out}
	log, level := newLogger(e, &runConfig{LogLevel: slog.LevelWarn, LogFormat: "json"})
	log.Info("quiet")
	log.Warn("table is filling", "used_percent", 80)
	level.Set(slog.LevelError)
	log.Warn("quiet, too")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"used_percent":80`) {
		t.Errorf("%q", s)
	}
}
