package lab

import (
	"regexp"
	"testing"
	"time"
)

// Capture records packets that arrive at an interface.
type Capture struct {
	process *Process
}

// Capture starts to record the packets that match a filter of tcpdump(8) and come
// in at the interface, before any firewall of that namespace.
func (n *Namespace) Capture(t testing.TB, ifname, filter string) *Capture {
	t.Helper()
	c := &Capture{n.Start(t, "tcpdump", "-nn", "-l", "-Q", "in", "-i", ifname, filter)}
	c.process.WaitOutput(t, "listening on", 5*time.Second)
	return c
}

// Packets are the recorded packets that match, one line each.
func (c *Capture) Packets(pattern string) []string {
	re := regexp.MustCompile(pattern)
	var found []string
	for _, line := range lines(c.process.Stdout()) {
		if re.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}
