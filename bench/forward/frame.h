/* The frame that generator and sink know: 60 bytes, an Ethernet frame of the
 * least size without its checksum. */

struct payload {
	__u32 run;   /* of the trial that sent it: others are not counted */
	__u32 seq;   /* from 0 */
	__u64 time;  /* of sending, bpf_ktime_get_ns */
	__u16 zero;
} __attribute__((packed));

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct payload payload;
} __attribute__((packed));

_Static_assert(sizeof(struct frame) == 60, "an Ethernet frame of the least size");
