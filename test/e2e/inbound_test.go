package e2e

import (
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestInbound checks that nothing comes in unasked: neither to the NAT address nor,
// from a neighbour that routes there, to the client's own address.
func TestInbound(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Serve(t, l.Client)
		l.Client.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
		g := l.StartGateway(t, snat()...)
		l.Server.Run(t, "ip", "route", "add", "10.1.2.0/24", "via", lab.GatewayWAN)
		// A flow of the client's must not open the door for others.
		ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
		capture := l.Client.Capture(t, "eth0", "src host "+lab.ServerAddr)
		before := g.Counters(t)
		const packets = 2 * (1 + 2 + 2) // SYN, UDP, ping; to both addresses
		for _, addr := range []string{lab.NATAddr, lab.ClientAddr} {
			if r := l.Server.Try("bash", "-c", "exec 3<>/dev/udp/"+addr+"/7; echo x >&3; echo x >&3"); r.Status != 0 {
				t.Errorf("could not send: %s", r.Output())
			}
			if r := l.Server.Try("ping", "-q", "-c2", "-i0.2", "-W1", addr); r.Status == 0 {
				t.Errorf("a ping to %s is answered", addr)
			}
			if r := l.Server.Try("curl", "-sS", "--max-time", "1", "http://"+addr+"/"); r.Status == 0 {
				t.Errorf("nginx at %s is reached", addr)
			}
		}
		time.Sleep(200 * time.Millisecond)
		if got := capture.Packets(""); len(got) > 0 {
			t.Errorf("arrived at the client: %q", got)
		}
		checkCounted(t, before, g.Counters(t), packets)
		// That the capture shows what arrives at all:
		ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
		lab.Eventually(t, 3*time.Second, "the capture sees the answer to a ping", func() bool {
			return len(capture.Packets("ICMP echo reply")) > 0
		})
	})
}

// checkCounted checks that the refused packets are counted, with the right reason.
func checkCounted(t *testing.T, before, after map[string]uint64, packets uint64) {
	t.Helper()
	const reason = "drop_external_new"
	if got := after[reason] - before[reason]; !lab.KernelWanted() && got < packets {
		t.Errorf("%s has grown by %d, want %d or more:\nbefore %v\nafter  %v", reason, got, packets, before, after)
	}
}
