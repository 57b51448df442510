// Package lab gives tests a client, a gateway and a server in network
// namespaces, real programs to run in them, and two gateways to choose from:
// xdpct, and the Linux kernel's own conntrack and NAT, which is the oracle.
//
//	eth0 client ------ lan gateway wan ------ eth0 server
//	10.1.2.3      10.1.2.1   203.0.113.1      203.0.113.47
//
// The network itself is described once, in scripts/lab; this package runs that
// script. A test takes a Lab of its own, so tests may run in parallel:
//
//	l := lab.New(t, 2)
//	g := l.StartGateway(t, "--snat", "198.51.100.32", "--helper", "ftp")
//	events := g.Events(t)
//	l.Client.Run(t, "ping", "-c1", "203.0.113.47")
//	events.WaitFor(t, `type=8 .* type=0`)
//
// StartGateway starts xdpct. With XDPCT_TEST_GATEWAY=kernel in the environment it
// starts the kernel with the same flags instead: what a test demands of xdpct can
// then be checked against the model.
//
// Everything needs root and fails loudly without. Whatever is started ends with
// the test, which fails if a process does not end, an XDP program stays attached
// or a namespace is left over.
//
// Only tests import this package; it imports nothing of xdpct and drives the
// built binary (bin/xdpct, or the path in XDPCT).
package lab
