package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// ftpSite is an FTP server as its clients find it.
type ftpSite struct {
	from  *lab.Namespace // where the clients are
	host  string
	port  string
	files string // what it serves, with a file.bin; clients may write into upload
}

func (s ftpSite) url() string {
	host := s.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "ftp://" + host + ":" + s.port
}

// pyftpdlib runs the server of that name. When a session in active mode announces again or ends, version
// 1.5 stops to wait for the file descriptor of its last data connection, whoever has the
// number by then: transfers of others stall for ever, with any gateway and with none
// (github.com/giampaolo/pyftpdlib, pull request 657). Here it forgets the number when it
// hands the connection over.
const pyftpdlib = `
from pyftpdlib import ioloop, __main__ as server
def del_channel(self, map=None):
    fd, self._fileno = self._fileno, None
    if fd is not None:
        self.ioloop.unregister(fd)
ioloop.AsyncChat.del_channel = del_channel
server.main()
`

// startPyftpdlib starts a second server on port 2121 of an address, a second
// implementation, for the files that another one serves already.
func startPyftpdlib(t *testing.T, ns *lab.Namespace, addr, files string) {
	t.Helper()
	ns.StartServer(t, "tcp", 2121, "/usr/bin/python3", "-c", pyftpdlib, "-i", addr, "-p", "2121", "-w", "-d", files)
}

// startVsftpd6 starts vsftpd for IPv6 on port 2121, for the files that another one
// serves already.
func startVsftpd6(t *testing.T, l *lab.Lab, ns *lab.Namespace, files string) {
	t.Helper()
	config := filepath.Join(l.Dir, "vsftpd6.conf")
	text := "listen=NO\nlisten_ipv6=YES\nlisten_port=2121\nanonymous_enable=YES\nanon_root=" + files + "\nsecure_chroot_dir=" + filepath.Dir(files) +
		"/empty\nwrite_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nconnect_from_port_20=YES\nseccomp_sandbox=NO\nxferlog_enable=NO\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ns.StartServer(t, "tcp", 2121, "vsftpd", config)
}

// ftpClients are programs that download file.bin as got, upload it as upload/NAME
// and list the files. They end with an error if any of that fails.
var ftpClients = map[string]func(s ftpSite, active bool, got, name string) string{
	"curl": func(s ftpSite, active bool, got, name string) string {
		curl := "curl -sS --max-time 30 "
		if active {
			curl += "--ftp-port - "
		}
		return fmt.Sprintf(`%[1]s -o %[3]s %[2]s/file.bin && %[1]s -T %[3]s %[2]s/upload/%[4]s && %[1]s -l %[2]s/ | grep file.bin`,
			curl, s.url(), got, name)
	},
	// It sends commands without waiting for the answers of those before, except PORT to
	// pyftpdlib 1.5, which answers the RETR behind it first, with or without a gateway.
	"lftp": func(s ftpSite, active bool, got, name string) string {
		return fmt.Sprintf(`lftp -c 'set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 10; set ftp:sync-mode %v; `+
			`set ftp:passive-mode %v; open %s; get file.bin -o %s; put %[4]s -o upload/%s; cls -1' | grep file.bin`,
			s.port != "21" && active, !active, s.url(), got, name)
	},
	"tnftp": func(s ftpSite, active bool, got, name string) string {
		mode := "-p"
		if active {
			mode = "-A"
		}
		return fmt.Sprintf(`printf '%%s\n' 'open %s %s' 'user anonymous x@example.org' binary 'get file.bin %s' 'put %[3]s upload/%s' ls quit | `+
			`tnftp -n -i %s | grep file.bin`, s.host, s.port, got, name, mode)
	},
}

// checkFTPClients lets each program work in each mode.
func checkFTPClients(t *testing.T, l *lab.Lab, s ftpSite) {
	t.Helper()
	for program, script := range ftpClients {
		for _, active := range []bool{true, false} {
			name := fmt.Sprintf("%s-active=%v-%s-%s", program, active, strings.ReplaceAll(s.host, ":", "_"), s.port)
			t.Run(name, func(t *testing.T) {
				got := filepath.Join(l.Dir, name)
				r := s.from.Start(t, "bash", "-c", "set -o pipefail; "+script(s, active, got, name)).Wait(t, 40*time.Second)
				if r.Status != 0 {
					t.Errorf("ended with %d:\n%s", r.Status, r.Output())
				}
				checkSame(t, filepath.Join(s.files, "file.bin"), got)
				checkSame(t, filepath.Join(s.files, "file.bin"), filepath.Join(s.files, "upload", name))
			})
		}
	}
}

const ftpPorts = "ftp:21,2121"

// TestFTPClients: three programs, two servers, both modes, through source NAT and
// without NAT (IPv6), all at once.
func TestFTPClients(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		files := l.Serve(t, l.Server)
		newFile(t, files, "file.bin", 1_000_000)
		startPyftpdlib(t, l.Server, lab.ServerAddr, files)
		g := l.StartGateway(t, "--snat", lab.NATAddr, "--helper", ftpPorts)
		checkFTPClients(t, l, ftpSite{l.Client, lab.ServerAddr, "21", files})
		checkFTPClients(t, l, ftpSite{l.Client, lab.ServerAddr, "2121", files})
		if !g.Kernel() {
			checkFTPCounters(t, g)
		}
	})
}

// checkFTPCounters: what good programs do is followed, all of it, unless segments
// were lost.
func checkFTPCounters(t *testing.T, g *lab.Gateway) {
	t.Helper()
	c := g.Counters(t)
	for _, name := range []string{"not_ftp", "other_address", "privileged_port", "malformed", "port_zero", "no_port", "no_room",
		"too_fast", "split", "expect_full", "tls"} {
		if n := c["ftp_"+name]; n != 0 {
			t.Errorf("ftp_%s is %d", name, n)
		}
	}
	if c["ftp_expected"] == 0 || c["expect_used"] < c["ftp_expected"]*9/10 {
		t.Errorf("%d announced, %d came", c["ftp_expected"], c["expect_used"])
	}
}

// TestFTPClientsIPv6 does the same without NAT and with NAT66.
func TestFTPClientsIPv6(t *testing.T) {
	lab.NeedsXDPCT(t) // the kernel is told of IPv4 addresses only
	for name, flags := range map[string]func(*testing.T, *lab.Lab) []string{
		"no-nat": func(*testing.T, *lab.Lab) []string { return []string{"--snat", lab.NATAddr} },
		"nat66":  func(t *testing.T, l *lab.Lab) []string { return nat66(t, l) },
	} {
		t.Run(name, func(t *testing.T) {
			eachQueues(t, func(t *testing.T, l *lab.Lab) {
				files := l.Serve(t, l.Server)
				newFile(t, files, "file.bin", 1_000_000)
				startPyftpdlib(t, l.Server, lab.ServerAddr6, files)
				g := l.StartGateway(t, append(flags(t, l), "--helper", ftpPorts)...)
				checkFTPClients(t, l, ftpSite{l.Client, lab.ServerAddr6, "2121", files})
				checkFTPCounters(t, g)
			})
		})
	}
}

// TestFTPMasquerade: to the gateway's own address.
func TestFTPMasquerade(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		files := l.Serve(t, l.Server)
		newFile(t, files, "file.bin", 1_000_000)
		l.StartGateway(t, "--masquerade", "--helper", ftpPorts)
		checkFTPClients(t, l, ftpSite{l.Client, lab.ServerAddr, "21", files})
	})
}

// TestFTPBehindDNAT: servers behind the gateway, while clients behind it work
// through source NAT.
func TestFTPBehindDNAT(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		inside, outside := l.Serve(t, l.Client), l.Serve(t, l.Server)
		newFile(t, inside, "file.bin", 1_000_000)
		newFile(t, outside, "file.bin", 1_000_000)
		startPyftpdlib(t, l.Client, lab.ClientAddr, inside)
		l.StartGateway(t, "--snat", lab.NATAddr, "--helper", ftpPorts,
			"--dnat", "tcp:"+lab.NATAddr+":21="+lab.ClientAddr+":21",
			"--dnat", "tcp:"+lab.NATAddr+":2121="+lab.ClientAddr+":2121")
		checkFTPClients(t, l, ftpSite{l.Server, lab.NATAddr, "21", inside})
		checkFTPClients(t, l, ftpSite{l.Server, lab.NATAddr, "2121", inside})
		checkFTPClients(t, l, ftpSite{l.Client, lab.ServerAddr, "21", outside})
	})
}

// TestFTPManySessions: 200 sessions at once, a transfer each, in both modes, on
// two workers; and many files by one program.
func TestFTPManySessions(t *testing.T) {
	l := lab.New(t, 2)
	l.Cross(t)
	files := l.Serve(t, l.Server)
	// Less than the sockets hold: the server says that all is done while the data
	// connection is on its way, and curl takes it for an error if that comes first.
	file := newFile(t, files, "file.bin", 50_000)
	for i := range 40 {
		newFile(t, filepath.Join(files, "upload"), fmt.Sprintf("many%d", i), 20_000)
	}
	startPyftpdlib(t, l.Server, lab.ServerAddr, files)
	g := l.StartGateway(t, "--snat", lab.NATAddr, "--helper", ftpPorts)
	const sessions = 200 // started within 6 s, for vsftpd has a backlog of 32; each lasts 5 s
	for name, flags := range map[string]string{"active": "--ftp-port -", "passive": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l.Client.Run(t, "bash", "-c", fmt.Sprintf(`for i in {1..%d}; do curl -sS --max-time 50 --limit-rate 10k %s -o %s/$i ftp://203.0.113.47/file.bin & pids+=($!); sleep 0.03; done; `+
				`for pid in ${pids[@]}; do wait $pid || exit; done`, sessions, flags, dir))
			for i := 1; i <= sessions; i++ {
				checkSame(t, file, filepath.Join(dir, fmt.Sprint(i)))
			}
		})
	}
	for _, m := range []struct {
		port    string
		passive bool
	}{{"21", false}, {"21", true}, {"2121", false}, {"2121", true}} {
		t.Run(fmt.Sprintf("mirror-%s-passive=%v", m.port, m.passive), func(t *testing.T) {
			dir := t.TempDir()
			l.Client.Run(t, "lftp", "-c", fmt.Sprintf(`set cmd:fail-exit yes; set net:timeout 20; set net:max-retries 2; set ftp:sync-mode %v; `+
				`set ftp:passive-mode %v; open ftp://203.0.113.47:%s; mirror --parallel=8 upload %s`, m.port != "21" && !m.passive, m.passive, m.port, dir))
			for i := range 40 {
				checkSame(t, filepath.Join(files, "upload", fmt.Sprintf("many%d", i)), filepath.Join(dir, fmt.Sprintf("many%d", i)))
			}
		})
	}
	if !g.Kernel() {
		checkFTPCounters(t, g)
	}
}
