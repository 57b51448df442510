// Package peers is what xdpct is compared with and what is not part of the
// kernel: contenders for bench/forward and a peer of the flow table.
//
//   - l2fwd: package bench/l2fwd, the same AF_XDP layer and nothing else
//   - asavie-l2fwd: package bench/asavie, the same on github.com/asavie/xdp
//   - ovs: Open vSwitch's userspace datapath with conntrack and NAT
//
// What a machine does not have is left out, with one line that says why and
// what to do. `make bench-peers` installs and builds all of it.
package peers
