package diff

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
)

// A recording is what a real program and its server sent, through the kernel's NAT.
type recording struct {
	name   string
	family int
	// command runs at the client; SERVER in it is the server's address.
	command []string
}

// recordings of testdata, made by `go test ./test/diff -run TestReplay -record`. Each
// was made with addresses of its own, so new ones go to the end.
var recorded = []recording{
	{"http", 4, []string{"curl", "-sS", "http://SERVER/small.bin", "-o", "/dev/null"}},
	{"http-large", 4, []string{"curl", "-sS", "http://SERVER/file.bin", "-o", "/dev/null"}},
	{"http-ipv6", 6, []string{"curl", "-gsS", "http://[SERVER]/small.bin", "-o", "/dev/null"}},
	{"ftp-passive", 4, []string{"curl", "-sS", "ftp://SERVER/small.bin", "-o", "/dev/null"}},
	{"ftp-active", 4, []string{"curl", "-sS", "--ftp-port", "-", "ftp://SERVER/small.bin", "-o", "/dev/null"}},
	{"ping", 4, []string{"ping", "-q", "-c3", "-i0.2", "SERVER"}},
	{"ping-ipv6", 6, []string{"ping", "-q", "-c3", "-i0.2", "SERVER"}},
	{"udp", 4, []string{"bash", "-c", "exec 3<>/dev/udp/SERVER/7; for i in 1 2 3; do echo $i >&3; read -t3 -N1 -u3 x; done"}},
	{"udp-closed", 4, []string{"bash", "-c", "exec 3<>/dev/udp/SERVER/9; echo x >&3; sleep 0.3; ! echo x >&3"}},
	{"tcp-closed", 4, []string{"bash", "-c", "! echo >/dev/tcp/SERVER/9"}},
	{"iperf3", 4, []string{"iperf3", "-c", "SERVER", "-n", "24K", "-l", "4K"}},
	{"iperf3-reverse", 4, []string{"iperf3", "-c", "SERVER", "-R", "-n", "24K", "-l", "4K"}},
}

var record = flag.Bool("record", false, "record testdata/*.pcap anew with real programs")

// TestReplay plays what real programs have sent, packet by packet, through the kernel
// and xdpct. Nothing of it may be dropped.
func TestReplay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root for network namespaces and AF_XDP: sudo make test-diff")
	}
	p, _ := profile("snat")
	if *record {
		for i := range recorded {
			recorded[i].record(t, recordings+i, p)
		}
	}
	var scripts []*Script
	for i, r := range recorded {
		scripts = append(scripts, r.read(t, recordings+i, p))
	}
	rig := NewRig(t, p)
	differences, err := rig.Run(scripts)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range scripts {
		t.Run(recorded[i].name, func(t *testing.T) {
			if differences[i] != nil {
				t.Errorf("%s", differences[i])
			} else if missing := len(s.Steps) - rig.passed[i]; missing != 0 {
				t.Errorf("%d of %d packets did not come through the kernel", missing, len(s.Steps))
			}
		})
	}
}

func (r *recording) path() string { return filepath.Join("testdata", r.name+".pcap") }

// read makes a script of the recording: each packet, as its sender sent it.
func (r *recording) read(t *testing.T, n int, p Profile) *Script {
	t.Helper()
	f, err := os.Open(r.path())
	if err != nil {
		t.Fatalf("%v: -record makes it", err)
	}
	defer func() { _ = f.Close() }()
	pcap, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", r.path(), err)
	}
	s := &Script{Name: "recorded/" + r.name, Profiles: []string{p.Name}, Family: r.family, Number: n}
	for {
		b, _, err := pcap.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", r.path(), err)
		}
		s.Steps = append(s.Steps, Step{Recorded: slices.Clone(b)})
	}
	if len(s.Steps) < 2 {
		t.Fatalf("%s: %d packets only", r.path(), len(s.Steps))
	}
	return s
}
