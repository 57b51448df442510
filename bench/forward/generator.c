//go:build ignore

// The generator: run over live frames (BPF_PROG_RUN with
// BPF_F_TEST_XDP_LIVE_FRAMES), it fills each frame anew, because the kernel
// hands out the same few again and again as the last hop left them, and sends
// it by redirection. It keeps to a schedule: called too early, it drops the
// frame; called too late, it catches up with at most `backlog` packets.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frame.h"

/* What to send; user space writes it before a run. */
struct schedule {
	__u64 duration;  /* ns from the first packet: nothing is sent after it */
	__u64 interval;  /* from packet to packet, in 1/1024 ns */
	__u32 backlog;   /* packets that may be late; older ones are given up */
	__u32 run;       /* for the payload */
	__u32 ifindex;   /* to send by */
	__u32 flows;     /* a power of two, at most 2^20 */
	__u32 shift;     /* half of its logarithm */
	__u32 host;      /* first source address, host order */
	__u32 server;    /* first destination address, host order */
	__u32 nat;       /* answers: the address to send to; 0 = questions */
	__u32 part;      /* of the flows, one of parts generators sends these */
	__u32 parts;
	__u32 mixed;     /* parts by single port numbers, not by blocks of 64 */
	__u8 dst[6];     /* MAC addresses */
	__u8 src[6];
};

/* What was sent; user space clears it before a run. */
struct progress {
	__u64 due;      /* when the next packet has to leave, in 1/1024 ns */
	__u64 packets;
	__u64 given_up; /* packets that were never sent because they were late */
	__u64 first;    /* time of the first and of the last packet, ns */
	__u64 last;
	__u64 end;      /* when the trial is over, ns; 0 before the first packet */
};

volatile struct schedule plan;
struct progress sent;

/* A permutation of 0 .. flows-1: each flow of a part once a round, without an
 * order that a cache could guess. */
static __always_inline __u32 flow_of(__u32 seq)
{
	__u32 mask = plan.flows - 1;
	__u32 x = seq & mask;

	x = (x * 0x9e3779b1) & mask;
	x ^= x >> plan.shift;
	x = (x * 0x85ebca6b) & mask;
	x ^= x >> plan.shift;
	return x;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The number of a part's flow among those of all parts. A block of 64 ports has
 * one owner in a gateway that shares flows out by port number. */
static __always_inline __u32 of_part(__u32 flow)
{
	__u32 blocks = plan.mixed ? 0 : 6;

	return ((flow >> blocks) * plan.parts + plan.part) << blocks | (flow & ((1 << blocks) - 1));
}

/* Writes everything but the Ethernet header. A flow has a port of its own among
 * those to one server, so that one NAT address does for all of them, ports
 * kept. */
static __always_inline void fill(struct frame *f, __u64 now)
{
	__u32 flow = of_part(flow_of(sent.packets));
	__u32 port = flow & 0x7fff;
	__be32 host = bpf_htonl(plan.host + (port & 0xff));
	__be32 server = bpf_htonl(plan.server + (flow >> 15));
	__u64 sum;

	f->ip.version = 4;
	f->ip.ihl = 5;
	f->ip.tos = 0;
	f->ip.tot_len = bpf_htons(sizeof(*f) - sizeof(f->eth));
	f->ip.id = 0;
	f->ip.frag_off = bpf_htons(0x4000); /* do not fragment */
	f->ip.ttl = 64;
	f->ip.protocol = IPPROTO_UDP;
	if (plan.nat) {
		f->ip.saddr = server;
		f->ip.daddr = bpf_htonl(plan.nat);
		f->udp.source = bpf_htons(53);
		f->udp.dest = bpf_htons(1024 + port);
	} else {
		f->ip.saddr = host;
		f->ip.daddr = server;
		f->udp.source = bpf_htons(1024 + port);
		f->udp.dest = bpf_htons(53);
	}
	sum = (__u64)f->ip.saddr + f->ip.daddr;
	f->ip.check = fold(sum + bpf_htons(0x4500) + f->ip.tot_len + f->ip.frag_off +
			   bpf_htons(64 << 8 | IPPROTO_UDP));

	f->udp.len = bpf_htons(sizeof(f->udp) + sizeof(f->payload));
	f->payload.run = plan.run;
	f->payload.seq = sent.packets;
	f->payload.time = now;
	f->payload.zero = 0;
	/* The pseudo header has protocol and length; the length is there twice. */
	sum += bpf_htons(IPPROTO_UDP) + 2 * (__u64)f->udp.len + f->udp.source + f->udp.dest;
	sum += (__u64)f->payload.run + f->payload.seq + (now & 0xffffffff) + (now >> 32);
	f->udp.check = fold(sum);
	if (!f->udp.check)
		f->udp.check = 0xffff;
}

static __always_inline void start(__u64 now)
{
	sent.due = now << 10;
	sent.end = now + plan.duration;
}

/* The time if a packet is due, else 0. */
static __always_inline __u64 due(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (!sent.end)
		start(now);
	return now < sent.end && now << 10 >= sent.due ? now : 0;
}

/* When the packet after this one is due. */
static __always_inline void advance(__u64 now)
{
	__u64 late = plan.backlog * plan.interval, behind;

	sent.due += plan.interval;
	if (sent.due + late < now << 10) {
		behind = ((now << 10) - late - sent.due) / plan.interval;
		sent.given_up += behind;
		sent.due += behind * plan.interval;
	}
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct frame *f = (void *)(long)ctx->data;
	__u64 now;

	if ((void *)(f + 1) > end)
		return XDP_ABORTED;
	now = due();
	if (!now)
		return XDP_DROP;
	__builtin_memcpy(f->eth.h_dest, (void *)plan.dst, 6);
	__builtin_memcpy(f->eth.h_source, (void *)plan.src, 6);
	f->eth.h_proto = bpf_htons(ETH_P_IP);
	fill(f, now);
	if (!sent.packets)
		sent.first = now;
	sent.last = now;
	sent.packets++;
	advance(now);
	return bpf_redirect(plan.ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
