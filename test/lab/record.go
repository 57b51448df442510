package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Record is one line of a listing or of events, split into what is compared. The
// spacing is kept: two gateways have to agree on that as well.
type Record struct {
	Tag     string   // "    [NEW] ", " [UPDATE] ", "[DESTROY] "; empty in a listing
	Proto   string   // "tcp      6 ", "ipv4     2 tcp      6 ", "l3proto = 2 "; empty for -L expect
	Timeout int      // seconds; -1 = the line has none
	State   string   // TCP state; empty if there is none
	Fields  []string // all that follows: tuples, flags, mark=, helper=, use=
}

const tag = `^(\s*\[(?:NEW|UPDATE|DESTROY)\] )?`

// flowLine matches a line about a flow, expectLine one about an expectation.
var (
	flowLine   = regexp.MustCompile(tag + `((?:ipv[46]\s+\d+ )?[a-z]\S*\s+\d+ )(?:(\d+) )?(?:([A-Z][A-Z_0-9]+) )?(src=.*)$`)
	expectLine = regexp.MustCompile(tag + `(\d+) (l3proto = \d+ )?(proto=\d+ src=.*)$`)
)

// Parse splits one line.
func Parse(line string) (Record, error) {
	r := Record{Timeout: -1}
	var timeout, fields string
	if m := flowLine.FindStringSubmatch(line); m != nil {
		r.Tag, r.Proto, timeout, r.State, fields = m[1], m[2], m[3], m[4], m[5]
	} else if m := expectLine.FindStringSubmatch(line); m != nil {
		r.Tag, timeout, r.Proto, fields = m[1], m[2], m[3], m[4]
	} else {
		return r, fmt.Errorf("not a line of conntrack: %q", line)
	}
	if timeout != "" {
		seconds, err := strconv.Atoi(timeout)
		if err != nil {
			return r, fmt.Errorf("timeout of %q: %w", line, err)
		}
		r.Timeout = seconds
	}
	r.Fields = strings.Split(fields, " ")
	return r, nil
}

// String is the line again.
func (r Record) String() string {
	s := r.Tag
	if strings.HasPrefix(r.Fields[0], "proto=") {
		return s + strconv.Itoa(r.Timeout) + " " + r.Proto + strings.Join(r.Fields, " ")
	}
	s += r.Proto
	if r.Timeout >= 0 {
		s += strconv.Itoa(r.Timeout) + " "
	}
	if r.State != "" {
		s += r.State + " "
	}
	return s + strings.Join(r.Fields, " ")
}

// Flow is the original tuple, which tells the flows of one exchange apart.
func (r Record) Flow() string {
	for i, f := range r.Fields {
		if i > 0 && (f == "[UNREPLIED]" || strings.HasPrefix(f, "src=")) {
			return r.Proto + strings.Join(r.Fields[:i], " ")
		}
	}
	return r.Proto + strings.Join(r.Fields, " ")
}

// Names gives ports and ids that differ from run to run names that do not: the
// first such port that comes by is P1 wherever it stands, and so on. That a port
// was kept by NAT thus stays visible. The zero value is ready for one exchange.
type Names struct {
	known map[string]string
	ports int
	ids   int
}

// Normalize replaces ephemeral ports and ICMP ids in the record by their names.
func (n *Names) Normalize(r *Record) {
	fields := make([]string, len(r.Fields))
	for i, f := range r.Fields {
		key, value, _ := strings.Cut(f, "=")
		if number, err := strconv.Atoi(value); err == nil {
			switch {
			case (key == "sport" || key == "dport") && number >= 1024 && number != 65535:
				f = key + "=" + n.name("P", value, &n.ports)
			case key == "id":
				f = key + "=" + n.name("I", value, &n.ids)
			}
		}
		fields[i] = f
	}
	r.Fields = fields
}

func (n *Names) name(kind, value string, count *int) string {
	if n.known == nil {
		n.known = make(map[string]string)
	}
	name, ok := n.known[kind+value]
	if !ok {
		*count++
		name = kind + strconv.Itoa(*count)
		n.known[kind+value] = name
	}
	return name
}

// ParseAll splits and normalises all lines.
func (n *Names) ParseAll(lines []string) ([]Record, error) {
	records := make([]Record, 0, len(lines))
	for _, line := range lines {
		r, err := Parse(line)
		if err != nil {
			return nil, err
		}
		n.Normalize(&r)
		records = append(records, r)
	}
	return records, nil
}
