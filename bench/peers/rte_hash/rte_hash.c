/*
 * rte_hash measures DPDK's hash table, the peer of xdpct's flow table.
 *
 * usage: rte_hash [-p thp|2M|4k] [-k 1|2] [-R] [-s] [-r ROUNDS] [-t MS] [FLOWS ...]
 *
 *   -p  pages that table and records are in: 4 KiB with transparent huge pages
 *       advised (thp, the default), reserved huge pages (2M), or plain (4k)
 *   -k  keys of a flow: both tuples (2, the default, as NAT needs it) or one
 *   -R  each flow has a record of 64 bytes, which a hit reads and writes to
 *   -s  serve: print "ready", then for each line with a number of milliseconds
 *       on stdin one line "HIT MISS INSERT REMOVE", in nanoseconds
 *   -r -t  rounds (7) of so many milliseconds (500); without -s the results are
 *       JSON lines in the form of `xdpct bench`
 *
 * What is measured is what `xdpct bench table` measures of the flow table: bursts
 * of 64 lookups in random order, hashing included, choosing and making the keys
 * not; insertion and removal of all keys of a flow.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_common.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>
#include <rte_prefetch.h>

#define BURST 64
#define CHUNK (64 * BURST)
#define PAGE_2M (2UL << 20)
#define MAX_ROUNDS 1000

enum op { HIT, MISS, INSERT, REMOVE, OPS };

static const char *const op_names[OPS] = { "hit", "miss", "insert", "remove" };

struct key { /* a 5-tuple in 16 bytes, without gaps */
	uint32_t src, dst;
	uint16_t sport, dport;
	uint32_t proto;
};

struct record { /* one cache line */
	struct key orig, reply;
	uint32_t last_seen, state;
	uint8_t rest[24];
};

_Static_assert(sizeof(struct key) == 16, "key");
_Static_assert(sizeof(struct record) == 64, "record");

struct options {
	const char *pages;
	int keys, rounds, ms;
	bool record, serve;
};

struct table {
	struct rte_hash *hash;
	struct record *records; /* NULL without -R */
	void *heap;
	size_t heap_bytes, record_bytes;
	uint32_t flows, now;
	int keys;
	struct key chunk[CHUNK];
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "rte_hash: %s: %s\n", what, why);
	exit(1);
}

static uint64_t random64(void)
{
	static uint64_t s = 88172645463325252ULL; /* xorshift64 */

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return s;
}

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)(((random64() >> 32) * n) >> 32);
}

/*
 * flow_key is the tuple of a flow in one direction. Source and port are the
 * number of the flow, the destination is one of 128 k at random: a CRC is linear,
 * so that keys which only count up would spread over the buckets too evenly.
 */
static struct key flow_key(uint32_t i, int reply)
{
	uint32_t host = 0x0a000000 + (i >> 10), server = 0xc6120000 + (uint32_t)((i * 0x9e3779b97f4a7c15ULL) >> 47);
	uint16_t port = (uint16_t)(1024 + (i & 1023));

	if (reply)
		return (struct key){ server, host, 53, port, 17 };
	return (struct key){ host, server, port, 53, 17 };
}

/* map takes memory of the wanted pages, zeroed and populated. */
static void *map(size_t bytes, const char *pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	bool reserved = !strcmp(pages, "2M");
	char *p = mmap(NULL, bytes + PAGE_2M, PROT_READ | PROT_WRITE, flags | (reserved ? MAP_HUGETLB : 0), -1, 0);

	if (p == MAP_FAILED)
		die("take memory", reserved ? "not enough reserved huge pages (vm.nr_hugepages)" : "not enough");
	p = RTE_PTR_ALIGN_CEIL(p, PAGE_2M); /* the rest stays mapped until the end */
	if (!reserved)
		madvise(p, bytes, strcmp(pages, "thp") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

/*
 * capacity is how many keys the table is made for. DPDK rounds up to a power of
 * two, and a key whose buckets are full and cannot be emptied is refused: a table
 * that would be full to more than 96 % is made larger.
 */
static uint32_t capacity(uint32_t flows, int keys)
{
	uint32_t n = RTE_MAX(flows * (uint32_t)keys, 8u), slots = rte_align32pow2(n);

	return (uint64_t)n * 100 > (uint64_t)slots * 96 ? slots + 1 : n;
}

/* make_heap gives DPDK memory for the table and returns its socket id. */
static int make_heap(struct table *t, const struct options *o)
{
	size_t entries = (size_t)capacity(t->flows, t->keys) + BURST, slots = rte_align64pow2(entries);

	/* Keys with their data, buckets, ring of free keys; DPDK's own overhead. */
	t->heap_bytes = RTE_ALIGN_CEIL(entries * 32 + slots * (8 + 4) + (32UL << 20), PAGE_2M);
	t->heap = map(t->heap_bytes, o->pages);
	if (rte_malloc_heap_create("flows") ||
	    rte_malloc_heap_memory_add("flows", t->heap, t->heap_bytes, NULL, 0, PAGE_2M))
		die("give DPDK memory", rte_strerror(rte_errno));
	return rte_malloc_heap_get_socket("flows");
}

static void add_flow(struct table *t, uint32_t i)
{
	void *record = t->records ? &t->records[i] : NULL;

	for (int d = 0; d < t->keys; d++) {
		struct key k = flow_key(i, d);

		if (rte_hash_add_key_data(t->hash, &k, record) < 0)
			die("insert", "the table is full");
	}
}

static void table_open(struct table *t, uint32_t flows, const struct options *o)
{
	struct rte_hash_parameters params = {
		.name = "flows",
		.entries = capacity(flows, o->keys),
		.key_len = sizeof(struct key),
		.hash_func = rte_hash_crc,
		.hash_func_init_val = 0x5eed,
	};

	memset(t, 0, sizeof(*t));
	t->flows = flows;
	t->keys = o->keys;
	params.socket_id = make_heap(t, o);
	t->hash = rte_hash_create(&params);
	if (!t->hash)
		die("create the table", rte_strerror(rte_errno));
	if (o->record) {
		t->record_bytes = RTE_ALIGN_CEIL((size_t)flows * sizeof(struct record), PAGE_2M);
		t->records = map(t->record_bytes, o->pages);
	}
	for (uint32_t i = 0; i < flows; i++)
		add_flow(t, i);
}

static void table_close(struct table *t)
{
	rte_hash_free(t->hash);
	if (rte_malloc_heap_memory_remove("flows", t->heap, t->heap_bytes) || rte_malloc_heap_destroy("flows"))
		die("take memory back from DPDK", rte_strerror(rte_errno));
	munmap(t->heap, t->heap_bytes);
	if (t->records)
		munmap(t->records, t->record_bytes);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* touch reads the records that were found, and writes when they were seen. */
static void touch(struct table *t, uint64_t hits, void *const *found)
{
	for (uint64_t h = hits; h; h &= h - 1)
		rte_prefetch0(found[__builtin_ctzll(h)]);
	for (uint64_t h = hits; h; h &= h - 1) {
		struct record *r = found[__builtin_ctzll(h)];

		if (r->state == 0)
			r->last_seen = t->now;
	}
	t->now++;
}

/* lookup_chunk looks up every key of the chunk and returns how many it found. */
static unsigned int lookup_chunk(struct table *t)
{
	const void *keys[BURST];
	void *found[BURST];
	unsigned int n = 0;

	for (int at = 0; at < CHUNK; at += BURST) {
		uint64_t hits = 0;

		for (int i = 0; i < BURST; i++)
			keys[i] = &t->chunk[at + i];
		if (rte_hash_lookup_bulk_data(t->hash, keys, BURST, &hits, found) < 0)
			die("look up", "bad arguments");
		n += (unsigned int)__builtin_popcountll(hits);
		if (t->records)
			touch(t, hits, found);
	}
	return n;
}

/* lookups returns the time of a lookup, of keys of flows from number first on. */
static double lookups(struct table *t, uint32_t first, double budget)
{
	double spent = 0;
	uint64_t n = 0;

	while (spent < budget) {
		double start;

		for (int i = 0; i < CHUNK; i++)
			t->chunk[i] = flow_key(first + random_below(t->flows), t->keys == 2 && (random64() & 1));
		start = now_ns();
		if (lookup_chunk(t) != (first == 0 ? CHUNK : 0))
			die("look up", "wrong answers");
		spent += now_ns() - start;
		n += CHUNK;
	}
	return spent / (double)n;
}

/* changes takes random flows out and puts them back, for the budget in all. */
static void changes(struct table *t, double budget, double ns[OPS])
{
	uint32_t batch = RTE_MIN(t->flows / 2, 1u << 15), n = 0;

	ns[INSERT] = ns[REMOVE] = 0;
	while (ns[INSERT] + ns[REMOVE] < budget) {
		/* Steps of a prime that does not divide the number of flows meet each once. */
		uint64_t step = t->flows % 1000003 ? 1000003 : 1000033, at = random_below(t->flows);
		double start = now_ns(), middle;

		for (uint32_t k = 0; k < batch; k++) {
			for (int d = 0; d < t->keys; d++) {
				struct key key = flow_key((uint32_t)((at + k * step) % t->flows), d);

				if (rte_hash_del_key(t->hash, &key) < 0)
					die("remove", "a key is missing");
			}
		}
		middle = now_ns();
		for (uint32_t k = 0; k < batch; k++)
			add_flow(t, (uint32_t)((at + k * step) % t->flows));
		ns[REMOVE] += middle - start;
		ns[INSERT] += now_ns() - middle;
		n += batch;
	}
	ns[INSERT] /= n;
	ns[REMOVE] /= n;
}

/* measure is one round: a quarter of the time for each operation. */
static void measure(struct table *t, int ms, double ns[OPS])
{
	double quarter = ms * 1e6 / 4;

	ns[HIT] = lookups(t, 0, quarter);
	ns[MISS] = lookups(t, t->flows, quarter);
	changes(t, 2 * quarter, ns);
}

static void serve(struct table *t)
{
	char line[32];

	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double ns[OPS];

		measure(t, RTE_MAX(atoi(line), 1), ns);
		printf("%.2f %.2f %.2f %.2f\n", ns[HIT], ns[MISS], ns[INSERT], ns[REMOVE]);
		fflush(stdout);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* report measures all rounds, after one to warm up, and prints the records. */
static void report(struct table *t, const struct options *o)
{
	static double samples[OPS][MAX_ROUNDS];

	for (int r = -1; r < o->rounds; r++) {
		double ns[OPS];

		measure(t, o->ms, ns);
		for (int op = 0; op < OPS && r >= 0; op++)
			samples[op][r] = ns[op];
	}
	for (int op = 0; op < OPS; op++) {
		qsort(samples[op], (size_t)o->rounds, sizeof(double), by_value);
		printf("{\"name\":\"table\",\"params\":{\"impl\":\"rte_hash\",\"op\":\"%s\",\"flows\":%" PRIu32
		       ",\"keys\":%d,\"record\":%s,\"pages\":\"%s\"},\"unit\":\"ns/op\","
		       "\"median\":%.2f,\"p10\":%.2f,\"p90\":%.2f,\"rounds\":%d}\n",
		       op_names[op], t->flows, t->keys, t->records ? "true" : "false", o->pages,
		       samples[op][o->rounds / 2], samples[op][o->rounds / 10], samples[op][o->rounds * 9 / 10],
		       o->rounds);
	}
	fflush(stdout);
}

/* start_dpdk starts it without devices and nearly without memory of its own. */
static void start_dpdk(void)
{
	char *args[] = { "rte_hash", "--no-pci", "--no-huge", "--no-shconf", "--no-telemetry",
			 "--log-level=error", "-m", "64" };

	if (rte_eal_init(RTE_DIM(args), args) < 0)
		die("start DPDK", rte_strerror(rte_errno));
}

static struct options parse(int argc, char **argv)
{
	struct options o = { .pages = "thp", .keys = 2, .rounds = 7, .ms = 500 };
	int opt;

	while ((opt = getopt(argc, argv, "p:k:Rsr:t:")) != -1) {
		switch (opt) {
		case 'p': o.pages = optarg; break;
		case 'k': o.keys = atoi(optarg); break;
		case 'R': o.record = true; break;
		case 's': o.serve = true; break;
		case 'r': o.rounds = atoi(optarg); break;
		case 't': o.ms = atoi(optarg); break;
		default: exit(2); /* getopt has said why */
		}
	}
	if ((strcmp(o.pages, "thp") && strcmp(o.pages, "2M") && strcmp(o.pages, "4k")) || o.keys < 1 || o.keys > 2 ||
	    o.rounds < 1 || o.rounds > MAX_ROUNDS || o.ms < 1 || (o.serve && optind != argc - 1)) {
		fprintf(stderr, "usage: rte_hash [-p thp|2M|4k] [-k 1|2] [-R] [-s] [-r ROUNDS] [-t MS] [FLOWS ...]\n");
		exit(2);
	}
	return o;
}

int main(int argc, char **argv)
{
	static char *standard[] = { "1000", "100000", "1000000", "8000000", "10000000" };
	struct options o = parse(argc, argv);
	char **flows = optind < argc ? argv + optind : standard;
	int n = optind < argc ? argc - optind : (int)RTE_DIM(standard);
	static struct table t;

	start_dpdk();
	for (int i = 0; i < n; i++) {
		unsigned long count = strtoul(flows[i], NULL, 10);

		if (count < BURST || count > 1UL << 26)
			die(flows[i], "not a number of flows from 64 to 67108864");
		table_open(&t, (uint32_t)count, &o);
		if (o.serve)
			serve(&t);
		else
			report(&t, &o);
		table_close(&t);
	}
	return 0;
}
