package main

import (
	"github.com/spf13/pflag"

	"github.com/xdpct/xdpct/dataplane"
)

// registerChecks adds the flags about who may start flows.
func (r *runFlags) registerChecks(f *pflag.FlagSet) {
	f.StringVar(&r.rpFilter, "rp-filter", "off", "`MODE` of looking at the route back to a packet's source (RFC 3704): strict (it leaves by the interface\n"+
		"that the packet came by), loose (there is one; a default route is enough), off. In each mode a packet\n"+
		"from outside whose source is inside is dropped")
	f.StringVar(&r.bogons, "bogons", "pass", "`ACTION` for flows from or to addresses outside that are not the Internet's (private, shared, reserved,\n"+
		"documentation: RFC 6890): drop, or pass, for labs and networks behind another NAT")
}

func (r *runFlags) parseChecks(cfg *runConfig) error {
	var err error
	cfg.ReversePath, err = choose(err, "--rp-filter", r.rpFilter, []string{"off", "loose", "strict"},
		[]dataplane.ReversePath{dataplane.ReversePathOff, dataplane.ReversePathLoose, dataplane.ReversePathStrict})
	cfg.DropBogons, err = choose(err, "--bogons", r.bogons, []string{"pass", "drop"}, []bool{false, true})
	return err
}
