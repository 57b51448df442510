//go:build ignore

// The XDP program of a port: which frames user space gets.
//
// One instance is loaded per port. `local4`, `local6` and `port_use` are shared
// by all instances; `xsks`, `counters` and `port_mac` belong to one port.
//
// Every frame ends in exactly one decision, and every decision has a counter
// (enum decision, mirrored by Decision in counters.go: keep the order). The
// rule behind the table: whatever the box itself must see goes to the kernel,
// everything else goes to user space or is dropped. So nothing is passed that
// the kernel, as it receives it by this port, could forward without
// translation, with these exceptions:
//
//   - frames to another station: a device of the kernel on top of the port
//     (macvlan) may have that MAC address; if none has, the kernel drops them;
//   - frames of a VLAN: they go to the kernel's device for that VLAN; if there
//     is none, the kernel drops them. VLAN 0 is no VLAN (IEEE 802.1Q 9.6):
//     such frames are untagged to the kernel, and so they are here;
//   - multicast packets: the kernel forwards them if a multicast routing
//     daemon tells it to. Unicast packets in group frames it does not forward;
//   - packets to the box with a source route: the kernel follows it if
//     accept_source_route is set, which by default it is not.

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum decision {
	PASS_MALFORMED,
	PASS_NOT_IP,
	PASS_VLAN,
	PASS_GROUP_MAC,
	PASS_FOREIGN_MAC,
	PASS_UNFORWARDABLE,
	PASS_LOCAL,
	PASS_LOCAL_PORT,
	REDIRECT_FORWARD,
	REDIRECT_NAT,
	REDIRECT_NAT_PORT,
	REDIRECT_NAT_FRAGMENT,
	DROP_NO_SOCKET,
	DROP_TAGS,
	DECISIONS,
};

/* Flags of an address, as LocalFlags in maps.go. */
enum { LOCAL = 1, NAT = 2 };

/* Blocks of port_use per address, as PortUse* in maps.go. */
enum { USE_TCP, USE_UDP, USE_ICMP, USE_OTHER, USE_BLOCKS };

#define IP_OFFSET 0x1fff
#define IP_MF 0x2000

#define VLAN_VID 0x0fff

/* RFC 792, RFC 950. <linux/icmp.h> drags in the C library's socket headers. */
enum {
	ICMP_ECHOREPLY = 0,
	ICMP_DEST_UNREACH = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_ECHO = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,
	ICMP_TIMESTAMP = 13,
	ICMP_TIMESTAMP_REPLY = 14,
	ICMP_ADDRESS = 17,
	ICMP_ADDRESS_REPLY = 18,
};

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id; /* of queries and their answers */
	__be16 sequence;
};

/* IEEE 802.1Q: what follows the type of a tagged frame. */
struct tag {
	__be16 control; /* priority, drop eligible, VLAN */
	__be16 type;    /* of what comes next */
};

struct local {
	__u16 flags;
	__u16 index; /* of its USE_BLOCKS blocks in port_use */
};

/*
 * One block of port_use. The value is a whole block because the kernel rounds
 * the stride of an array up to 8 bytes: single counts would not be dense in
 * the memory that user space maps.
 */
struct use_block {
	__u32 count[65536];
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct local);
} local4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct in6_addr);
	__type(value, struct local);
} local6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, USE_BLOCKS);
	__type(key, __u32);
	__type(value, struct use_block);
} port_use SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DECISIONS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* MAC address of the port in its first 6 bytes of memory, then two zeros. */
__u64 port_mac;

static __always_inline void count(__u32 decision)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &decision);

	if (n)
		*n += 1;
}

static __always_inline int pass(__u32 decision)
{
	count(decision);
	return XDP_PASS;
}

static __always_inline int redirect(struct xdp_md *ctx, __u32 decision)
{
	int action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);

	count(action == XDP_REDIRECT ? decision : DROP_NO_SOCKET);
	return action;
}

static __always_inline bool used(const struct local *l, __u32 block, __u16 number)
{
	__u32 key = l->index * USE_BLOCKS + block;
	struct use_block *b = bpf_map_lookup_elem(&port_use, &key);

	return b && *(volatile __u32 *)&b->count[number];
}

static __always_inline bool in_use(const struct local *l, __u32 block, __be16 port)
{
	return used(l, block, bpf_ntohs(port));
}

/* Protocols without ports. IPv6 extension headers are none of them: user space
 * counts what comes after. */
static __always_inline bool protocol_in_use(const struct local *l, __u8 proto)
{
	return used(l, USE_OTHER, proto);
}

/* The source port, query id or protocol of a packet that we sent and that is
 * quoted in an ICMP error: l4 is its transport header. */
static __always_inline bool quoted_in_use(const struct local *l, __u8 proto,
					  void *l4, void *end)
{
	__be16 *word = l4;

	switch (proto) {
	case IPPROTO_TCP:
		return (void *)(word + 1) <= end && in_use(l, USE_TCP, word[0]);
	case IPPROTO_UDP:
		return (void *)(word + 1) <= end && in_use(l, USE_UDP, word[0]);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		break;
	default:
		return protocol_in_use(l, proto);
	}
	if ((void *)(word + 3) > end)
		return false;
	switch (*(__u8 *)l4) {
	case ICMP_ECHO:
	case ICMP_TIMESTAMP:
	case ICMP_ADDRESS:
	case ICMPV6_ECHO_REQUEST:
		return in_use(l, USE_ICMP, word[2]);
	}
	return false;
}

static __always_inline bool quoted4_in_use(const struct local *l, __be32 us,
					   struct iphdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return false;
	if (ip->saddr != us || (ip->frag_off & bpf_htons(IP_OFFSET)))
		return false;
	return quoted_in_use(l, ip->protocol, (void *)ip + ip->ihl * 4, end);
}

static __always_inline bool same6(const struct in6_addr *a, const struct in6_addr *b)
{
	return a->s6_addr32[0] == b->s6_addr32[0] && a->s6_addr32[1] == b->s6_addr32[1] &&
	       a->s6_addr32[2] == b->s6_addr32[2] && a->s6_addr32[3] == b->s6_addr32[3];
}

static __always_inline bool quoted6_in_use(const struct local *l, const struct in6_addr *us,
					   struct ipv6hdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->version != 6 || !same6(&ip->saddr, us))
		return false;
	return quoted_in_use(l, ip->nexthdr, ip + 1, end);
}

/* RFC 792 messages to a shared address: answers to translated queries and
 * errors about translated packets are ours; requests and redirects are the
 * box's. */
static __always_inline bool icmp4_in_use(const struct local *l, __be32 us,
					 struct icmphdr *icmp, void *end)
{
	if ((void *)(icmp + 1) > end)
		return false;
	switch (icmp->type) {
	case ICMP_ECHOREPLY:
	case ICMP_TIMESTAMP_REPLY:
	case ICMP_ADDRESS_REPLY:
		return in_use(l, USE_ICMP, icmp->id);
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return quoted4_in_use(l, us, (void *)(icmp + 1), end);
	}
	return false;
}

/* The same for RFC 4443. */
static __always_inline bool icmp6_in_use(const struct local *l, const struct in6_addr *us,
					 struct icmp6hdr *icmp, void *end)
{
	if ((void *)(icmp + 1) > end)
		return false;
	switch (icmp->icmp6_type) {
	case ICMPV6_ECHO_REPLY:
		return in_use(l, USE_ICMP, icmp->icmp6_identifier);
	case ICMPV6_DEST_UNREACH:
	case ICMPV6_PKT_TOOBIG:
	case ICMPV6_TIME_EXCEED:
	case ICMPV6_PARAMPROB:
		return quoted6_in_use(l, us, (void *)(icmp + 1), end);
	}
	return false;
}

/* TCP or UDP to a shared address: by destination port. */
static __always_inline bool transport_in_use(const struct local *l, __u32 block,
					     void *l4, void *end)
{
	__be16 *port = l4;

	return (void *)(port + 2) <= end && in_use(l, block, port[1]);
}

static __always_inline int decide4(struct xdp_md *ctx, struct iphdr *ip, void *end)
{
	bool ours = false;
	struct local *l;
	__u32 dst;
	void *l4;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return pass(PASS_MALFORMED);
	dst = bpf_ntohl(ip->daddr);
	/* 0/8, 127/8, 224/4 and the limited broadcast: RFC 1812 4.2.2.11, 5.3.7. */
	if (dst >> 24 == 0 || dst >> 24 == 127 || dst >> 28 == 14 || dst == 0xffffffff)
		return pass(PASS_UNFORWARDABLE);

	l = bpf_map_lookup_elem(&local4, &ip->daddr);
	if (!l)
		return redirect(ctx, REDIRECT_FORWARD);
	if (!(l->flags & NAT))
		return pass(PASS_LOCAL);
	if (!(l->flags & LOCAL))
		return redirect(ctx, REDIRECT_NAT);

	/* Later fragments have no ports: user space puts them together and gives the
	 * kernel what is the box's. */
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return redirect(ctx, REDIRECT_NAT_FRAGMENT);
	l4 = (void *)ip + ip->ihl * 4;
	if (ip->protocol == IPPROTO_TCP)
		ours = transport_in_use(l, USE_TCP, l4, end);
	else if (ip->protocol == IPPROTO_UDP)
		ours = transport_in_use(l, USE_UDP, l4, end);
	else if (ip->protocol == IPPROTO_ICMP)
		ours = icmp4_in_use(l, ip->daddr, l4, end);
	else
		ours = protocol_in_use(l, ip->protocol);
	return ours ? redirect(ctx, REDIRECT_NAT_PORT) : pass(PASS_LOCAL_PORT);
}

/* Multicast, link-local (RFC 4291 2.5.6), unspecified and loopback. */
static __always_inline bool unforwardable6(const struct in6_addr *a)
{
	if (a->s6_addr[0] == 0xff)
		return true;
	if ((a->s6_addr32[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return true;
	return !(a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[2]) &&
	       bpf_ntohl(a->s6_addr32[3]) <= 1;
}

static __always_inline int decide6(struct xdp_md *ctx, struct ipv6hdr *ip, void *end)
{
	bool ours = false;
	struct local *l;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return pass(PASS_MALFORMED);
	if (unforwardable6(&ip->daddr))
		return pass(PASS_UNFORWARDABLE);

	l = bpf_map_lookup_elem(&local6, &ip->daddr);
	if (!l)
		return redirect(ctx, REDIRECT_FORWARD);
	if (!(l->flags & NAT))
		return pass(PASS_LOCAL);
	if (!(l->flags & LOCAL))
		return redirect(ctx, REDIRECT_NAT);

	if (ip->nexthdr == IPPROTO_TCP)
		ours = transport_in_use(l, USE_TCP, ip + 1, end);
	else if (ip->nexthdr == IPPROTO_UDP)
		ours = transport_in_use(l, USE_UDP, ip + 1, end);
	else if (ip->nexthdr == IPPROTO_ICMPV6)
		ours = icmp6_in_use(l, &ip->daddr, (void *)(ip + 1), end);
	else if (ip->nexthdr == IPPROTO_FRAGMENT)
		return redirect(ctx, REDIRECT_NAT_FRAGMENT);
	else
		ours = protocol_in_use(l, ip->nexthdr);
	return ours ? redirect(ctx, REDIRECT_NAT_PORT) : pass(PASS_LOCAL_PORT);
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* A frame whose type is that of a VLAN tag. Tags of VLAN 0 carry a priority
 * only, and the kernel takes off any number of them. User space takes off one
 * of 802.1Q, as stations send them; what hides behind more is dropped. */
static __always_inline int decide_tagged(struct xdp_md *ctx, __be16 type, struct tag *tag, void *end)
{
	if ((void *)(tag + 1) > end)
		return pass(PASS_MALFORMED);
	if (tag->control & bpf_htons(VLAN_VID))
		return pass(PASS_VLAN);
	if (type != bpf_htons(ETH_P_8021Q) || is_tag(tag->type)) {
		count(DROP_TAGS);
		return XDP_DROP;
	}
	if (tag->type == bpf_htons(ETH_P_IP))
		return decide4(ctx, (void *)(tag + 1), end);
	if (tag->type == bpf_htons(ETH_P_IPV6))
		return decide6(ctx, (void *)(tag + 1), end);
	return pass(PASS_NOT_IP);
}

SEC("xdp")
int xdpct_port(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	union {
		__u64 all;
		__u16 word[4];
	} dst = {};

	if ((void *)(eth + 1) > end)
		return pass(PASS_MALFORMED);
	if (eth->h_dest[0] & 1)
		return pass(PASS_GROUP_MAC);
	dst.word[0] = ((__u16 *)eth->h_dest)[0];
	dst.word[1] = ((__u16 *)eth->h_dest)[1];
	dst.word[2] = ((__u16 *)eth->h_dest)[2];
	if (dst.all != *(volatile __u64 *)&port_mac)
		return pass(PASS_FOREIGN_MAC);

	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return decide4(ctx, (void *)(eth + 1), end);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return decide6(ctx, (void *)(eth + 1), end);
	if (is_tag(eth->h_proto))
		return decide_tagged(ctx, eth->h_proto, (void *)(eth + 1), end);
	return pass(PASS_NOT_IP);
}

/* The program calls no GPL-only helper; the kernel wants the section anyway. */
char _license[] SEC("license") = "Dual BSD/GPL";
