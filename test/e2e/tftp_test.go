package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// serveTFTP starts in.tftpd at port 69 of a namespace and returns its folder, where
// clients may write.
func serveTFTP(t *testing.T, ns *lab.Namespace, family string) string {
	t.Helper()
	dir := t.TempDir()
	ns.StartServer(t, "udp", 69, "in.tftpd", family, "--foreground", "--listen", "--secure", "--create", "--permissive",
		"--user", "root", "--address", ":69", dir)
	return dir
}

// tftpClients are programs that download file.bin as got and upload it as name.
var tftpClients = map[string]func(host, got, name string) string{
	"curl": func(host, got, name string) string {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return fmt.Sprintf(`curl -sS --max-time 20 -o %[2]s tftp://%[1]s/file.bin && curl -sS --max-time 20 -T %[2]s tftp://%[1]s/%[3]s`, host, got, name)
	},
	"tftp-hpa": func(host, got, name string) string {
		return fmt.Sprintf(`tftp -m binary %[1]s -c get file.bin %[2]s && tftp -m binary %[1]s -c put %[2]s %[3]s`, host, got, name)
	},
	"atftp": func(host, got, name string) string {
		return fmt.Sprintf(`atftp -g -r file.bin -l %[2]s %[1]s && atftp -p -l %[2]s -r %[3]s --option "blksize 1400" %[1]s`, host, got, name)
	},
}

// checkTFTPClients lets each program fetch and store a file.
func checkTFTPClients(t *testing.T, l *lab.Lab, from *lab.Namespace, host, files string) {
	t.Helper()
	want := newFile(t, files, "file.bin", 300_007)
	for program, script := range tftpClients {
		name := strings.ReplaceAll(program+"-"+host, ":", "_")
		t.Run(name, func(t *testing.T) {
			got := filepath.Join(l.Dir, name)
			r := from.Start(t, "bash", "-c", script(host, got, name)).Wait(t, 45*time.Second)
			if r.Status != 0 {
				t.Errorf("ended with %d:\n%s", r.Status, r.Output())
			}
			checkSame(t, want, got)
			checkSame(t, want, filepath.Join(files, name))
		})
	}
}

// TestTFTP: three programs, through source NAT of both families, and to a server
// behind the gateway by the NAT address and by the gateway's own.
func TestTFTP(t *testing.T) {
	lab.NeedsXDPCT(t) // of IPv6 sources the kernel is told nothing
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		outside4, inside := serveTFTP(t, l.Server, "-4"), serveTFTP(t, l.Client, "-4")
		outside6 := serveTFTP(t, l.Server, "-6")
		g := l.StartGateway(t, nat66(t, l, "--helper", "tftp",
			"--dnat", "udp:198.51.100.32:69=10.1.2.3:69", "--dnat", "udp:203.0.113.1:69=10.1.2.3:69")...)
		checkTFTPClients(t, l, l.Client, lab.ServerAddr, outside4)
		checkTFTPClients(t, l, l.Client, lab.ServerAddr6, outside6)
		checkTFTPClients(t, l, l.Server, lab.NATAddr, inside)
		checkTFTPClients(t, l, l.Server, "203.0.113.1", inside)
		c := g.Counters(t)
		const transfers = 4 * 3 * 2
		if c["tftp_expected"] < transfers || c["expect_used"] < transfers || c["tftp_malformed"]+c["tftp_expect_pending"] != 0 {
			t.Errorf("%d requests, %d malformed, %d pending, %d answers; %d transfers", c["tftp_expected"], c["tftp_malformed"],
				c["tftp_expect_pending"], c["expect_used"], transfers)
		}
	})
}

// TestTFTPMasquerade: to the gateway's own address, and without NAT for IPv6.
func TestTFTPMasquerade(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		outside4, outside6 := serveTFTP(t, l.Server, "-4"), serveTFTP(t, l.Server, "-6")
		l.StartGateway(t, "--masquerade", "--helper", "tftp")
		checkTFTPClients(t, l, l.Client, lab.ServerAddr, outside4)
		checkTFTPClients(t, l, l.Client, lab.ServerAddr6, outside6)
	})
}

// TestTFTPNeedsTheHelper: without it the server's answer finds no way in.
func TestTFTPNeedsTheHelper(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	newFile(t, serveTFTP(t, l.Server, "-4"), "file.bin", 1000)
	g := l.StartGateway(t, snat()...)
	if r := l.Client.Try("curl", "-sS", "--max-time", "3", "-o", "/dev/null", "tftp://203.0.113.47/file.bin"); r.Status == 0 {
		t.Error("the file came")
	}
	if c := g.Counters(t); c["drop_external_new"] == 0 {
		t.Error("no answer was dropped")
	}
}

// TestTFTPSameAsKernel compares what both show of a transfer, and of a request that
// nobody answers.
func TestTFTPSameAsKernel(t *testing.T) {
	eachQueues(t, func(t *testing.T, ours *lab.Lab) {
		theirs := lab.New(t, 2)
		kernel, xdpct := theirs.StartKernel(t, snat()...), ours.StartGateway(t, snat("--helper", "tftp")...)
		request := exchange{
			name:    "unanswered",
			command: []string{"bash", "-c", `exec 3<>/dev/udp/203.0.113.47/69; printf '\0\1f\0octet\0' >&3`},
			pending: true, last: `\[NEW\] udp`,
		}
		t.Run(request.name, func(t *testing.T) { request.sameAs(t, theirs, kernel, ours, xdpct) })
		for _, l := range []*lab.Lab{ours, theirs} {
			newFile(t, serveTFTP(t, l.Server, "-4"), "file.bin", 3000)
		}
		for name, command := range map[string][]string{
			"read":  {"curl", "-sS", "tftp://203.0.113.47/file.bin", "-o", "/dev/null"},
			"write": {"curl", "-sS", "-T", "/etc/hostname", "tftp://203.0.113.47/x"},
		} {
			x := exchange{name: name, command: command, last: `\[UPDATE\] udp`}
			t.Run(name, func(t *testing.T) { x.sameAs(t, theirs, kernel, ours, xdpct) })
		}
	})
}
