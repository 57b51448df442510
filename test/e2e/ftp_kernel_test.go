package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// An ftpNAT is a way in which a gateway translates FTP sessions.
type ftpNAT struct {
	name    string
	flags   []string
	outside bool   // the client is outside and the server inside
	hairpin bool   // both are inside and meet by an outside address
	v6      bool   // EPRT and EPSV are all there is
	url     string // of the server, as its client knows it
	route   string // to inside, for the server, where its client is not translated
}

var ftpNATs = []ftpNAT{
	{name: "snat", flags: snat(), url: lab.ServerAddr + ":21"},
	{name: "masquerade", flags: []string{"--masquerade", "--helper", ftpPorts}, url: lab.ServerAddr + ":21"},
	{name: "dnat", flags: []string{"--snat", lab.NATAddr, "--helper", ftpPorts, "--dnat", "tcp:" + lab.NATAddr + ":2121=" + lab.ClientAddr + ":21"},
		outside: true, url: lab.NATAddr + ":2121"},
	{name: "untranslated", flags: []string{"--snat", natAddr6, "--helper", ftpPorts}, url: lab.ServerAddr + ":21", route: "10.1.2.0/24"},
	{name: "hairpin", flags: []string{"--snat", lab.NATAddr, "--helper", ftpPorts, "--dnat", "tcp:198.51.100.40:2121=" + lab.SecondAddr + ":21"},
		hairpin: true, url: "198.51.100.40:2121"},
	{name: "hairpin-masquerade", flags: []string{"--masquerade", "--helper", ftpPorts, "--dnat", "tcp:" + lab.GatewayWAN + ":2121=" + lab.SecondAddr + ":21"},
		hairpin: true, url: lab.GatewayWAN + ":2121"},
	{name: "hairpin6", flags: []string{"--snat", natAddr6, "--helper", ftpPorts, "--dnat", "tcp:[2001:db8:98::40]:2121=[" + lab.SecondAddr6 + "]:2121"},
		hairpin: true, v6: true, url: "[2001:db8:98::40]:2121"},
	{name: "snat6", flags: []string{"--snat", natAddr6, "--helper", ftpPorts}, v6: true, url: "[" + lab.ServerAddr6 + "]:2121"},
	{name: "dnat6", flags: []string{"--snat", natAddr6, "--helper", ftpPorts, "--dnat", "tcp:[" + natAddr6 + "]:2121=[" + lab.ClientAddr6 + "]:2121"},
		outside: true, v6: true, url: "[" + natAddr6 + "]:2121"},
	{name: "untranslated6", flags: []string{"--masquerade", "--helper", ftpPorts}, v6: true, url: "[" + lab.ServerAddr6 + "]:2121"},
}

// TestFTPSameAsKernel: PORT, EPRT, PASV and EPSV of both families through all kinds of
// NAT, by the kernel and by xdpct with two workers. The file has to be right, and both
// have to show the same flows, expectations and events of both.
func TestFTPSameAsKernel(t *testing.T) {
	for _, n := range ftpNATs {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := lab.New(t, 2), lab.New(t, 2)
			ours.Cross(t)
			content := newFile(t, ours.Dir, "content", 200_000)
			for _, l := range []*lab.Lab{ours, theirs} {
				n.serve(t, l, content)
			}
			xdpct, kernel := ours.StartGateway(t, n.flags...), theirs.StartKernel(t, n.flags...)
			for _, x := range n.exchanges(t, content) {
				t.Run(x.name, func(t *testing.T) { x.sameAs(t, theirs, kernel, ours, xdpct) })
			}
		})
	}
}

// serve starts the FTP server of a lab, and lets the hosts know their ways.
func (n *ftpNAT) serve(t *testing.T, l *lab.Lab, content string) {
	t.Helper()
	l.Server.Run(t, "ip", "-6", "route", "add", "2001:db8:98::/64", "via", "2001:db8:113::1")
	if n.route != "" {
		l.Server.Run(t, "ip", "route", "add", n.route, "via", lab.GatewayWAN)
	}
	ns := l.Server
	switch {
	case n.outside:
		ns = l.Client
	case n.hairpin:
		l.AddSecond(t)
		ns = l.Second
	}
	files := l.Serve(t, ns)
	b, err := os.ReadFile(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(files, "file.bin"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n.v6 {
		startVsftpd6(t, l, ns, files)
	}
}

// exchanges are the downloads that are possible.
func (n *ftpNAT) exchanges(t *testing.T, content string) []exchange {
	t.Helper()
	b, err := os.ReadFile(content)
	if err != nil {
		t.Fatal(err)
	}
	modes := []struct {
		name, flags string
		active, v4  bool
	}{
		{"port", "--ftp-port - --disable-eprt", true, true}, {"eprt", "--ftp-port -", true, false},
		{"pasv", "--disable-epsv", false, true}, {"epsv", "", false, false},
	}
	var list []exchange
	for _, m := range modes {
		if m.v4 && n.v6 {
			continue
		}
		x := exchange{name: m.name, outside: n.outside, hold: "client", last: `TIME_WAIT .*dport=2?1?21 `}
		if m.active != n.outside { // who opens the data connection
			x.hold = "server"
			if n.hairpin {
				x.hold = "second"
			}
		}
		get := fmt.Sprintf("curl -sS --max-time 20 %s ftp://%s/file.bin", m.flags, n.url)
		x.command = []string{"bash", "-c", fmt.Sprintf(`[ "$(%s | sha256sum)" = "%x  -" ]`, get, sha256.Sum256(b))}
		list = append(list, x)
	}
	return list
}
