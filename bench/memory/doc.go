// Package memory measures the gateway without interfaces, privileges or
// threads of its own: the product's runBurst with its rings in plain memory
// (dataplane.Memory), and its flow table.
//
//	table     lookup, insertion, removal, expiry; memory of a flow; a Go map beside it
//	pipeline  a packet of an established flow, from RX ring to TX ring, and its stages
//	newflows  flows made while as many others end; choice of ports in a crowded pool
//	timers    the timers; the worst burst while a million flows expire
//
// # Method
//
// Packets are of 60 bytes with checksums that are right, of random flows, half
// of them in either direction, in bursts of 64 from each queue, as under load.
// They are written to the frames of the UMEM 4096 at a time, as a NIC does that
// is ahead of the worker, so that the worker finds neither headers nor flows in
// its nearest cache; making them and taking them off the wire is not counted.
// The gateway gets nothing from the generator but the bytes of the frames. A
// round in which a packet is dropped fails.
//
// All parameter sets of a scenario are made first and then measured in turns,
// one round of each after the other, so that a machine that changes its speed
// changes it for all of them. The first round warms up and does not count. The
// thread is pinned to one CPU and the garbage collector is off. Passes through
// the path during which the kernel gave that CPU to somebody else are left out.
package memory
