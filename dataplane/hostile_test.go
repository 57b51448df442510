package dataplane

import (
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/packet"
)

// hostile makes what an attacker outside may send: packets that are nearly answers,
// errors about this and that, fragments that overlap, and mere noise.
func (s *siege) hostile() [][]byte {
	if s.draw("forged", 5) == 0 {
		return [][]byte{s.forged()}
	}
	frame := s.aimed()
	switch s.draw("form", 8) {
	case 0, 1:
		return [][]byte{s.errorAbout(frame)}
	case 2:
		return s.inPieces(frame)
	case 3:
		return [][]byte{s.damaged(frame)}
	case 4:
		return [][]byte{s.withOptions(frame)}
	}
	return [][]byte{frame}
}

// aimed is an answer to a flow, or an announced or permitted connection, in which at
// most a few fields differ.
func (s *siege) aimed() []byte {
	k := refKey{proto: 17, remote: serverAddr, local: poolAddr, rport: 53, lport: 7000}
	if keys := s.keys(); len(keys) > 0 {
		k = keys[s.draw("flow", len(keys))]
	}
	switch s.draw("connection", 6) {
	case 0, 1:
		k = s.permitted(k)
	case 2:
		k = s.impersonated()
	}
	for range s.draw("changes", 3) {
		s.change(&k)
	}
	if k.remote.Is4() != k.local.Is4() || k.proto == 58 && k.remote.Is4() || k.proto == 1 && k.remote.Is6() {
		k.remote, k.local, k.proto = server2Addr, poolAddr, 6
	}
	if k.proto == 6 && s.draw("flags", 2) == 0 {
		flags := s.draw("bits", 64)
		return build(s.t, wan, spec{src: k.remote, dst: k.local, sport: k.rport, dport: k.lport, tcp: &layers.TCP{
			FIN: flags&1 != 0, SYN: flags&2 != 0, RST: flags&4 != 0, PSH: flags&8 != 0, ACK: flags&16 != 0, URG: flags&32 != 0,
			Seq: uint32(s.draw("seq", 1000)), Ack: uint32(s.draw("ack", 1000))}})
	}
	return s.answerOf(k)
}

// permitted is the first packet of a connection that may come from outside.
func (s *siege) permitted(k refKey) refKey {
	if s.bait.IsValid() && s.draw("bait", 4) == 0 {
		return refKey{one[uint8](s, "proto", 17, 6), k.remote, s.bait.Addr(), one(s, "rport", siegePorts...), s.bait.Port()}
	}
	if len(s.calls) > 0 && s.draw("call", 4) == 0 {
		c := &s.calls[s.draw("which", len(s.calls))]
		return refKey{17, c.remote.Addr(), k.local, one(s, "rport", siegePorts...), c.media.Port()}
	}
	if waiting := s.waiting(); len(waiting) > 0 && s.draw("announced", 3) > 0 {
		e := waiting[s.draw("which", len(waiting))]
		if !e.remote.IsValid() {
			e.remote = one(s, "remote", serverAddr, server2Addr)
			if e.local.Is6() {
				e.remote = one(s, "remote", server6Addr, server26Addr)
			}
		}
		return refKey{e.proto, e.remote, e.local, one(s, "rport", siegePorts...), e.lport}
	}
	r := s.ref.rules[s.draw("rule", len(s.ref.rules))]
	remote := serverAddr
	if r.Addr.Is6() {
		remote = server6Addr
	}
	return refKey{r.Proto, remote, r.Addr, one(s, "rport", siegePorts...), r.Port}
}

// change makes one field another.
func (s *siege) change(k *refKey) {
	outside := []netip.Addr{serverAddr, server2Addr, netip.MustParseAddr("9.9.9.9"), clientAddr, client2Addr, lanAddr, wanAddr, poolAddr, server6Addr, server26Addr, client6Addr}
	local := []netip.Addr{poolAddr, wanAddr, netip.MustParseAddr("198.51.100.33"), clientAddr, client2Addr, serverAddr, pool6Addr, client6Addr, client26Addr, wan6Addr}
	switch s.draw("field", 6) {
	case 0:
		k.remote = one(s, "remote", outside...)
	case 1:
		k.local = one(s, "local", local...)
	case 2:
		k.rport = one(s, "rport", siegePorts...)
	case 3:
		k.lport = one(s, "lport", siegePorts...)
	case 4:
		k.lport++
	case 5:
		k.proto = one[uint8](s, "proto", 1, 6, 17, 47, 58, 132, 136, 253)
	}
}

// errorAbout is an ICMP error that quotes the packet to which frame would be the
// answer, or frame itself, all of it or a part, sent to whom it quotes or to another.
func (s *siege) errorAbout(frame []byte) []byte {
	v, ok := viewOf(frame)
	if !ok {
		return frame
	}
	quote := slices.Clone(v.ip)
	to := v.src
	if s.draw("turned", 4) > 0 {
		to = v.dst
		turn(quote, v.l4, v.proto)
	}
	if s.draw("cut", 2) == 0 {
		quote = quote[:min(len(quote), v.l4+s.draw("length", 24))]
	}
	from := one(s, "reporter", serverAddr, netip.MustParseAddr("9.9.9.9"), clientAddr)
	if to.Is6() {
		from = one(s, "reporter", server6Addr, server26Addr, client6Addr)
	}
	if s.draw("astray", 6) == 0 {
		to = one(s, "to", clientAddr, poolAddr, client6Addr, serverAddr)
	}
	if from.Is4() != to.Is4() {
		from, to = serverAddr, clientAddr
	}
	e := spec{src: from, dst: to}
	if to.Is4() {
		e.icmp = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(one[uint8](s, "type", 3, 4, 5, 11, 12), uint8(s.draw("code", 16)))}
		e.payload = quote
	} else {
		e.icmp6 = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(1+s.draw("type", 5)), uint8(s.draw("code", 8)))}
		e.payload = append(make([]byte, 4), quote...)
	}
	return build(s.t, wan, e)
}

// turn makes a packet the one that it answers; its checksums do not matter in a quote.
func turn(ip []byte, l4 int, proto uint8) {
	if ip[0]>>4 == 4 {
		swap(ip[12:16], ip[16:20])
	} else {
		swap(ip[8:24], ip[24:40])
	}
	switch proto {
	case 6, 17, 132:
		swap(ip[l4:l4+2], ip[l4+2:l4+4])
	case 1, 58:
		for q, a := range map[uint8]uint8{8: 0, 13: 14, 128: 129} {
			if ip[l4] == a {
				ip[l4] = q
			}
		}
	}
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// inPieces cuts a packet into fragments: whole, or overlapping, doubled, one missing,
// or in another order.
func (s *siege) inPieces(frame []byte) [][]byte {
	n := ipLen(frame) - headerLen(frame)
	id := uint32(s.draw("id", 3))
	if n < 16 || headerLen(frame) == packet.IPv4MinLen && frame[14] != 0x45 {
		return [][]byte{frame}
	}
	size := 8 * (1 + s.draw("size", 4))
	pieces := split(frame, id, size)
	switch i := s.draw("piece", len(pieces)); s.draw("trick", 6) {
	case 0:
		return slices.Delete(pieces, i, i+1)
	case 1:
		return append(pieces, pieces[i])
	case 2:
		to := min(size+8, n)
		return slices.Insert(pieces, i, cut(frame, id, 0, to/8*8, true))
	case 3:
		slices.Reverse(pieces)
	}
	return pieces
}

// damaged changes one byte, or takes the end off.
func (s *siege) damaged(frame []byte) []byte {
	at := 12 + s.draw("at", len(frame)-12)
	if s.draw("cut", 4) == 0 {
		return frame[:at]
	}
	frame[at] ^= byte(1 + s.draw("by", 255))
	return frame
}

// withOptions puts IP options, or an IPv6 extension header, before the transport.
func (s *siege) withOptions(frame []byte) []byte {
	at := packet.EthernetLen + headerLen(frame)
	if headerLen(frame) == packet.IPv6Len {
		ext := one(s, "header", []byte{0, 0, 1, 4, 0, 0, 0, 0}, []byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{43, 0, 0, 1, 0, 0, 0, 0}, []byte{43, 0, 2, 0, 0, 0, 0, 0})
		kind, ext := ext[0], slices.Clone(ext)
		ext[0], frame[20] = frame[20], kind
		packet.IPv6Header(frame[14:]).SetPayloadLen(uint16(len(frame) - at + len(ext)))
		return slices.Concat(frame[:at], ext, frame[at:])
	}
	options := one(s, "options", []byte{1, 1, 1, 0}, []byte{148, 4, 0, 0}, []byte{7, 7, 4, 0, 0, 0, 0, 0}, []byte{131, 7, 4, 10, 1, 2, 3, 0}, []byte{68, 99, 0, 0})
	frame = slices.Concat(frame[:at], options, frame[at:])
	frame[14] += uint8(len(options) / 4)
	sumIPv4Frame(frame)
	return frame
}

// sumIPv4Frame sets length and checksum of the IPv4 header to what they have to be.
func sumIPv4Frame(frame []byte) {
	ip := packet.IPv4Header(frame[14:])
	ip.SetTotalLen(uint16(len(ip)))
	ip.SetChecksum(0)
	ip.SetChecksum(packet.Fold(packet.Sum(ip[:ip.HeaderLen()], 0)))
}
