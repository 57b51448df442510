// Package zerocopy tests xdpct where the NIC and user space share the frames: in a
// virtual machine of QEMU, whose virtio_net driver does AF_XDP zero-copy like that of
// a real NIC. A veth pair, which the other tests have, cannot.
//
//	client namespace                 virtual machine                server namespace
//	  eth0 (TAP) === 2 queues === lan     xdpct     wan === 2 queues === eth0 (TAP)
//
// Client and server are those of package lab, with the same real programs; what runs
// in the machine is a current kernel (scripts/zerocopy-kernel), busybox, the static
// bin/xdpct and, as first process, a program that does what the test says (agent,
// init). One machine serves all cases, for to start it takes some 10 s.
//
// The processor is emulated, so this tells whether it works, and never how fast.
package zerocopy
