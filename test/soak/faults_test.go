package soak

import (
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

// A fault is something that goes wrong, and is over when it returns.
type fault struct {
	name string
	// restarts: there is another process afterwards.
	restarts bool
	strike   func(*course, *testing.T)
}

// faults are what may happen, each as likely as the others.
var faults = []fault{
	{"link flap", false, (*course).flapLink},
	{"interface replaced", false, (*course).replaceInterface},
	{"neighbours forgotten", false, (*course).forgetNeighbours},
	{"addresses and routes change", false, (*course).changeRoutes},
	{"hung control clients", false, (*course).hangClients},
	{"stopped reader of events", false, (*course).stopReader},
	{"flows listed and deleted", false, (*course).listAndDelete},
	{"kill -9", true, (*course).killAndStart},
	{"restart", true, (*course).stopAndStart},
}

// disturb lets faults happen until the time, with pauses.
func (c *course) disturb(t *testing.T, rng *rand.Rand, until time.Time, restarts bool) {
	for time.Now().Before(until) && !t.Failed() {
		f := &faults[rng.IntN(len(faults))]
		if f.restarts && !restarts {
			continue
		}
		f.strike(c, t)
		c.struck[f.name]++
		time.Sleep(500*time.Millisecond + time.Duration(rng.IntN(1500))*time.Millisecond)
	}
}

func (c *course) forgetNeighbours(t *testing.T) {
	t.Helper()
	c.lab.Gateway.Run(t, "ip", "neigh", "flush", "all")
}

func (c *course) killAndStart(t *testing.T) {
	t.Helper()
	c.gateway.Kill(t)
	c.start(t)
}

func (c *course) stopAndStart(t *testing.T) {
	t.Helper()
	c.gateway.Stop(t)
	c.start(t)
}

func (c *course) flapLink(t *testing.T) {
	name := []string{"lan", "wan"}[c.rng.IntN(2)]
	c.lab.Gateway.Run(t, "ip", "link", "set", name, "down")
	time.Sleep(300 * time.Millisecond)
	c.lab.Gateway.Run(t, "ip", "link", "set", name, "up")
	if name == "lan" { // the kernel has taken it away with the link
		c.lab.Gateway.Run(t, "ip", "addr", "replace", "fd00:1:2::1/64", "dev", "lan", "nodad")
	}
}

func (c *course) replaceInterface(t *testing.T) {
	end := []string{"client", "server"}[c.rng.IntN(2)]
	c.lab.Script(t, "unplug", end)
	time.Sleep(300 * time.Millisecond)
	c.lab.Script(t, "plug", end, fmt.Sprint(queues))
}

func (c *course) changeRoutes(t *testing.T) {
	c.lab.Gateway.Run(t, "bash", "-c", `
		for i in {1..50}; do
			ip route add 192.0.2.$i/32 via 203.0.113.47; ip addr add 203.0.113.$((i+100))/24 dev wan
			ip route del 192.0.2.$i/32; ip addr del 203.0.113.$((i+100))/24 dev wan
		done`)
}

func (c *course) hangClients(t *testing.T) {
	for range 20 {
		conn, err := net.Dial("unix", c.gateway.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprint(conn, "GET /flows HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
}

func (c *course) stopReader(t *testing.T) {
	p := c.lab.Gateway.Start(t, c.gateway.Binary(), "events", "--control", c.gateway.Control)
	p.Signal(syscall.SIGSTOP)
	time.Sleep(300 * time.Millisecond)
	p.Signal(syscall.SIGKILL)
}

func (c *course) listAndDelete(t *testing.T) {
	c.lab.Gateway.Run(t, c.gateway.Binary(), "flows", "-o", "json", "--control", c.gateway.Control)
	// Status 1: there is none.
	c.lab.Gateway.Try(c.gateway.Binary(), "delete", "-p", "udp", "--dport", fmt.Sprint(10000+c.rng.IntN(20)), "--control", c.gateway.Control)
}
