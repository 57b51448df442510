//go:build ignore

// The sink: counts the packets of a trial, looks at each whether it is what the
// gateway had to make of it, sorts how long it was under way into a histogram,
// and drops it. It runs on one CPU only.

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frame.h"

/* Buckets of the histogram: 2^SUB for each power of two of nanoseconds. */
#define SUB 4
#define BUCKETS (36 << SUB)

/* Packets whose bytes are kept for user space to check. */
#define SAMPLES 64
#define SAMPLE_EVERY 4096

/* What is expected; user space writes it before a run. */
struct expected {
	__u32 run;
	__be32 src, src_mask;
	__be32 dst, dst_mask;
	__u8 ttl;
	__u8 mac[6]; /* of this interface */
};

/* What was seen; user space clears it before a run. */
struct counts {
	__u64 packets;
	__u64 wrong;     /* of them with another address, TTL or MAC than wanted */
	__u64 reordered; /* of them behind one that was sent later */
	__u64 foreign;   /* not of this run: not counted above */
	__u64 first;     /* arrival of the first and last packet, ns */
	__u64 last;
	__u32 next;      /* sequence number after the highest so far */
	__u32 sampled;   /* packets that were put into samples, over and over */
};

struct sample {
	__u8 bytes[sizeof(struct frame) + 4];
};

volatile struct expected wanted;
struct counts seen;
__u64 histogram[BUCKETS];
struct sample samples[SAMPLES];

/* The place of the highest bit that is set. */
static __always_inline __u32 log2(__u64 v)
{
	__u32 r = 0, s;

	s = (v > 0xffffffff) << 5; v >>= s; r |= s;
	s = (v > 0xffff) << 4; v >>= s; r |= s;
	s = (v > 0xff) << 3; v >>= s; r |= s;
	s = (v > 0xf) << 2; v >>= s; r |= s;
	s = (v > 0x3) << 1; v >>= s; r |= s;
	return r | (v >> 1);
}

/* Bucket of a time: the highest bit, then the SUB bits after it. */
static __always_inline void record(__u64 ns)
{
	__u32 bit, bucket;

	ns |= 1 << SUB;
	bit = log2(ns);
	bucket = (bit << SUB) + ((ns >> (bit - SUB)) & ((1 << SUB) - 1));
	if (bucket < BUCKETS)
		histogram[bucket]++;
	else
		histogram[BUCKETS - 1]++;
}

static __always_inline bool as_wanted(const struct frame *f)
{
	return (f->ip.saddr & wanted.src_mask) == wanted.src &&
	       (f->ip.daddr & wanted.dst_mask) == wanted.dst && f->ip.ttl == wanted.ttl &&
	       *(__u16 *)&f->eth.h_dest[0] == *(volatile __u16 *)&wanted.mac[0] &&
	       *(__u16 *)&f->eth.h_dest[2] == *(volatile __u16 *)&wanted.mac[2] &&
	       *(__u16 *)&f->eth.h_dest[4] == *(volatile __u16 *)&wanted.mac[4];
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct frame *f = (void *)(long)ctx->data;
	__u64 now;

	if ((void *)(f + 1) > end || f->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    f->ip.protocol != IPPROTO_UDP || f->payload.run != wanted.run) {
		seen.foreign++;
		return XDP_DROP;
	}
	now = bpf_ktime_get_ns();
	if (!seen.packets)
		seen.first = now;
	seen.last = now;
	seen.packets++;
	if (!as_wanted(f))
		seen.wrong++;
	if (f->payload.seq < seen.next)
		seen.reordered++;
	else
		seen.next = f->payload.seq + 1;
	if (f->payload.seq % SAMPLE_EVERY == 0)
		__builtin_memcpy(samples[seen.sampled++ % SAMPLES].bytes, f, sizeof(*f));
	record(now - f->payload.time);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
