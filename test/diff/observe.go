package diff

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/xdpct/xdpct/test/lab"
)

// Observation is what a gateway showed of one step of one script.
type Observation struct {
	// Packets are those that came out, the client's first.
	Packets []string
	// Events are in the order in which they were told.
	Events []line
	// Flows is the listing after the step, in a fixed order.
	Flows []line
}

// line is a line about a flow without its time-out.
type line struct {
	text    string
	timeout int // seconds; -1 = none
}

func (l line) String() string {
	if l.timeout < 0 {
		return l.text
	}
	return fmt.Sprintf("%s   (%d s)", l.text, l.timeout)
}

// slack is by how many seconds time-outs may differ: they are shown in whole
// seconds, and the gateways do not run in step.
const slack = 2

func sameLines(a, b []line) bool {
	return slices.EqualFunc(a, b, func(x, y line) bool {
		d := x.timeout - y.timeout
		return x.text == y.text && (x.timeout < 0) == (y.timeout < 0) && -slack <= d && d <= slack
	})
}

// Same tells whether two gateways showed the same.
func (o *Observation) Same(other *Observation) bool {
	return slices.Equal(o.Packets, other.Packets) && sameLines(o.Events, other.Events) && sameLines(o.Flows, other.Flows)
}

// String lists all of it, one line each.
func (o *Observation) String() string {
	var b strings.Builder
	for _, p := range o.Packets {
		fmt.Fprintf(&b, "    packet at %s\n", p)
	}
	for _, e := range o.Events {
		fmt.Fprintf(&b, "    event  %s\n", e)
	}
	for _, f := range o.Flows {
		fmt.Fprintf(&b, "    flow   %s\n", f)
	}
	if b.Len() == 0 {
		return "    nothing\n"
	}
	return b.String()
}

// lineAddress finds the addresses of a line.
var lineAddress = regexp.MustCompile(`\b(?:src|dst)=([0-9a-f.:]+)`)

// lineOwner is the number of the script that a listing's or event's line is about.
func lineOwner(text string) (int, bool) {
	for _, m := range lineAddress.FindAllStringSubmatch(text, 4) {
		if a, err := netip.ParseAddr(m[1]); err == nil {
			if n, ok := owner(a); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// packetOwner is the number of the script that a packet belongs to.
func packetOwner(d *dissected) (int, bool) {
	if n, ok := owner(d.dst); ok {
		return n, true
	}
	return owner(d.src)
}

// sorted is what a gateway showed in a round, by script.
type sorted struct {
	packets map[int]*[2][]frame
	events  map[int][]string
	flows   map[int][]string
}

func (s *shown) sort() sorted {
	by := sorted{make(map[int]*[2][]frame), make(map[int][]string), make(map[int][]string)}
	for side := range s.arrived {
		for _, f := range s.arrived[side] {
			d, ok := dissect(f.packet)
			if !ok {
				continue
			}
			if n, ok := packetOwner(&d); ok {
				if by.packets[n] == nil {
					by.packets[n] = new([2][]frame)
				}
				by.packets[n][side] = append(by.packets[n][side], f)
			}
		}
	}
	for _, e := range s.events {
		if n, ok := lineOwner(e); ok {
			by.events[n] = append(by.events[n], e)
		}
	}
	for _, f := range s.flows {
		if n, ok := lineOwner(f); ok {
			by.flows[n] = append(by.flows[n], f)
		}
	}
	return by
}

// observe gives names to what a gateway showed of script n.
func (by sorted) observe(n int, names *names) *Observation {
	o := &Observation{}
	if frames := by.packets[n]; frames != nil {
		for side := range frames {
			for _, f := range frames[side] {
				text := fmt.Sprintf("%s: %s", Side(side), show(f.packet, names))
				if !f.toUs {
					text += " TO ANOTHER MAC ADDRESS"
				}
				o.Packets = append(o.Packets, text)
			}
		}
	}
	for _, e := range by.events[n] {
		o.Events = append(o.Events, nameLine(e, names))
	}
	flows := slices.Clone(by.flows[n])
	slices.SortFunc(flows, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, f := range flows {
		o.Flows = append(o.Flows, nameLine(f, names))
	}
	return o
}

func sortKey(text string) string {
	if r, err := lab.Parse(text); err == nil {
		return r.Flow()
	}
	return text
}

// useCount is how many hold an entry, which depends on who looks at the moment.
var useCount = regexp.MustCompile(` use=\d+`)

// nameLine takes the time-out out of a line and gives names to the rest.
func nameLine(text string, names *names) line {
	r, err := lab.Parse(useCount.ReplaceAllString(text, ""))
	if err != nil {
		return line{"NOT A LINE: " + text, -1}
	}
	l := line{timeout: r.Timeout}
	r.Timeout = -1
	l.text = names.line(r.String())
	return l
}
