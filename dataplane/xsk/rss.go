package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// RSS is how a NIC spreads packets over its receive queues, as ethtool -x and
// ethtool -n tell it. A driver that tells nothing leaves all of it empty.
type RSS struct {
	Key       []byte // empty if the driver does not tell it
	Function  string // "toeplitz", "xor" or "crc32"; "" = unknown
	Symmetric bool   // addresses and ports are combined before they are hashed
	Table     []int  // queue by the low bits of the hash; empty if not told
	// Fields are the parts of a packet that are hashed, as letters of ethtool
	// (s source and d destination address, f source and n destination port), in
	// the order of RSSProtocolNames; "" if not told.
	Fields [len(RSSProtocolNames)]string
}

// RSSProtocolNames are the protocols that RSS.Fields tells of, as ethtool names
// them.
var RSSProtocolNames = [...]string{"tcp4", "udp4", "tcp6", "udp6"} // immutable

// RSSFields is what RSS.Fields has where addresses and ports are hashed, and
// nothing else.
const RSSFields = "sdfn"

// Numbers of include/uapi/linux/ethtool.h that x/sys/unix lacks.
const (
	rxfhHeader = 24  // bytes of struct ethtool_rxfh before its data
	rxnfcSize  = 192 // bytes of struct ethtool_rxnfc
	maxRXFH    = 1 << 20

	flowTCP4, flowUDP4 = 1, 2 // flow types
	flowTCP6, flowUDP6 = 5, 6
)

// readRSS asks the driver of an interface how it spreads packets. What the
// driver does not tell is left empty.
func readRSS(name string) (r RSS, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return RSS{}, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if r, err = readHash(fd, name); unsupported(err) != nil {
		return RSS{}, err
	}
	for i, flow := range [...]uint32{flowTCP4, flowUDP4, flowTCP6, flowUDP6} {
		r.Fields[i], err = readFields(fd, name, flow)
		if unsupported(err) != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: not this flow type
			return RSS{}, err
		}
	}
	return r, nil
}

// readHash reads function, key and table (ETHTOOL_GRSSH): first their sizes,
// then the data.
func readHash(fd int, name string) (RSS, error) {
	ne := binary.NativeEndian
	sizes := make([]byte, rxfhHeader)
	ne.PutUint32(sizes, unix.ETHTOOL_GRSSH)
	if err := ethtoolRequest(fd, name, sizes); err != nil {
		return RSS{}, err
	}
	entries, key := int(ne.Uint32(sizes[8:])), int(ne.Uint32(sizes[12:]))
	if entries > maxRXFH || key > maxRXFH {
		return RSS{}, fmt.Errorf("the driver tells of %d table entries and %d key bytes", entries, key)
	}
	full := make([]byte, rxfhHeader+4*entries+key)
	ne.PutUint32(full, unix.ETHTOOL_GRSSH)
	copy(full[8:16], sizes[8:16])
	if err := ethtoolRequest(fd, name, full); err != nil {
		return RSS{}, err
	}
	function, transformed, data := full[16], full[17], full[rxfhHeader:]
	r := RSS{Symmetric: transformed != 0, Key: data[4*entries:]}
	switch function { // ETH_RSS_HASH_*
	case 1 << 0:
		r.Function = "toeplitz"
	case 1 << 1:
		r.Function = "xor"
	case 1 << 2:
		r.Function = "crc32"
	}
	for i := range entries {
		r.Table = append(r.Table, int(ne.Uint32(data[4*i:])))
	}
	return r, nil
}

// readFields reads what is hashed of packets of a flow type (ETHTOOL_GRXFH).
func readFields(fd int, name string, flow uint32) (string, error) {
	request := make([]byte, rxnfcSize)
	binary.NativeEndian.PutUint32(request, unix.ETHTOOL_GRXFH)
	binary.NativeEndian.PutUint32(request[4:], flow)
	if err := ethtoolRequest(fd, name, request); err != nil {
		return "", err
	}
	return fieldLetters(binary.NativeEndian.Uint64(request[8:])), nil
}

// fieldLetters renders a set of RXH_* bits in the letters of ethtool -N; bits
// that it has no letter for show as "?".
func fieldLetters(set uint64) string {
	letters := ""
	for _, f := range [...]struct {
		bit    uint64
		letter string
	}{{1, "m"}, {2, "v"}, {3, "t"}, {4, "s"}, {5, "d"}, {6, "f"}, {7, "n"}, {31, "r"}} {
		if set>>f.bit&1 != 0 {
			letters += f.letter
		}
		set &^= 1 << f.bit
	}
	if set != 0 {
		letters += "?"
	}
	return letters
}
