package dataplane

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"slices"
)

// view is a packet as a host reads it.
type view struct {
	src, dst   netip.Addr
	proto      uint8
	ip         []byte // the whole packet, without what follows it
	l4         int    // where in ip the transport header is, or a later fragment's data
	fragment   bool
	more       bool
	from       int // bytes of the datagram before this fragment
	id         uint32
	fragmentAt int // IPv6: of the fragment header in ip
}

// viewOf reads an Ethernet frame.
func viewOf(frame []byte) (view, bool) {
	if len(frame) > 18 && frame[12] == 0x81 && frame[13] == 0 && frame[14]&0x0f == 0 && frame[15] == 0 {
		frame = frame[4:] // a tag that has a priority only
		return viewOfIP(frame[14:], frame[12:14])
	}
	if len(frame) < 14 {
		return view{}, false
	}
	return viewOfIP(frame[14:], frame[12:14])
}

func viewOfIP(b, kind []byte) (view, bool) {
	switch {
	case kind[0] == 0x08 && kind[1] == 0:
		return viewOf4(b, false)
	case kind[0] == 0x86 && kind[1] == 0xdd:
		return viewOf6(b, false)
	}
	return view{}, false
}

func viewOf4(b []byte, quoted bool) (v view, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return v, false
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || total > len(b) && !quoted || head > len(b) {
		return v, false
	}
	word := binary.BigEndian.Uint16(b[6:])
	v = view{src: netip.AddrFrom4([4]byte(b[12:])), dst: netip.AddrFrom4([4]byte(b[16:])), proto: b[9], ip: b[:min(total, len(b))], l4: head,
		fragment: word&0x3fff != 0, more: word&0x2000 != 0, from: int(word&0x1fff) * 8, id: uint32(binary.BigEndian.Uint16(b[4:]))}
	return v, true
}

func viewOf6(b []byte, quoted bool) (v view, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return v, false
	}
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) && !quoted {
		return v, false
	}
	v = view{src: netip.AddrFrom16([16]byte(b[8:])), dst: netip.AddrFrom16([16]byte(b[24:])), proto: b[6], ip: b[:min(total, len(b))], l4: 40}
	for v.from == 0 {
		rest := v.ip[v.l4:]
		if !slices.Contains([]uint8{0, 43, 44, 51, 60}, v.proto) {
			break
		}
		if len(rest) < 8 {
			return v, false
		}
		n := 8 + 8*int(rest[1])
		switch v.proto {
		case 44:
			n = 8
			word := binary.BigEndian.Uint16(rest[2:])
			v.fragment, v.more, v.from = word&^6 != 0, word&1 != 0, int(word&^7)
			v.id, v.fragmentAt = binary.BigEndian.Uint32(rest[4:]), v.l4
		case 51:
			n = 4 * (int(rest[1]) + 2)
		}
		if n > len(rest) {
			return v, false
		}
		v.proto = rest[0]
		v.l4 += n
	}
	return v, true
}

// answerTo is the type of the answer to an ICMP query.
func answerTo(proto, typ uint8) (uint8, bool) {
	answers := map[uint8]uint8{8: 0, 13: 14, 15: 16, 17: 18}
	if proto == 58 {
		answers = map[uint8]uint8{128: 129, 139: 140}
	}
	a, ok := answers[typ]
	return a, ok
}

// isError reports an ICMP message about another packet.
func (v *view) isError() bool {
	if len(v.ip) < v.l4+8 || v.fragment && v.from > 0 {
		return false
	}
	typ := v.ip[v.l4]
	return v.proto == 1 && !v.v6() && slices.Contains([]uint8{3, 4, 5, 11, 12}, typ) || v.proto == 58 && v.v6() && typ < 128
}

func (v *view) v6() bool { return v.src.Is6() }

// asAnswer is the key of a packet that comes from outside.
func (v *view) asAnswer() (k refKey, ok bool) {
	k = refKey{proto: v.proto, remote: v.src, local: v.dst}
	b := v.ip[v.l4:]
	switch {
	case v.from > 0:
		return k, false
	case v.proto == 6 || v.proto == 17 || v.proto == 132:
		if len(b) < 8 { // all that a quote has
			return k, false
		}
		k.rport, k.lport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case v.proto == 1 && !v.v6() || v.proto == 58 && v.v6():
		if len(b) < 8 {
			return k, false
		}
		k.rport, k.lport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[4:])
	}
	return k, true
}

// asQuestion is the key of the answers to a packet that leaves.
func (v *view) asQuestion() (k refKey, ok bool) {
	k, ok = v.asAnswer()
	if !ok {
		return k, false
	}
	k.remote, k.local = v.dst, v.src
	switch {
	case v.proto == 6 || v.proto == 17 || v.proto == 132:
		k.rport, k.lport = k.lport, k.rport
	case v.proto == 1 && !v.v6() || v.proto == 58 && v.v6():
		a, query := answerTo(v.proto, uint8(k.rport>>8))
		k.rport = uint16(a)<<8 | k.rport&0xff
		return k, query
	}
	return k, true
}

// source is the end that a packet from inside comes from.
func (v *view) source() refEnd {
	k, _ := v.asQuestion()
	return refEnd{v.src, k.lport}
}

// quoted reads the packet that an ICMP error is about.
func (v *view) quoted() (view, bool) {
	if v.v6() {
		return viewOf6(v.ip[v.l4+8:], true)
	}
	return viewOf4(v.ip[v.l4+8:], true)
}

// translatedSlowly is what becomes of a whole packet from outside that is led to a host
// inside.
func translatedSlowly(v *view, to *refFlow) []byte {
	k, _ := v.asAnswer()
	src := refEnd{v.src, k.rport}
	if to.from != 0 {
		src.port = to.from
	}
	return betweenSlowly(v, src, to.refEnd)
}

// betweenSlowly is what becomes of a whole packet that is given other ends: these, a lower
// TTL, and checksums that follow.
func betweenSlowly(v *view, src, dst refEnd) []byte {
	b := slices.Clone(v.ip)
	old := sumOf(addressOf(v.src)) + sumOf(addressOf(v.dst))
	if v.v6() {
		b[7]--
		copy(b[8:], addressOf(src.addr))
		copy(b[24:], addressOf(dst.addr))
	} else {
		b[8]--
		copy(b[12:], addressOf(src.addr))
		copy(b[16:], addressOf(dst.addr))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^uint16(fold(sumOf(b[:v.l4]))))
	}
	l4 := b[v.l4:]
	move := sumOf(addressOf(src.addr)) + sumOf(addressOf(dst.addr)) + 0xffff - fold(old)
	set := func(at int, value uint16) {
		move += uint32(value) + 0xffff - uint32(binary.BigEndian.Uint16(l4[at:]))
		binary.BigEndian.PutUint16(l4[at:], value)
	}
	ports := func() bool {
		moved := binary.BigEndian.Uint32(l4) != uint32(src.port)<<16|uint32(dst.port)
		set(0, src.port)
		set(2, dst.port)
		return moved
	}
	switch v.proto {
	case 6:
		ports()
		moveSum(l4[16:], move)
	case 17:
		ports()
		if l4[6] != 0 || l4[7] != 0 {
			moveSum(l4[6:], move)
			if l4[6] == 0 && l4[7] == 0 {
				l4[6], l4[7] = 0xff, 0xff
			}
		}
	case 132:
		if ports() {
			copy(l4[8:12], []byte{0, 0, 0, 0})
			binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
		}
	case 1:
		if !v.v6() {
			move = 0
			set(4, dst.port)
			moveSum(l4[2:], move)
		}
	case 58:
		if v.v6() {
			set(4, dst.port)
			moveSum(l4[2:], move)
		}
	}
	return b
}

// moveSum changes a checksum as RFC 1624 says.
func moveSum(b []byte, move uint32) {
	binary.BigEndian.PutUint16(b, ^uint16(fold(uint32(^binary.BigEndian.Uint16(b))+fold(move))))
}

func addressOf(a netip.Addr) []byte { return a.AsSlice() }

// sumOf adds 16-bit words, the last one padded.
func sumOf(b []byte) uint32 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum = fold(sum + word)
	}
	return sum
}

func fold(sum uint32) uint32 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// sumsRight verifies the checksum of a whole ICMP or ICMPv6 message.
func sumsRight(v *view) bool {
	sum := sumOf(v.ip[v.l4:])
	if v.v6() {
		sum += sumOf(addressOf(v.src)) + sumOf(addressOf(v.dst)) + 58 + uint32(len(v.ip)-v.l4)
	}
	return fold(sum) == 0xffff
}
