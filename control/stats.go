package control

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"
)

// statsView is what GET /stats shows: the counters and the state of the tables.
type statsView struct {
	Version     string        `json:"version"`
	UptimeSec   int64         `json:"uptime_seconds"`
	Flows       int           `json:"flows"`             // live flows
	MaxFlows    int           `json:"max_flows"`         // room of all tables
	MemoryBytes uint64        `json:"memory_bytes"`      // of all flow tables
	HandedOver  float64       `json:"handed_over_share"` // 0-1: packets that came to another worker than their flow's
	Workers     []WorkerStats `json:"workers"`
	Totals      []Counter     `json:"totals"`
}

// newStatsView gathers the view at time now.
func newStatsView(b Backend, now time.Time) *statsView {
	st := b.Stats()
	v := &statsView{Version: b.Version(), Workers: st.Workers, Totals: st.Totals}
	if !st.Started.IsZero() {
		v.UptimeSec = int64(now.Sub(st.Started) / time.Second)
	}
	if received := v.total("received"); received > 0 {
		v.HandedOver = float64(v.total("handed_over")) / float64(received)
	}
	for _, t := range b.Tables() {
		v.Flows += t.Len()
		v.MaxFlows += t.Cap()
		v.MemoryBytes += t.MemoryBytes()
	}
	return v
}

// total returns a counter by its name; 0 if there is none.
func (v *statsView) total(name string) uint64 {
	for _, c := range v.Totals {
		if c.Name == name {
			return c.Value
		}
	}
	return 0
}

// writeText prints one row a counter: total, then a column for each worker if
// there are several. Rows that have counted come first, in the order of the
// counters; the others only with all.
func (v *statsView) writeText(w io.Writer, all bool) {
	fmt.Fprintf(w, "xdpct %s up %s, %d workers, %.1f %% of packets handed over, %d of %d flows, %d MiB of flow tables\n", v.Version,
		time.Duration(v.UptimeSec)*time.Second, len(v.Workers), 100*v.HandedOver, v.Flows, v.MaxFlows, v.MemoryBytes>>20)
	perWorker := v.workerColumns()
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(tw, "COUNTER\tTOTAL")
	if len(v.Workers) > 1 {
		for _, ws := range v.Workers {
			fmt.Fprintf(tw, "\tCPU%d", ws.CPU)
		}
	}
	fmt.Fprintln(tw, "\tMEANING")
	v.writeRows(tw, perWorker, func(c Counter) bool { return c.Value != 0 })
	if all {
		v.writeRows(tw, perWorker, func(c Counter) bool { return c.Value == 0 })
	}
	_ = tw.Flush() // a client that went away
}

// writeRows prints the rows that pick chooses.
func (v *statsView) writeRows(tw io.Writer, perWorker []map[string]uint64, pick func(Counter) bool) {
	for _, c := range v.Totals {
		if !pick(c) {
			continue
		}
		fmt.Fprintf(tw, "%s\t%d", c.Name, c.Value)
		if len(perWorker) > 1 {
			for _, m := range perWorker {
				if n, ok := m[c.Name]; ok {
					fmt.Fprintf(tw, "\t%d", n)
				} else {
					fmt.Fprint(tw, "\t-")
				}
			}
		}
		fmt.Fprintf(tw, "\t%s\n", c.Help)
	}
}

// workerColumns returns each worker's counters by name.
func (v *statsView) workerColumns() []map[string]uint64 {
	cols := make([]map[string]uint64, len(v.Workers))
	for i, ws := range v.Workers {
		cols[i] = make(map[string]uint64, len(ws.Counters))
		for _, c := range ws.Counters {
			cols[i][c.Name] = c.Value
		}
	}
	return cols
}

// writeTimeouts prints one row a time-out.
func writeTimeouts(w io.Writer, timeouts []Timeout) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "TIMEOUT\tSECONDS")
	for _, t := range timeouts {
		fmt.Fprintf(tw, "%s\t%d\n", t.Name, t.Seconds)
	}
	_ = tw.Flush() // a client that went away
}

// writePorts prints one row a port.
func writePorts(w io.Writer, ports []Port) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "PORT\tROLE\tLINK\tDRIVER\tQUEUES\tSTEERING\tATTACH\tCOPY\tMTU\tRX\tTX\tDROP")
	for _, p := range ports {
		link := "down"
		if p.LinkUp {
			link = "up"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", p.Name, p.Role, link, p.Driver,
			p.Queues, p.Steering, p.AttachMode, p.Copy, p.MTU, p.RXPackets, p.TXPackets, p.Drops)
	}
	_ = tw.Flush() // a client that went away
}

// writeJSON answers with one indented object.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a client that went away
}
