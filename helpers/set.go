package helpers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// ID names a helper in flows, expectations and events.
type ID uint8

// The helpers.
const (
	None  ID = 0 // no helper
	IDFTP ID = 1 // FTP (RFC 959, RFC 2428)
)

// Name returns the helper's name as conntrack prints it, "" for None.
func (id ID) Name() string {
	switch id {
	case None:
		return ""
	case IDFTP:
		return "ftp"
	}
	return "helper(" + strconv.Itoa(int(id)) + ")"
}

// ftpPort is the port of FTP control connections (RFC 959).
const ftpPort = 21

// Spec says which flows get a helper: one --helper flag.
type Spec struct {
	ID    ID       // never None
	Ports []uint16 // original destination ports, host order, TCP
	// Loose lets an announcement name another host than its sender. Off by
	// default: it is how a browser is made to open ports (NAT slipstreaming).
	Loose bool
}

// ParseSpec parses "ftp[:PORT,PORT...][:loose]"; without ports it is the
// helper's standard port.
func ParseSpec(s string) (Spec, error) {
	name, rest, hasRest := strings.Cut(s, ":")
	if strings.ToLower(name) != "ftp" {
		return Spec{}, fmt.Errorf("helper %q: no helper %q, expected ftp", s, name)
	}
	spec := Spec{ID: IDFTP, Ports: []uint16{ftpPort}}
	if !hasRest {
		return spec, nil
	}
	ports, option, hasOption := strings.Cut(rest, ":")
	if !hasOption && ports == "loose" {
		ports, option, hasOption = "", "loose", true
	} else if ports == "" {
		return Spec{}, fmt.Errorf("helper %q: no ports after %q, expected for example ftp:21,2121", s, "ftp:")
	}
	if hasOption {
		if option != "loose" {
			return Spec{}, fmt.Errorf("helper %q: unknown option %q, expected loose", s, option)
		}
		spec.Loose = true
	}
	if ports == "" {
		return spec, nil
	}
	spec.Ports = nil
	for p := range strings.SplitSeq(ports, ",") {
		v, err := strconv.ParseUint(p, 10, 16)
		if err != nil || v == 0 {
			return Spec{}, fmt.Errorf("helper %q: %q is not a port, expected 1-65535", s, p)
		}
		if slices.Contains(spec.Ports, uint16(v)) {
			return Spec{}, fmt.Errorf("helper %q: port %d is given twice", s, v)
		}
		spec.Ports = append(spec.Ports, uint16(v))
	}
	return spec, nil
}

// Set is the helpers in use. Immutable, shared by all workers. The zero Set
// and a nil *Set have none.
type Set struct {
	tcp [65536 / 64]uint64 // bitmap of the ports with the FTP helper
	ftp FTP
}

// NewSet makes a set; specs of one helper add up.
func NewSet(specs ...Spec) *Set {
	s := new(Set)
	for _, spec := range specs {
		for _, p := range spec.Ports {
			s.tcp[p>>6] |= 1 << (p & 63)
		}
		s.ftp.Loose = s.ftp.Loose || spec.Loose
	}
	return s
}

// For returns the helper of a new flow with original tuple tu.
//
// Hot: once per new flow.
func (s *Set) For(tu *flowtable.Tuple) ID {
	if s == nil || tu.Proto != packet.ProtoTCP || s.tcp[tu.DstPort>>6]>>(tu.DstPort&63)&1 == 0 {
		return None
	}
	return IDFTP
}

// Attach gives a flow its helper. It returns false if the table has no
// extension record left; the flow then goes without.
func Attach(t *flowtable.Table, idx uint32, id ID) bool {
	ext := t.AddExt(idx)
	if ext == nil {
		return false
	}
	ext.Helper = uint8(id)
	t.Flow(idx).AddStatus(flowtable.StatusHelper)
	return true
}

// Packet lets helper id see one packet of a flow that has it.
//
// Hot: once per packet of a flow with a helper. 0 allocs unless it matches.
func (s *Set) Packet(id ID, c *Context) Verdict {
	c.reset()
	v := VerdictAccept
	switch id {
	case IDFTP:
		v = s.ftp.Packet(c)
	case None:
	}
	return v
}
