package dataplane

// DropReason says why a packet was not forwarded. Each reason is one counter,
// described in docs/counters.md and provoked by a test.
type DropReason uint8

// The reasons, in the order in which a packet meets them.
const (
	DropUnspecified       DropReason = iota // a stage forgot to decide: a bug
	DropMalformed                           // version or length fields contradict the frame
	DropTruncated                           // shorter than its headers say
	DropNotIP                               // neither IPv4 nor IPv6
	DropExtHeaders                          // IPv6 extension headers beyond the limit
	DropSourceRoute                         // the sender chose the way (RFC 5095, RFC 7126 §4.3)
	DropIPChecksum                          // of the IPv4 header, wrong (RFC 1812 §5.2.2)
	DropFragmentBad                         // a fragment that no datagram can have
	DropFragmentDuplicate                   // a fragment that is there already
	DropFragmentOverlap                     // its datagram has fragments that overlap (RFC 5722)
	DropFragmentPair                        // too many fragments of one source and destination wait
	DropFragmentFull                        // too many fragments wait
	DropFragmentTimeout                     // the rest of its datagram did not come
	DropLinkControl                         // neighbour or listener discovery, which no router forwards
	DropHandoverFull                        // the ring to the worker that owns the flow is full
	DropInvalid                             // conntrack state INVALID
	DropICMPUnmatched                       // an ICMP error about no flow that we know (RFC 5508 REQ-4, REQ-5)
	DropICMPRedirect                        // ICMP redirects are between neighbours, never forwarded
	DropMartianSource                       // source address that no packet to be forwarded can have
	DropLand                                // comes from the very address and port that it goes to
	DropSpoofed                             // from outside, but its source is inside
	DropReversePath                         // the routes do not lead back to where it came from (RFC 3704)
	DropBogon                               // an address outside that is not the Internet's (RFC 6890)
	DropExternalNew                         // a new flow from outside that nothing allows
	DropTTLExpired                          // TTL or hop limit reached zero
	DropNoRoute                             // no route to the destination
	DropRouteForbidden                      // blackhole, unreachable or prohibit route
	DropNotOurPort                          // the route leaves by an interface that is not a port
	DropLocalDst                            // after translation for the box itself, or for its link only
	DropNATExhausted                        // no free address and port in the pool
	DropNATNoAddress                        // masquerading by a port that has no address
	DropNATClash                            // a protocol without ports, and its tuple is taken
	DropHostFlows                           // its source has as many flows as it may
	DropHostRate                            // its source has begun as many in this second as it may
	DropTableFull                           // no room for a flow and nothing to evict
	DropStraysFull                          // no room to note where the flow is
	DropHelper                              // a helper refused the segment
	DropTooBig                              // larger than the MTU of the way out
	DropRouteMoved                          // the flow's route now leaves by another side or address
	DropNeighbourPending                    // too many packets wait for their neighbour
	DropNeighbourFailed                     // the neighbour did not answer
	DropLinkDown                            // the way out has no carrier
	DropTXRingFull                          // the TX ring of the way out stayed full
	DropPuntFailed                          // for the box itself, but the kernel did not take it
	numDropReasons
)

// dropText holds name and help of each reason, in the order of the constants.
var dropText = [numDropReasons][2]string{
	{"drop_unspecified", "dropped without a reason (a bug: please report)"},
	{"drop_malformed", "IP or transport header with impossible lengths"},
	{"drop_truncated", "frame shorter than its headers say"},
	{"drop_not_ip", "neither IPv4 nor IPv6"},
	{"drop_ext_headers", "more IPv6 extension headers than the limit, or two fragment headers"},
	{"drop_source_route", "IPv4 source route option or IPv6 routing header of type 0"},
	{"drop_ip_checksum", "wrong checksum of the IPv4 header"},
	{"drop_fragment_bad", "fragment that no datagram can have"},
	{"drop_fragment_duplicate", "fragment that is there already"},
	{"drop_fragment_overlap", "fragment of a datagram whose fragments overlap or contradict each other"},
	{"drop_fragment_pair", "fragment that waited while newer ones of its source and destination took its room"},
	{"drop_fragment_full", "fragment that waited while newer ones took its room"},
	{"drop_fragment_timeout", "fragment whose datagram did not get complete in time"},
	{"drop_link_control", "IPv6 neighbour or multicast listener discovery, which stays on its link"},
	{"drop_handover_full", "ring to the owning worker was full"},
	{"drop_invalid", "conntrack state INVALID"},
	{"drop_icmp_unmatched", "ICMP error about no known flow"},
	{"drop_icmp_redirect", "ICMP redirect: meant for neighbours, never forwarded"},
	{"drop_martian_source", "source address that is the gateway's own, multicast, loopback, link-local or unspecified"},
	{"drop_land", "source and destination are the same"},
	{"drop_spoofed", "from outside with a source that is inside"},
	{"drop_reverse_path", "source that is not routed by the interface it came by, or not at all"},
	{"drop_bogon", "address outside that is private, reserved or for documentation"},
	{"drop_external_new", "new flow from outside that no rule allows"},
	{"drop_ttl_expired", "TTL or hop limit exceeded"},
	{"drop_no_route", "no route to the destination"},
	{"drop_route_forbidden", "blackhole, unreachable or prohibit route"},
	{"drop_not_our_port", "route leaves by an interface that xdpct does not serve"},
	{"drop_local_dst", "destination after translation is the box itself or link-local"},
	{"drop_nat_exhausted", "no free address and port in the NAT pool, or no room for a mapping"},
	{"drop_nat_no_address", "masquerading by an interface that has no IPv4 address"},
	{"drop_nat_clash", "protocol without ports whose NAT tuple is taken"},
	{"drop_host_flows", "new flow of a source that has --max-flows-per-host"},
	{"drop_host_rate", "new flow of a source that began --new-flows-per-host in this second"},
	{"drop_table_full", "flow table full, nothing to evict"},
	{"drop_strays_full", "no room to note where a flow is whose directions come to different workers"},
	{"drop_helper", "refused by a helper"},
	{"drop_too_big", "larger than the MTU of the way out"},
	{"drop_route_moved", "route of a flow moved to a way out that its translation does not fit; the flow ended"},
	{"drop_neighbour_pending", "too many packets wait for a neighbour"},
	{"drop_neighbour_failed", "neighbour did not answer"},
	{"drop_link_down", "way out has no carrier"},
	{"drop_tx_ring_full", "TX ring of the way out stayed full"},
	{"drop_punt_failed", "for the box itself, but the kernel did not take it"},
}

// String returns the counter's name.
func (r DropReason) String() string {
	if r >= numDropReasons {
		return "drop_unknown"
	}
	return dropText[r][0]
}
