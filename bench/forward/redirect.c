//go:build ignore

// The least that a gateway can do without leaving the driver: new MAC
// addresses, and out by the other interface.

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The other interface, and the host behind it. */
struct hop {
	__u32 ifindex;
	__u8 src[6];
	__u8 dst[6];
};

struct hop other;

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	__builtin_memcpy(eth->h_source, other.src, 6);
	__builtin_memcpy(eth->h_dest, other.dst, 6);
	return bpf_redirect(other.ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
