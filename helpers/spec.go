package helpers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Spec says which flows get a helper: one --helper flag.
type Spec struct {
	ID    ID       // never None
	Ports []uint16 // original destination ports, host order
	// Loose lets an announcement name another host than its sender. Off by
	// default: it is how a browser is made to open ports (NAT slipstreaming).
	Loose bool
}

// ParseSpec parses "NAME[:PORT,PORT...][:loose]"; without ports it is the helper's
// standard port.
func ParseSpec(s string) (Spec, error) {
	name, rest, hasRest := strings.Cut(s, ":")
	id := idOf(strings.ToLower(name))
	if id == None {
		return Spec{}, fmt.Errorf("helper %q: no helper %q, expected %s", s, name, orList(Names()))
	}
	spec, h := Spec{ID: id}, &helperTable[id]
	ports, option, hasOption := strings.Cut(rest, ":")
	switch {
	case hasRest && !hasOption && ports == "loose":
		ports, option, hasOption = "", "loose", true
	case hasRest && ports == "":
		return Spec{}, fmt.Errorf("helper %q: no ports after %q, expected for example %s:%d", s, h.name+":", h.name, h.port)
	}
	switch {
	case hasOption && option != "loose":
		return Spec{}, fmt.Errorf("helper %q: unknown option %q, expected loose", s, option)
	case hasOption && h.loose == "":
		return Spec{}, fmt.Errorf("helper %q: %s has no option loose", s, h.name)
	}
	spec.Loose = hasOption
	if ports == "" {
		spec.Ports = []uint16{h.port}
		return spec, nil
	}
	return spec, spec.parsePorts(s, ports)
}

// parsePorts reads a list of ports, part of flag s.
func (spec *Spec) parsePorts(s, ports string) error {
	for p := range strings.SplitSeq(ports, ",") {
		v, err := strconv.ParseUint(p, 10, 16)
		if err != nil || v == 0 {
			return fmt.Errorf("helper %q: %q is not a port, expected 1-65535", s, p)
		}
		if slices.Contains(spec.Ports, uint16(v)) {
			return fmt.Errorf("helper %q: port %d is given twice", s, v)
		}
		spec.Ports = append(spec.Ports, uint16(v))
	}
	return nil
}

// CheckSpecs refuses a port that two helpers are given.
func CheckSpecs(specs []Spec) error {
	taken := make(map[endpoint]ID)
	for _, spec := range specs {
		for _, port := range spec.Ports {
			at := endpoint{helperTable[spec.ID].proto, port}
			if id := taken[at]; id != None && id != spec.ID {
				return fmt.Errorf("helper: port %d is given to both %s and %s", port, id.Name(), spec.ID.Name())
			}
			taken[at] = spec.ID
		}
	}
	return nil
}

// idOf returns the helper of a name, None if there is none.
func idOf(name string) ID {
	for id := None + 1; id < idCount; id++ {
		if helperTable[id].name == name {
			return id
		}
	}
	return None
}

// Names lists the helpers.
func Names() []string {
	var names []string
	for id := None + 1; id < idCount; id++ {
		names = append(names, id.Name())
	}
	return names
}

// Usage says in a few lines what --helper takes.
func Usage() string {
	var b strings.Builder
	b.WriteString("follow the protocol on these server ports, unless given:")
	for id := None + 1; id < idCount; id++ {
		h := &helperTable[id]
		fmt.Fprintf(&b, "\n%s %d", h.name, h.port)
		if h.loose != "" {
			b.WriteString("; loose: " + h.loose)
		}
	}
	return b.String()
}

// orList joins words as "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
