package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/xdpct/xdpct/packet"
)

// verify fails unless all packets of a trial were what the gateway had to make
// of them: all by address, TTL and MAC, which the sink's program looks at, and
// those that it kept by their checksums.
func (t *traffic) verify(seen *sinkCounts) error {
	var samples [sampleCount]sinkSample
	if err := t.sink.Samples.Get(&samples); err != nil {
		return fmt.Errorf("read the sink's samples: %w", err)
	}
	kept := samples[:min(int(seen.Sampled), sampleCount)]
	if seen.Wrong > 0 {
		return fmt.Errorf("%d of %d packets have the wrong source, TTL or MAC: %s", seen.Wrong, seen.Packets, describe(kept))
	}
	for i := range kept {
		if err := checksums(kept[i].Bytes[:frameSize]); err != nil {
			return fmt.Errorf("%w: %s", err, describe(kept[i:]))
		}
	}
	if seen.Packets > 0 && len(kept) == 0 {
		return fmt.Errorf("none of %d packets was kept to check", seen.Packets)
	}
	return nil
}

// sampleCount is SAMPLES of sink.c.
const sampleCount = 64

// Offsets in a frame of the generator.
const (
	offIP  = 14
	offUDP = offIP + 20
)

// checksums checks both checksums of a frame.
func checksums(frame []byte) error {
	ip, udp := frame[offIP:offUDP], frame[offUDP:]
	if packet.Fold(packet.Sum(ip, 0)) != 0 {
		return fmt.Errorf("wrong IP header checksum %04x", ip[10:12])
	}
	pseudo := packet.Sum(ip[12:20], uint32(ip[9])+uint32(len(udp)))
	if packet.Fold(packet.Sum(udp, pseudo)) != 0 {
		return fmt.Errorf("wrong UDP checksum %04x", udp[6:8])
	}
	return nil
}

// describe prints the first of some frames.
func describe(frames []sinkSample) string {
	if len(frames) == 0 {
		return "no sample"
	}
	f := frames[0].Bytes[:frameSize]
	addr := func(at int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(f[offIP+12+4*at : offIP+16+4*at]) // has 4 bytes
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(f[offUDP+2*at:]))
	}
	return fmt.Sprintf("for instance %v to %v, TTL %d, MAC %x", addr(0), addr(1), f[offIP+8], f[:6])
}
