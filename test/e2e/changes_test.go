package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestSharedPort reaches a service of the gateway on a port that a masqueraded
// flow uses as well: the XDP program cannot tell them apart, the flow table can,
// and gives the service's packets back to the kernel.
func TestSharedPort(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		// Any reverse path check of the box must accept what is given back.
		l.Gateway.Run(t, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
		l.Gateway.StartServer(t, "tcp", 2222, "socat", "TCP-LISTEN:2222,fork,reuseaddr", "SYSTEM:echo gateway")
		l.Server.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
		g := l.StartGateway(t, "--masquerade")
		client := l.Client.Start(t, "socat", "EXEC:sleep 30,nofork=0", "TCP:"+lab.ServerAddr+":7,sourceport=2222,reuseaddr")
		lab.Eventually(t, 5*time.Second, "the client's flow from port 2222", func() bool {
			return strings.Contains(g.Command(t, "flows"), "dst="+lab.GatewayWAN+" sport=7 dport=2222 [ASSURED]")
		})
		out := l.Server.Run(t, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/%s/2222; read -t5 -u3 line; echo "$line"`, lab.GatewayWAN))
		if strings.TrimSpace(out) != "gateway" {
			t.Errorf("the service answered %q", out)
		}
		if n := g.Counters(t)["punted"]; n == 0 {
			t.Error("nothing was given to the kernel: the test did not meet its case")
		}
		if !client.Running() {
			t.Errorf("the client's connection has ended: %s", client.Output())
		}
	})
}

// TestAddressChanges masquerades by one outer address after another, as a box on
// a dial-up line does, more of them than xdpct has room for at a time.
func TestAddressChanges(t *testing.T) {
	lab.NeedsXDPCT(t)
	l := lab.New(t, 1)
	l.Gateway.Run(t, "sysctl", "-qw", "net.ipv4.conf.wan.promote_secondaries=1")
	g := l.StartGateway(t, "--masquerade")
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
	old := lab.GatewayWAN
	for i := range 40 {
		now := fmt.Sprintf("203.0.113.%d", 100+i)
		l.Gateway.Run(t, "ip", "addr", "add", now+"/24", "dev", "wan")
		l.Gateway.Run(t, "ip", "addr", "del", old+"/24", "dev", "wan")
		old = now
		lab.Eventually(t, 5*time.Second, "a ping by "+now, func() bool {
			return l.Client.Try("ping", "-q", "-c1", "-W1", lab.ServerAddr).Status == 0
		})
	}
	lab.Eventually(t, 5*time.Second, "a flow by the last address", func() bool {
		l.Client.Try("ping", "-q", "-c1", "-W1", lab.ServerAddr)
		return strings.Contains(g.Command(t, "flows", "-p", "icmp"), "dst="+old+" type=0")
	})
	ping(t, l.Server, "-c1", "-W2", old)
}

// TestMACChange gives the inner port another hardware address: the traffic goes
// on, and nothing gets to the kernel, which would forward it untranslated.
func TestMACChange(t *testing.T) {
	lab.NeedsXDPCT(t)
	l := lab.New(t, 1)
	l.StartGateway(t, snat()...)
	l.Script(t, "forward", "on")
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
	l.Gateway.Run(t, "ip", "link", "set", "lan", "address", "02:00:0a:01:02:99")
	time.Sleep(200 * time.Millisecond) // the XDP program learns of it within some milliseconds
	capture := l.Server.Capture(t, "eth0", "src net 10.0.0.0/8")
	l.Client.Run(t, "ip", "neigh", "flush", "all")
	lab.Eventually(t, 5*time.Second, "a ping by the new address", func() bool {
		return l.Client.Try("ping", "-q", "-c1", "-W1", lab.ServerAddr).Status == 0
	})
	if got := capture.Packets(""); len(got) > 0 {
		t.Errorf("left untranslated: %q", got)
	}
}

// TestLinkFlap takes the outer link down under traffic and up again: the flow
// goes on as before.
func TestLinkFlap(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Server.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
		g := l.StartGateway(t, snat()...)
		session := l.Client.Start(t, "bash", "-c",
			"exec 3<>/dev/tcp/203.0.113.47/7; echo before >&3; read -u3 x; echo $x; sleep 2; echo after >&3; read -t9 -u3 x; echo $x")
		session.WaitOutput(t, "before", 5*time.Second)
		l.Gateway.Run(t, "ip", "link", "set", "wan", "down")
		if r := l.Client.Try("ping", "-q", "-c2", "-i0.2", "-W1", lab.ServerAddr); r.Status == 0 {
			t.Error("a ping is answered over a link that is down")
		}
		l.Gateway.Run(t, "ip", "link", "set", "wan", "up")
		session.WaitOutput(t, "after", 9*time.Second)
		if n := strings.Count(strings.Join(g.Flows(t), "\n"), " dport=7 "); n != 1 {
			t.Errorf("%d flows of the session, want 1", n)
		}
	})
}

// TestPoolAddressBecomesTheBoxs puts the NAT address on an interface while flows
// use it: the box answers there from then on, and NAT goes on beside it.
func TestPoolAddressBecomesTheBoxs(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 500_000)
		l.StartGateway(t, snat()...)
		download := func(url string) {
			got := filepath.Join(l.Dir, "got")
			l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", got, url)
			checkSame(t, file, got)
		}
		download("http://203.0.113.47/file.bin")
		l.Gateway.Run(t, "ip", "addr", "add", lab.NATAddr+"/32", "dev", "wan")
		lab.Eventually(t, 3*time.Second, "the box answers at the NAT address", func() bool {
			return l.Server.Try("ping", "-q", "-c1", "-W1", lab.NATAddr).Status == 0
		})
		for range 3 {
			download("http://203.0.113.47/file.bin")
			download(ftpURL)
		}
		l.Gateway.Run(t, "ip", "addr", "del", lab.NATAddr+"/32", "dev", "wan")
		lab.Eventually(t, 3*time.Second, "the box no longer answers there", func() bool {
			return l.Server.Try("ping", "-q", "-c1", "-W1", lab.NATAddr).Status != 0
		})
		download(ftpURL)
	})
}

// TestMasqueradeOtherProtocol gets the answers of a protocol without ports back
// to the client, though they are addressed to the box.
func TestMasqueradeOtherProtocol(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Server.Start(t, "socat", "IP4-RECVFROM:253,fork", "EXEC:echo answer")
		l.StartGateway(t, "--masquerade")
		lab.Eventually(t, 8*time.Second, "an answer by protocol 253", func() bool {
			r := l.Client.Try("bash", "-c", "echo question | socat -t1 - IP4-SENDTO:"+lab.ServerAddr+":253")
			return strings.Contains(r.Stdout, "answer")
		})
	})
}
