package zerocopy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// xdpLink is a descriptor that keeps an XDP program on an interface, as the kernel tells.
type xdpLink struct {
	PID     string // who has it
	ID      string // the link's number
	Program string // the program's number
	Ifindex string // 0 = detached
}

// agentPID is the process that plays the service manager.
const agentPID = "1"

// fdinfo is a line about a descriptor of a process.
var fdinfo = regexp.MustCompile(`(?m)^/proc/(\d+)/fdinfo/(\d+):(\w+):\s*(\w+)$`)

// xdpLinks are all in the machine, by the numbers of the links.
func (m *machine) xdpLinks(t *testing.T) []xdpLink {
	t.Helper()
	// Not all of the files are there any more: some are of the programs that look.
	out := m.try(t, "sh", "-c", `grep -sE "^(link_type|link_id|prog_id|ifindex):" /proc/[0-9]*/fdinfo/*`).Stdout
	told := make(map[string]map[string]string) // of each descriptor
	for _, f := range fdinfo.FindAllStringSubmatch(out, -1) {
		name := f[1] + "/" + f[2]
		if told[name] == nil {
			told[name] = map[string]string{"pid": f[1]}
		}
		told[name][f[3]] = f[4]
	}
	var links []xdpLink
	for _, d := range told {
		if d["link_type"] == "xdp" {
			links = append(links, xdpLink{PID: d["pid"], ID: d["link_id"], Program: d["prog_id"], Ifindex: d["ifindex"]})
		}
	}
	slices.SortFunc(links, func(a, b xdpLink) int { return strings.Compare(a.ID, b.ID) })
	return links
}

// otherProgram is how `xdpct check` tells of a program on an interface.
var otherProgram = regexp.MustCompile(`another XDP program is attached \(id (\d+)\)`)

// check is what `xdpct check` says of lan and wan.
func (m *machine) check(t *testing.T) string {
	t.Helper()
	return m.try(t, "xdpct", "check", "--internal", "lan", "--external", "wan", "--masquerade").Stdout
}

// attached are the numbers of the programs on lan and wan.
func (m *machine) attached(t *testing.T) []string {
	t.Helper()
	var programs []string
	for _, found := range otherProgram.FindAllStringSubmatch(m.check(t), -1) {
		programs = append(programs, found[1])
	}
	slices.Sort(programs)
	return programs
}

// checkKept demands that of the links that there were the service manager alone has
// descriptors, and that their programs are still on lan and wan.
func (m *machine) checkKept(t *testing.T, before []xdpLink) {
	t.Helper()
	lab.Eventually(t, patience, "two links are kept", func() bool {
		return slices.Equal(m.stored(t), []string{"xdpct-link", "xdpct-link"})
	})
	var want []xdpLink
	var programs []string
	for _, l := range before {
		l.PID = agentPID
		want, programs = append(want, l), append(programs, l.Program)
	}
	if diff := cmp.Diff(want, m.xdpLinks(t)); diff != "" {
		t.Errorf("XDP links while no xdpct runs (-want +got):\n%s", diff)
	}
	slices.Sort(programs)
	if diff := cmp.Diff(programs, m.attached(t)); diff != "" {
		t.Errorf("programs on lan and wan while no xdpct runs (-want +got):\n%s", diff)
	}
}

// checkReplaced demands that the gateway alone has the links that there were before it, with
// other programs, and returns them as they are now.
func (g *gateway) checkReplaced(t *testing.T, before []xdpLink) []xdpLink {
	t.Helper()
	if log := g.look(t).Stderr; strings.Count(log, `msg="XDP program of the last run is replaced"`) != 2 {
		t.Errorf("the log does not tell of two programs that were replaced:\n%s", log)
	}
	now := g.m.xdpLinks(t)
	if len(before) != 2 || len(now) != 2 {
		t.Fatalf("XDP links were %+v, are %+v: want two, and two", before, now)
	}
	for i, l := range now {
		was := before[i]
		if l.ID != was.ID || l.Ifindex != was.Ifindex || l.Ifindex == "0" || l.Program == was.Program || l.PID == agentPID {
			t.Errorf("XDP link %+v has become %+v: want the same with another program", was, l)
		}
	}
	return now
}

// checkNothingAttached demands that no program is left. The kernel detaches that of a dead
// process a moment after its end.
func (m *machine) checkNothingAttached(t *testing.T) {
	t.Helper()
	lab.Eventually(t, patience, "no XDP program is on lan or wan", func() bool { return m.attached(t) == nil })
	if links := m.xdpLinks(t); links != nil {
		t.Errorf("XDP links are left: %+v", links)
	}
}
