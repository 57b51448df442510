package control

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func parseFamily(s string) (uint8, error) {
	switch strings.ToLower(s) {
	case "ipv4", "4":
		return familyIPv4, nil
	case "ipv6", "6":
		return familyIPv6, nil
	}
	return 0, fmt.Errorf("%q is not known: give ipv4 or ipv6", s)
}

// parsePrefix reads an address or a CIDR network. Host bits are ignored.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address: give ADDRESS or ADDRESS/BITS", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// parsePorts reads PORT or PORT-PORT.
func parsePorts(s string) (portRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a > b || b == 0 {
		return portRange{}, fmt.Errorf("%q is no port: give a number 1-65535 or a range LOW-HIGH", s)
	}
	return portRange{first: uint16(a), last: uint16(b)}, nil
}

// parseState reads a state as conntrack prints it, in upper or lower case.
func parseState(s string) (string, error) {
	name, names := strings.ToUpper(s), StateNames()
	if !slices.Contains(names, name) {
		return "", fmt.Errorf("%q is not known: give %s", s, strings.Join(names, ", "))
	}
	return name, nil
}

// parseMask reads a network mask, as an address or as a number of bits, and
// returns 1 + its bits.
func parseMask(s string) (int, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n <= 128 {
		return int(n) + 1, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return 0, fmt.Errorf("%q is no mask: give one such as 255.255.255.0, or a number of bits", s)
	}
	n, open := 0, false
	for _, b := range a.AsSlice() {
		ones := bits.LeadingZeros8(^b)
		if open && b != 0 || b<<ones != 0 {
			return 0, fmt.Errorf("%q is no mask of leading ones", s)
		}
		n, open = n+ones, ones < 8
	}
	return n + 1, nil
}

// parseNumber reads a number of so many bits, decimal or with 0x.
func parseNumber(s string, size int) (optional16, error) {
	n, err := strconv.ParseUint(s, 0, size)
	if err != nil {
		return optional16{}, fmt.Errorf("%q is no number 0-%d", s, 1<<size-1)
	}
	return optional16{set: true, value: uint16(n)}, nil
}

// parseMark reads MARK or MARK/MASK and reports whether no flow can match: the
// mark of all flows is 0.
func parseMark(s string) (never bool, err error) {
	text, maskText, masked := strings.Cut(s, "/")
	if !masked {
		maskText = "0xffffffff"
	}
	mark, err1 := strconv.ParseUint(text, 0, 32)
	_, err2 := strconv.ParseUint(maskText, 0, 32)
	if err1 != nil || err2 != nil {
		return false, fmt.Errorf("%q is no mark: give MARK or MARK/MASK", s)
	}
	return mark != 0, nil
}

// parseID reads an id as id= prints it.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no id: give the number that -o id shows", s)
	}
	return uint32(n), nil
}
