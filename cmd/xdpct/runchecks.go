package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/xdpct/xdpct/dataplane"
)

// maxNewPerHost is the highest rate of new flows of a source that can be counted.
const maxNewPerHost = 65535

// registerChecks adds the flags about who may start flows.
func (r *runFlags) registerChecks(f *pflag.FlagSet) {
	f.StringVar(&r.rpFilter, "rp-filter", "off", "`MODE` of looking at the route back to a packet's source (RFC 3704): strict (it leaves by the interface\n"+
		"that the packet came by), loose (there is one; a default route is enough), off. In each mode a packet\n"+
		"from outside whose source is inside is dropped")
	f.StringVar(&r.bogons, "bogons", "pass", "`ACTION` for flows from or to addresses outside that are not the Internet's (private, shared, reserved,\n"+
		"documentation: RFC 6890): drop, or pass, for labs and networks behind another NAT")
	f.StringVar(&r.flowsPerHost, "max-flows-per-host", "0", "`N` flows at most that one source (an IPv4 address, 64 bits of an IPv6 address) may have, 0 = any number;\n"+
		"k and M as in --max-flows. Of several workers each allows its share, rounded up. 32 bytes of memory a flow")
	f.StringVar(&r.newPerHost, "new-flows-per-host", "0", "`N[/s]` flows at most that one source may begin in one second, up to 65535, 0 = any number;\n"+
		"counted as --max-flows-per-host")
}

func (r *runFlags) parseChecks(cfg *runConfig) (err error) {
	if cfg.MaxFlowsPerHost, err = parseCount("--max-flows-per-host", r.flowsPerHost, 0, maxMaxFlows); err != nil {
		return err
	}
	if cfg.NewFlowsPerHost, err = parseCount("--new-flows-per-host", strings.TrimSuffix(r.newPerHost, "/s"), 0, maxNewPerHost); err != nil {
		return err
	}
	cfg.ReversePath, err = choose(err, "--rp-filter", r.rpFilter, []string{"off", "loose", "strict"},
		[]dataplane.ReversePath{dataplane.ReversePathOff, dataplane.ReversePathLoose, dataplane.ReversePathStrict})
	cfg.DropBogons, err = choose(err, "--bogons", r.bogons, []string{"pass", "drop"}, []bool{false, true})
	return err
}
