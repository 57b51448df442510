// Package l2fwd is the least program that forwards with dataplane/xsk: packets
// of one port get new MAC addresses and leave by the other, in both directions,
// on one thread. It looks at nothing else of a packet.
//
// It is the twin that tells what a gateway could reach at most on a machine:
// the same sockets, rings, XDP program and system calls as xdpct, and none of
// its work. xdpct's cost above this is what tracking and translating cost.
//
// Package asavie is the same program on another AF_XDP package.
package l2fwd
