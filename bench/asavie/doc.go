// Package asavie is the program of package l2fwd on github.com/asavie/xdp,
// which xdpct's own AF_XDP layer is measured against (docs/decisions/0002).
//
// That package has no shared UMEM: a frame belongs to the socket that received
// it, so each forwarded packet is copied into a frame of the other port's socket.
// Its XDP program takes everything that arrives, ARP too: give the stations
// behind the ports permanent neighbours.
package asavie
