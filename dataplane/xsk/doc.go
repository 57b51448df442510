// Package xsk is the AF_XDP layer: the UMEM, the rings, the sockets, and the
// XDP program that decides what user space gets. It knows frames, ports and
// queues; it knows nothing of flows, translations or routes.
//
// # Overview
//
// One [UMEM] holds all frames of the process. One [Socket] per (port, queue)
// shares it, each with four rings of its own, so that a frame received on one
// port is rewritten in place and sent from another without a copy:
//
//	         fill            rx                tx          completion
//	owner ---------> kernel ----> owner ----> kernel ----------------> owner
//	                                |
//	                                `-- drop: back to fill, nothing else
//
// A frame is named by its UMEM address (a byte offset, see [UMEM.FrameOf]) and
// is in exactly one place: with the owner, in one of the rings, or inside the
// kernel between two rings. [Socket.Outstanding] counts every place that is
// not the owner's, so that the owner can check its ledger at any time:
//
//	frames held + sum over sockets of Outstanding().Total() == UMEM.Frames()
//
// # The program
//
// [Maps] holds what all ports share (the addresses of the box, the use counts
// of its translated L4 ports), [Program] is one instance of the XDP program
// with its own socket map and counters. It is attached with a bpf_link that is
// never pinned: when the process ends, however it ends, the port is an
// ordinary kernel port again, unless the process has given the link to another one
// ([Program.LinkFD]). A program without sockets drops what would be for user space. The
// program of the next process then takes its place ([Program.Replace]). See program.c for
// the decisions.
//
// # Order of set-up
//
//	maps := NewMaps; umem := NewUMEM
//	per port:  prog := NewProgram
//	sockets := OpenAll       // all or none, one mode for all
//	per socket: prog.Register; socket.Fill
//	per port:  prog.Attach   // from here on packets come
//
// Frames for a queue whose socket is not registered are dropped and counted.
//
// # Ordering
//
// Each ring has one producer and one consumer, one of them the kernel. A
// producer writes the descriptors first and then stores the producer index
// (release); the consumer loads that index (acquire), reads the descriptors and
// then stores the consumer index (release), which the producer loads (acquire)
// before it writes over them. Go's atomics are sequentially consistent, so the
// need-wakeup flag that is read after a publish cannot be an older one: a
// wakeup is never missed.
//
// # Concurrency
//
// Receive, Fill, Transmit, Flush, Complete, NeedsRXWakeup and WakeRX of one
// socket belong to one thread. Outstanding and Stats may be called by any
// other as long as the socket is not closed. Opening and closing sockets of one
// UMEM takes a lock of that UMEM.
package xsk
