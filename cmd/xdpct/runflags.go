package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
)

// runFlags are the flags of run and check as the user wrote them.
type runFlags struct {
	internal, external     []string
	snat, dnat             []string
	masquerade, spin       bool
	helper                 []string
	queues, cpus, maxFlows string
	steering               string
	control, controlGroup  string
	config, state          string
	xdp, zeroCopy, huge    string
	busyPoll               string
	ringSize, frameSize    string
	timeouts               string
	timeout                []string
	tcpLoose, tcpLiberal   bool
	tcpIgnoreInvalidRST    bool
	tcpMaxRetrans          uint8
	invalid, checksum      string
	rpFilter, bogons       string
	flowsPerHost           string
	newPerHost             string
	accounting, timestamps bool
	confine                bool
	logLevel, logFormat    string
}

// register adds the flags to those of a command.
func (r *runFlags) register(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringArrayVar(&r.internal, "internal", nil, "`IF[,IF]`: interfaces of the hosts to be translated; repeatable (required, no default)")
	f.StringArrayVar(&r.external, "external", nil, "`IF[,IF]`: interfaces to the outside; repeatable (required, no default)")
	f.StringArrayVar(&r.snat, "snat", nil, "`ADDR[-ADDR][:PORT-PORT]`: translate sources to these addresses; repeatable (default none)")
	f.BoolVar(&r.masquerade, "masquerade", false, "translate sources to the address of the external interface (default false)")
	f.StringArrayVar(&r.dnat, "dnat", nil, "`tcp|udp:ADDR:PORT=ADDR:PORT`: lead an outside port to a host inside, for those inside as well; repeatable (default none)")
	f.StringArrayVar(&r.helper, "helper", nil, "`NAME[:PORTS][:loose]`: "+helpers.Usage()+"; repeatable (default none)")
	f.StringVar(&r.queues, "queues", "0", "`N` receive queues that each interface must have (ethtool -L sets them), 0 = any number")
	f.StringVar(&r.cpus, "cpus", "", "`LIST` of CPUs for the workers, one each, such as 0,2-3 (default one per queue, from the first)")
	f.StringVar(&r.steering, "steering", "auto", "`MODE` of finding a flow's worker: rss (where the NIC brings its packets, or fail),\n"+
		"ports (by port number; packets that come elsewhere are handed over), auto (rss as far as the drivers\n"+
		"tell how they spread). By rss a host may get a different outside port towards each destination\n"+
		"(not RFC 4787 REQ-1); ports keeps it the same")
	f.StringVar(&r.maxFlows, "max-flows", "262144", "`N` flows at most, all workers together; k and M multiply by 1000 and 1000000")
	f.StringVar(&r.control, "control", control.DefaultPath, "`path` of the control socket to make")
	f.StringVar(&r.controlGroup, "control-group", "", "`GROUP`, a name or number, whose members may use the control socket, too (default none: its owner only)")
	f.StringVar(&r.config, "config", "", "`FILE` with one flag in each line, as here (--snat 198.51.100.10); what the command line says overrules it.\n"+
		"xdpct reload and SIGHUP read it again (default none)")
	f.StringVar(&r.state, "state", "", "`FILE` to save flows to at the end and to take them back from at the start, so that connections\n"+
		"survive a restart; it exists in between only (default none: flows are forgotten)")
	f.StringVar(&r.xdp, "xdp", "auto", "`MODE` of the XDP program: native (in the driver), generic (any interface, slower), auto")
	f.StringVar(&r.zeroCopy, "zerocopy", "auto", "`MODE` of frames: on (or fail), off, auto")
	f.StringVar(&r.busyPoll, "busy-poll", "0", "`USEC` microseconds a system call may poll the NIC, 0 = off, at most 1000000")
	f.BoolVar(&r.spin, "spin", false, "never sleep: look at the rings again and again, a whole CPU for each worker (default false)")
	f.StringVar(&r.ringSize, "ring-size", "2048", "`N` slots of each RX and TX ring, a power of two from 64 to 32768")
	f.StringVar(&r.frameSize, "frame-size", "2048", "`BYTES` of each frame, 2048 or 4096")
	f.StringVar(&r.huge, "huge-pages", "auto", "`MODE` of 2 MiB pages: on (frames in reserved ones, or fail), off, auto")
	f.StringVar(&r.timeouts, "timeouts", "linux", "`SET` of time-outs: linux (kernel defaults) or rfc (RFC 5382, 4787, 5508)")
	f.StringArrayVar(&r.timeout, "timeout", nil, "`NAME=DURATION`: change one time-out, such as udp=45s or tcp.established=2h (seconds without a unit);\nrepeatable (default none). Names: "+timeoutNames())
	f.BoolVar(&r.tcpLoose, "tcp-loose", true, "pick up TCP connections that began before the gateway did")
	f.BoolVar(&r.tcpLiberal, "tcp-liberal", false, "let TCP segments out of window pass (default false)")
	f.BoolVar(&r.tcpIgnoreInvalidRST, "tcp-ignore-invalid-rst", false, "let TCP resets below the window pass (default false)")
	f.Uint8Var(&r.tcpMaxRetrans, "tcp-max-retrans", flowtable.DefaultTCPMaxRetrans, "`N` times in a row that the same segment may come again, 0 to 255, before its connection\nlives for --timeout tcp.max_retrans only")
	f.BoolVar(&r.accounting, "accounting", false, "count packets and bytes of each flow, for 32 bytes a flow (default false)")
	f.BoolVar(&r.timestamps, "timestamps", false, "keep when each flow began, for delta-time and -o ktimestamp, for 8 bytes a flow (default false)")
	f.StringVar(&r.invalid, "invalid", "drop", "`ACTION` for packets that fit no connection: drop, or pass (untranslated)")
	f.StringVar(&r.checksum, "checksum", "on", "`on|off`: verify the checksums of received packets, of IP headers and transports. A wrong one makes\na packet invalid; off saves reading the whole packet, for NICs that drop such packets themselves")
	r.registerChecks(f)
	f.BoolVar(&r.confine, "confine", true, "once packets are being forwarded give up capabilities and system calls that are needed no more")
	f.StringVar(&r.logLevel, "log-level", "info", "`LEVEL` of messages: debug, info, warn, error")
	f.StringVar(&r.logFormat, "log-format", "text", "`FORMAT` of messages: text or json")
}

// timeoutNames lists the names that --timeout takes, broken into lines.
func timeoutNames() string {
	var b strings.Builder
	width := 0
	for i, name := range flowtable.TimeoutNames() {
		width += len(name) + 2
		switch {
		case i == 0:
		case width > 80:
			b.WriteString(",\n")
			width = len(name) + 2
		default:
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}
