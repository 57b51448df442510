package flowtable

import (
	"fmt"
	"time"
)

// Timeouts holds how long flows live without a packet, in ticks.
type Timeouts struct {
	// TCP is indexed by TCPState; TCPNone is not used.
	TCP [tcpStates]Tick
	// TCPRetrans limits a flow whose last segment came again and again
	// (Tracker.TCPMaxRetrans), or whose last window was closed.
	TCPRetrans Tick
	// TCPUnacked limits a flow with unacknowledged data, and an established
	// flow that was picked up until it sees a reply.
	TCPUnacked Tick
	// UDP is for flows without a reply or younger than two seconds, UDPStream
	// for assured ones.
	UDP, UDPStream Tick
	// ICMP and ICMPv6 are for queries.
	ICMP, ICMPv6 Tick
	// GRE is for flows without a reply, GREStream for the others.
	GRE, GREStream Tick
	// SCTP is indexed by SCTPState; SCTPNone is not used.
	SCTP [sctpStates]Tick
	// Generic is for all other protocols.
	Generic Tick
}

// seconds makes a constant time-out.
func seconds(s Tick) Tick { return s * TicksPerSecond }

// LinuxTimeouts returns the kernel's defaults
// (Documentation/networking/nf_conntrack-sysctl.rst).
func LinuxTimeouts() Timeouts {
	return Timeouts{
		TCP: [tcpStates]Tick{
			TCPSynSent: seconds(120), TCPSynRecv: seconds(60), TCPEstablished: seconds(432000),
			TCPFinWait: seconds(120), TCPCloseWait: seconds(60), TCPLastAck: seconds(30),
			TCPTimeWait: seconds(120), TCPClose: seconds(10), TCPSynSent2: seconds(120),
		},
		TCPRetrans: seconds(300), TCPUnacked: seconds(300),
		UDP: seconds(30), UDPStream: seconds(120),
		ICMP: seconds(30), ICMPv6: seconds(30),
		GRE: seconds(30), GREStream: seconds(180),
		SCTP: [sctpStates]Tick{
			SCTPClosed: seconds(10), SCTPCookieWait: seconds(3), SCTPCookieEchoed: seconds(3),
			SCTPEstablished: seconds(210), SCTPShutdownSent: seconds(3), SCTPShutdownRecd: seconds(3),
			SCTPShutdownAckSent: seconds(3), SCTPHeartbeatSent: seconds(30),
		},
		Generic: seconds(600),
	}
}

// RFCTimeouts returns the shortest time-outs that the NAT RFCs allow, or the
// recommended ones: RFC 5382 REQ-5 (established 2 h 4 min, transitory 4 min),
// RFC 7857 section 2.2 (4 min after a RST), RFC 4787 REQ-5c (UDP 5 min), RFC
// 5508 REQ-2 (ICMP 60 s). What they do not set stays as in LinuxTimeouts.
func RFCTimeouts() Timeouts {
	o := LinuxTimeouts()
	for s := range o.TCP {
		o.TCP[s] = seconds(240)
	}
	o.TCP[TCPNone] = 0
	o.TCP[TCPEstablished] = seconds(7440)
	o.UDP, o.UDPStream = seconds(300), seconds(300)
	o.ICMP, o.ICMPv6 = seconds(60), seconds(60)
	return o
}

// TimeoutProfile returns a named set of time-outs: "linux" or "rfc".
func TimeoutProfile(name string) (Timeouts, error) {
	switch name {
	case "linux":
		return LinuxTimeouts(), nil
	case "rfc":
		return RFCTimeouts(), nil
	}
	return Timeouts{}, fmt.Errorf("time-out profile %q: want linux or rfc", name)
}

// namedTimeout ties a name of the command line to a field.
type namedTimeout struct {
	name string
	at   func(*Timeouts) *Tick
}

// timeoutTable lists all names, in the order in which they are shown.
var timeoutTable = []namedTimeout{
	{"tcp.syn_sent", func(o *Timeouts) *Tick { return &o.TCP[TCPSynSent] }},
	{"tcp.syn_recv", func(o *Timeouts) *Tick { return &o.TCP[TCPSynRecv] }},
	{"tcp.established", func(o *Timeouts) *Tick { return &o.TCP[TCPEstablished] }},
	{"tcp.fin_wait", func(o *Timeouts) *Tick { return &o.TCP[TCPFinWait] }},
	{"tcp.close_wait", func(o *Timeouts) *Tick { return &o.TCP[TCPCloseWait] }},
	{"tcp.last_ack", func(o *Timeouts) *Tick { return &o.TCP[TCPLastAck] }},
	{"tcp.time_wait", func(o *Timeouts) *Tick { return &o.TCP[TCPTimeWait] }},
	{"tcp.close", func(o *Timeouts) *Tick { return &o.TCP[TCPClose] }},
	{"tcp.syn_sent2", func(o *Timeouts) *Tick { return &o.TCP[TCPSynSent2] }},
	{"tcp.max_retrans", func(o *Timeouts) *Tick { return &o.TCPRetrans }},
	{"tcp.unacknowledged", func(o *Timeouts) *Tick { return &o.TCPUnacked }},
	{"udp", func(o *Timeouts) *Tick { return &o.UDP }},
	{"udp.stream", func(o *Timeouts) *Tick { return &o.UDPStream }},
	{"icmp", func(o *Timeouts) *Tick { return &o.ICMP }},
	{"icmpv6", func(o *Timeouts) *Tick { return &o.ICMPv6 }},
	{"gre", func(o *Timeouts) *Tick { return &o.GRE }},
	{"gre.stream", func(o *Timeouts) *Tick { return &o.GREStream }},
	{"sctp.closed", func(o *Timeouts) *Tick { return &o.SCTP[SCTPClosed] }},
	{"sctp.cookie_wait", func(o *Timeouts) *Tick { return &o.SCTP[SCTPCookieWait] }},
	{"sctp.cookie_echoed", func(o *Timeouts) *Tick { return &o.SCTP[SCTPCookieEchoed] }},
	{"sctp.established", func(o *Timeouts) *Tick { return &o.SCTP[SCTPEstablished] }},
	{"sctp.shutdown_sent", func(o *Timeouts) *Tick { return &o.SCTP[SCTPShutdownSent] }},
	{"sctp.shutdown_recd", func(o *Timeouts) *Tick { return &o.SCTP[SCTPShutdownRecd] }},
	{"sctp.shutdown_ack_sent", func(o *Timeouts) *Tick { return &o.SCTP[SCTPShutdownAckSent] }},
	{"sctp.heartbeat_sent", func(o *Timeouts) *Tick { return &o.SCTP[SCTPHeartbeatSent] }},
	{"generic", func(o *Timeouts) *Tick { return &o.Generic }},
}

// TimeoutNames returns the names that Set and Get know, in a fixed order.
func TimeoutNames() []string {
	names := make([]string, len(timeoutTable))
	for i, n := range timeoutTable {
		names[i] = n.name
	}
	return names
}

// Set changes one time-out by name. It must be at least one second and at most
// MaxTimeout (194 days).
func (o *Timeouts) Set(name string, d time.Duration) error {
	if d < time.Second || d > MaxTimeout.Duration() {
		return fmt.Errorf("time-out %s=%v: not within 1s-%v", name, d, MaxTimeout.Duration())
	}
	for _, n := range timeoutTable {
		if n.name == name {
			*n.at(o) = Ticks(d)
			return nil
		}
	}
	return fmt.Errorf("time-out %q: no such name", name)
}

// Get returns one time-out by name; false if there is no such name.
func (o *Timeouts) Get(name string) (time.Duration, bool) {
	for _, n := range timeoutTable {
		if n.name == name {
			return n.at(o).Duration(), true
		}
	}
	return 0, false
}
