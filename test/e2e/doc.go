// Package e2e tests the built xdpct with real programs in network namespaces
// (see package lab), and against the kernel: what conntrack shows of an exchange,
// xdpct has to show, field by field.
//
//	differential_test.go  the same exchange through the kernel and through xdpct
//	life_test.go          the exact life of single flows, as events tell it
//	programs_test.go      HTTP, FTP both ways, ping, traceroute, iperf3, 1 GiB
//	ftp_test.go           FTP: three clients, two servers, both modes, many sessions, an abort
//	snat_test.go          ports that collide, pools with ranges
//	dnat_test.go          a server behind the gateway
//	masquerade_test.go    NAT to the gateway's own address; the box stays reachable
//	ipv6_test.go          IPv6 without NAT, NAT66, smaller links
//	fragments_test.go     datagrams in fragments, in order and not
//	inbound_test.go       what comes unasked from outside stays outside
//	failures_test.go      wrong use, missing rights, kill -9
//
// Run it with `make test-root`, a part of it with `make test-root E2E=-run=DNAT`,
// and check a test itself against the kernel with XDPCT_TEST_GATEWAY=kernel.
package e2e
