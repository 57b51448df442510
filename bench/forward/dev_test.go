package forward

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func envf(k string, d float64) float64 {
	if v, err := strconv.ParseFloat(os.Getenv(k), 64); err == nil {
		return v
	}
	return d
}

func TestDev(t *testing.T) {
	ctx := context.Background()
	p := Placement{Home: 0, Gateway: 1}
	if err := p.settle(); err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv("XDPCT")
	all := map[string]*Contender{"kernel": Kernel(), "redirect": Redirect(), "kernel-nat": KernelNAT(), "xdpct": XDPCT("xdpct", bin, strings.Fields(os.Getenv("FLAGS"))...), "busy": XDPCT("xdpct-busy", bin, "--busy-poll", "20")}
	if err := os.WriteFile("/proc/self/autogroup", []byte("-20"), 0); err != nil {
		t.Fatal(err)
	}
	batch = uint32(envf("BATCH", 256))
	slice = time.Duration(envf("SLICE", 100)) * time.Microsecond
	hook := HookTC
	if os.Getenv("HOOK") == "xdp" {
		hook = HookXDP
	}
	var n labs
	for _, name := range strings.Split(os.Getenv("C"), ",") {
		c := all[name]
		l, err := n.build(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		defer l.remove()
		tr, err := newTraffic(l, c, hook)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.close()
		if os.Getenv("DEFER") != "" {
			for _, x := range [][2]string{{l.sink, l.drain.name}, {l.site.Namespace, l.site.In.Name}, {l.site.Namespace, l.site.Out.Name}} {
				if x[0] != l.sink && os.Getenv("DEFER") == "sink" {
					continue
				}
				if err := inside(ctx, x[0], "sh", "-c", "echo "+strconv.Itoa(int(envf("GRO", 20000)))+" >/sys/class/net/"+x[1]+"/gro_flush_timeout; echo 10 >/sys/class/net/"+x[1]+"/napi_defer_hard_irqs"); err != nil {
					t.Fatal(err)
				}
			}
		}
		r, err := c.Start(ctx, &l.site)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.hurry(); err != nil {
			t.Fatal(err)
		}
		if err := l.check(r); err != nil {
			t.Fatal(err)
		}
		s := &stand{c: c, lab: l, traffic: tr, running: r}
		for _, kpps := range strings.Split(os.Getenv("RATES"), ",") {
			k, _ := strconv.ParseFloat(kpps, 64)
			o, err := s.trial(ctx, load{rate: k * 1000, duration: time.Duration(envf("SEC", 0.5) * 1e9), flows: 4096, burst: int(envf("BURST", 1))})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("%-10s %6.0fk: sent %d (%.0fk/s, gave up %d) received %d loss %.3f%% cpu %.0f ns/pkt (%.2f) core %.0f ns/pkt (%.2f) p50 %v p99 %v p99.9 %v wrong %d reord %d foreign %d\n",
				name, k, o.sent, o.rate/1000, o.givenUp, o.received, 100*o.loss(), o.cpuPerPacket(), o.cpu.Seconds(), float64(o.core)/float64(o.received), o.core.Seconds(), o.latency.quantile(.5), o.latency.quantile(.99), o.latency.quantile(.999), o.seen.Wrong, o.seen.Reordered, o.seen.Foreign)
		}
		if os.Getenv("PAUSE") != "" {
			fmt.Println(l.site.Namespace, r.PIDs, l.napi)
			time.Sleep(time.Duration(envf("PAUSE", 0)) * time.Second)
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		tr.close()
		l.remove()
	}
}
