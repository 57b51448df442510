package e2e

import (
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestHairpin: two hosts on one wire inside, and one of them alone, meet by outside
// addresses of rules, with source addresses from a pool and masquerading; the outside is
// served by the same rules at the same time.
func TestHairpin(t *testing.T) {
	rules := []string{"--dnat", "tcp:198.51.100.40:8080=" + lab.SecondAddr + ":80", "--dnat", "tcp:" + lab.GatewayWAN + ":8081=" + lab.SecondAddr + ":80",
		"--dnat", "udp:198.51.100.40:7007=" + lab.SecondAddr + ":7"}
	for name, source := range map[string][]string{"pool": {"--snat", lab.NATAddr}, "masquerade": {"--masquerade"}} {
		t.Run(name, func(t *testing.T) {
			eachQueues(t, func(t *testing.T, l *lab.Lab) {
				l.AddSecond(t)
				file := newFile(t, l.Serve(t, l.Second), "file.bin", 5_000_000)
				l.Second.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
				l.StartGateway(t, append(source, rules...)...)
				for who, host := range map[string]*lab.Namespace{"neighbour": l.Client, "itself": l.Second, "outside": l.Server} {
					for at, address := range map[string]string{"rule": "198.51.100.40:8080", "own": lab.GatewayWAN + ":8081"} {
						t.Run(who+"-"+at, func(t *testing.T) {
							got := filepath.Join(l.Dir, who+at)
							host.Run(t, "curl", "-sS", "--max-time", "15", "-o", got, "http://"+address+"/file.bin")
							checkSame(t, file, got)
						})
					}
					t.Run(who+"-udp", func(t *testing.T) {
						out := host.Run(t, "bash", "-c", `exec 3<>/dev/udp/198.51.100.40/7007; echo x >&3; read -t3 -N1 -u3 x; echo "$x"`)
						if out != "x\n" {
							t.Errorf("the echo answered %q", out)
						}
					})
				}
			})
		})
	}
}

// hairpins are exchanges between the client and the second host by outside addresses.
var hairpins = []exchange{
	{name: "http", command: []string{"curl", "-sS", "http://198.51.100.40:8080/file.bin", "-o", "/dev/null"}, last: `TIME_WAIT .*dport=8080 `},
	{name: "udp-stream", command: []string{"bash", "-c", `exec 3<>/dev/udp/198.51.100.40/7007; echo a >&3; read -t3 -N1 -u3 x; sleep 3; echo b >&3; read -t3 -N1 -u3 x`}, last: `\[UPDATE\] udp +17 (120|119) .*ASSURED`},
	// The errors come back from the second host, with the address that was asked.
	{name: "udp-closed", command: []string{"bash", "-c", `exec 3<>/dev/udp/198.51.100.40/9009; echo x >&3; sleep 0.3; ! echo x >&3`}, last: `\[NEW\] udp`},
	{name: "tcp-closed", command: []string{"bash", "-c", `! echo >/dev/tcp/198.51.100.40/9009`}, last: `\[DESTROY\] tcp`},
}

// TestHairpinSameAsKernel compares what xdpct and the kernel show of flows with both ends
// translated.
func TestHairpinSameAsKernel(t *testing.T) {
	for name, source := range map[string][]string{"pool": {"--snat", lab.NATAddr}, "masquerade": {"--masquerade"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := lab.New(t, 2), lab.New(t, 2)
			flags := source
			for _, rule := range []string{"tcp:198.51.100.40:8080=10.1.2.4:80", "udp:198.51.100.40:7007=10.1.2.4:7",
				"tcp:198.51.100.40:9009=10.1.2.4:9", "udp:198.51.100.40:9009=10.1.2.4:9"} {
				flags = append(flags, "--dnat", rule)
			}
			for _, l := range []*lab.Lab{ours, theirs} {
				l.AddSecond(t)
				newFile(t, l.Serve(t, l.Second), "file.bin", 200_000)
				l.Second.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
			}
			kernel, xdpct := theirs.StartKernel(t, flags...), ours.StartGateway(t, flags...)
			for _, x := range hairpins {
				t.Run(x.name, func(t *testing.T) { x.sameAs(t, theirs, kernel, ours, xdpct) })
			}
		})
	}
}

// TestHairpinSIP: two phones inside call each other by a server outside. Each is told of the
// other's outside address, and media go from one to the other by the gateway, both ways.
func TestHairpinSIP(t *testing.T) {
	lab.NeedsXDPCT(t) // the kernel's helper does not let media come from others than the server
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.AddSecond(t)
		g := l.StartGateway(t, "--snat", lab.NATAddr, "--helper", "sip:5060,5061:loose", "--dnat", "udp:"+lab.NATAddr+":5060="+lab.SecondAddr+":5060")
		phone, second := newEnd(t, l, l.Client, lab.ClientAddr, 5062, 20000), newEnd(t, l, l.Second, lab.SecondAddr, 5060, 40000)
		l.Server.Run(t, "sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1") // sipp binds the media address that it names
		// The server's two legs. Each passes on what the other phone has announced: it is known
		// beforehand that the first one's media keep their port.
		first, other := newEnd(t, l, l.Server, lab.ServerAddr, 5070, 20000), newEnd(t, l, l.Server, lab.ServerAddr, 5060, 40000)
		second.start(t, "callee", "-m", "1")
		first.start(t, "caller", "-m", "1", "-d", "6000", "-mi", lab.NATAddr, lab.NATAddr+":5060")
		seconds := first.told(t, 1)
		other.media = int(seconds.Port())
		other.start(t, "callee", "-m", "1", "-mi", seconds.Addr().String())
		phone.start(t, "caller", "-m", "1", "-d", "3000", lab.ServerAddr+":5060")
		if announced, passedOn := other.told(t, 1), second.told(t, 1); announced != passedOn {
			t.Errorf("media of the first phone are at %v, the second one was told of %v", announced, passedOn)
		}
		talk(t, phone, second, true)
		for _, e := range []*sipEnd{phone, second, first, other} {
			e.finish(t)
		}
		checkMedia(t, g, 2)
	})
}
