package control

import (
	"fmt"
	"io"
	"strings"
)

// statColumn is a figure of conntrack -S, and the counters that add up to it: by
// name, or by how their names begin if that ends in '_'. None: the gateway has
// nothing of the kind, and shows 0.
type statColumn struct {
	name     string
	counters []string
}

// statTable are the figures of conntrack -S, in its order. Immutable.
var statTable = []statColumn{
	{"found", nil},
	{"invalid", []string{"invalid_"}},
	{"insert", []string{"flows_new"}},
	{"insert_failed", []string{"drop_nat_clash", "drop_nat_exhausted"}},
	{"drop", []string{"drop_table_full"}},
	{"early_drop", []string{"early_drop"}},
	{"error", []string{"drop_icmp_unmatched", "drop_icmp_redirect"}},
	{"search_restart", nil},
	{"clash_resolve", nil},
	{"chaintoolong", nil},
}

// procTable are those of /proc/net/stat/nf_conntrack after the number of flows,
// with the blanks between them. Immutable.
var procTable = []statColumn{
	{"  clashres", nil}, {" found", nil}, {" new", nil}, {" invalid", []string{"invalid_"}}, {" ignore", nil},
	{" delete", nil}, {" chainlength", nil}, {" insert", []string{"flows_new"}},
	{" insert_failed", []string{"drop_nat_clash", "drop_nat_exhausted"}}, {" drop", []string{"drop_table_full"}},
	{" early_drop", []string{"early_drop"}}, {" icmp_error", []string{"drop_icmp_unmatched", "drop_icmp_redirect"}},
	{"  expect_new", []string{"expect_used"}}, {" expect_create", []string{"expect_new"}},
	{" expect_delete", []string{"expect_ended"}}, {" search_restart", nil},
}

// sum adds up a column's counters.
func (c *statColumn) sum(counters []Counter) uint64 {
	total := uint64(0)
	for _, counter := range counters {
		for _, name := range c.counters {
			if counter.Name == name || strings.HasSuffix(name, "_") && strings.HasPrefix(counter.Name, name) {
				total += counter.Value
			}
		}
	}
	return total
}

// writeConntrackStats prints what conntrack -S prints: a line for each CPU, here
// of each worker, which ends in a blank.
func writeConntrackStats(w io.Writer, workers []WorkerStats) {
	for _, ws := range workers {
		fmt.Fprintf(w, "cpu=%-4d\t", ws.CPU)
		for _, c := range statTable {
			fmt.Fprintf(w, "%s=%d ", c.name, c.sum(ws.Counters))
		}
		fmt.Fprintln(w)
	}
}

// writeProcStats prints what /proc/net/stat/nf_conntrack shows: flows is the
// number of all, in each line; numbers are hexadecimal.
func writeProcStats(w io.Writer, flows int, workers []WorkerStats) {
	fmt.Fprint(w, "entries")
	for _, c := range procTable {
		fmt.Fprint(w, c.name)
	}
	fmt.Fprintln(w)
	for _, ws := range workers {
		fmt.Fprintf(w, "%08x", flows)
		for _, c := range procTable {
			blanks := len(c.name) - len(strings.TrimLeft(c.name, " "))
			fmt.Fprintf(w, "%s%08x", c.name[:blanks], uint32(c.sum(ws.Counters)))
		}
		fmt.Fprintln(w)
	}
}
