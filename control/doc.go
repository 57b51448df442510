// Package control lets operators look at and change a running gateway: a
// server on a Unix socket, the client for it, and the record formats.
//
// # Shape
//
//	xdpct flows -o json ──HTTP over /run/xdpct.sock──▶ Server ──▶ Backend
//	        ▲                                            │
//	        └──────────── rendered lines ◀───────────────┘
//
// The server renders and the client is a pipe: what a reader prints is the
// body of the answer, byte for byte. One place knows the formats, and a newer
// gateway never confuses an older client.
//
//	GET    /flows         listing            ?format=LIST&proto=tcp&src=CIDR...
//	DELETE /flows         delete by filter   at least one filter
//	GET    /flows/count   number of flows
//	GET    /events        live flow events   ?format=LIST&event=NEW,DESTROY...
//	GET    /expectations  listing            ?format=LIST&tuple-dst=CIDR...
//	GET    /events/expect live expectation events
//	DELETE /expectations  delete by filter   at least one filter
//	GET    /stats         counters           ?format=text|json|conntrack|proc&all=true
//	GET    /timeouts      time-outs in effect ?format=text|json
//	GET    /ports         attachments        ?format=text|json
//	POST   /flush         remove every flow
//	POST   /flush/expect  remove every expectation
//	POST   /reload        read the settings again  ?flush=true
//	GET    /version       version of the gateway
//
// # Streaming
//
// A listing reads the flow tables in place (flowtable.Table.Read: a seqlock, no
// lock is taken and no worker is asked), renders into one buffer of a fixed
// size and writes it out. It needs the same memory for ten flows and ten
// million, and a reader that stops reading stops only its own listing. The
// number of records follows as the HTTP trailer Xdpct-Count, so a listing that
// broke off is told from one that ended.
//
// Events come through a Subscription with a bounded buffer of its own. A reader
// that is too slow loses events, never the gateway a packet: the loss is counted
// (trailer Xdpct-Lost) and told at the place where it happened, in text as a
// line that starts with '#', in JSON as an object {"type":"lost","count":N}.
//
// # Text formats
//
// Text is what conntrack-tools 1.4.7 prints, line for line, and format=proc is
// what /proc/net/nf_conntrack and /proc/net/nf_conntrack_expect show, so that
// scripts keep working. The JSON form is described in docs/json.md.
//
// # Not here
//
// The package starts no goroutine in the packet path and knows nothing of
// sockets, frames or rules: it sees a Backend. It imports flowtable for the
// records and nothing else of this module.
package control
