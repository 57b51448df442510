package nat

import "strconv"

// Reason tells why no translation could be chosen.
type Reason uint8

// The reasons. A flow with any but ReasonNone must not be made: its packet is
// dropped and counted.
const (
	ReasonNone           Reason = iota // a translation was chosen
	ReasonPortsExhausted               // no free port in the bounded search
	ReasonClash                        // the reply tuple is taken and no port can be changed
	ReasonNoAddress                    // masquerade, but the egress interface has no address
	ReasonMappingsFull                 // no room for one more mapping
	ReasonNoMaster                     // the expectation's master is gone
	reasonCount
)

// String returns the reason in the form used as counter name.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonPortsExhausted:
		return "nat_ports_exhausted"
	case ReasonClash:
		return "nat_clash"
	case ReasonNoAddress:
		return "nat_no_address"
	case ReasonMappingsFull:
		return "nat_mappings_full"
	case ReasonNoMaster:
		return "nat_no_master"
	default:
		return "reason(" + strconv.Itoa(int(r)) + ")"
	}
}
