package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// badLine loses and delays what an end sends and receives, in percent. What leaves is
// redirected where nobody wants it, for a sender's TCP would hear of a drop; or to late,
// whose other end gives it back after a while, behind what was sent later. Of what
// arrives, a third of the announcements of FTP are lost in addition.
const badLine = `set -e
ip link add late type veth peer name back
ethtool -K late tx off gso off tso off >/dev/null
ip link set late up
ip link set back up
nft -f - <<N
table netdev bad {
	chain out {
		type filter hook egress device "eth0" priority 0
		numgen random mod 100 < 3 fwd to "lo"
		meta l4proto tcp numgen random mod 100 < 5 fwd to "late"
	}
}
table inet bad {
	chain in {
		type filter hook input priority 0
		numgen random mod 100 < 3 drop
		tcp dport 21 @th,256,32 { 0x45505254, 0x504f5254 } numgen random mod 3 == 0 drop
		tcp sport 21 @th,256,32 { 0x32323720, 0x32323920 } numgen random mod 3 == 0 drop
	}
}
N
`

// lateLine takes up what was redirected to late and sends it 3 ms later.
const lateLine = `
import socket, time
back = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
back.bind(("back", 0))
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
print("ready", flush=True)
while True:
    frame, (_, _, kind, _, _) = back.recvfrom(4096)
    if kind != socket.PACKET_OUTGOING:
        time.sleep(0.003)
        out.send(frame)
`

// TestFTPOnABadLine: segments of control and data connections are lost and overtake each
// other on either side of the gateway, a third of the announcements at least once. Each
// transfer has to be right, through source NAT and to a server behind a rule, in
// active and passive mode, up and down.
func TestFTPOnABadLine(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		inside, outside := l.Serve(t, l.Client), l.Serve(t, l.Server)
		g := l.StartGateway(t, snat("--dnat", "tcp:"+lab.NATAddr+":21="+lab.ClientAddr+":21")...)
		for _, ns := range []*lab.Namespace{l.Client, l.Server} {
			ns.Run(t, "bash", "-c", badLine)
			ns.Start(t, "/usr/bin/python3", "-c", lateLine).WaitOutput(t, "ready", 5*time.Second)
		}
		const sessions = 5 // of each kind
		var transfers []*lab.Process
		var files [][2]string // of one content
		for _, s := range []ftpSite{{l.Client, lab.ServerAddr, "21", outside}, {l.Server, lab.NATAddr, "21", inside}} {
			file := newFile(t, s.files, "file.bin", 60_000)
			for mode, flag := range map[string]string{"active": "--ftp-port -", "passive": ""} {
				for i := range sessions {
					name := fmt.Sprintf("%s-%s-%d", mode, s.host, i)
					got := filepath.Join(l.Dir, name)
					curl := "curl -sS --retry 3 --retry-all-errors --max-time 60 " + flag
					transfers = append(transfers, s.from.Start(t, "bash", "-c",
						fmt.Sprintf("%[1]s -o %[2]s %[3]s/file.bin && %[1]s -T %[2]s %[3]s/upload/%[4]s", curl, got, s.url(), name)))
					files = append(files, [2]string{file, got}, [2]string{file, filepath.Join(s.files, "upload", name)})
				}
			}
		}
		for _, p := range transfers {
			if r := p.Wait(t, 80*time.Second); r.Status != 0 {
				t.Errorf("ended with %d:\n%s", r.Status, r.Output())
			}
		}
		for _, f := range files {
			checkSame(t, f[0], f[1])
		}
		if !g.Kernel() {
			checkBadLine(t, g)
		}
	})
}

// checkBadLine: segments were repaired, and none was taken for something else.
func checkBadLine(t *testing.T, g *lab.Gateway) {
	t.Helper()
	c := g.Counters(t)
	t.Logf("ftp_repeated %d, ftp_reordered %d, ftp_expected %d", c["ftp_repeated"], c["ftp_reordered"], c["ftp_expected"])
	if c["ftp_repeated"] == 0 {
		t.Error("ftp_repeated is 0: no announcement was lost")
	}
	for _, name := range []string{"not_ftp", "malformed", "split", "unacknowledged", "no_port", "no_room"} {
		if n := c["ftp_"+name]; n != 0 {
			t.Errorf("ftp_%s is %d", name, n)
		}
	}
}
