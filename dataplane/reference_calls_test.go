package dataplane

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xdpct/xdpct/nat"
)

// What the reference believes about announced connections (deviations.md, formats of
// RFC 959, 1350, 3261 and 8866).

// refExpect is an announced connection: from any port of a host, or of any host.
type refExpect struct {
	proto         uint8
	remote, local netip.Addr
	lport         uint16
}

// refPending is where one leads.
type refPending struct {
	refEnd
	way    refWay
	until  time.Duration
	stays  bool   // a registration: not used up
	asleep bool   // not granted yet
	by     refKey // the flow that announced it
	call   string

	peer, shown netip.Addr // who is to come, and as whom the announcer knows it
	foreign     bool       // it leads to another host than the announcer
}

// isLoose tells whether only a helper with that option lets one come so.
func (p *refPending) isLoose(from netip.Addr) bool { return p.foreign || p.peer != from }

// announce notes one.
func (r *reference) announce(e refExpect, p *refPending) { r.expect[e] = append(r.expect[e], p) }

// announcedBy is how a connection may have been announced.
func announcedBy(k refKey) [2]refExpect {
	return [2]refExpect{{k.proto, k.remote, k.local, k.lport}, {k.proto, netip.Addr{}, k.local, k.lport}}
}

// pending returns what may come.
func (r *reference) pending(k refKey) (list []*refPending) {
	for _, e := range announcedBy(k) {
		if !e.remote.IsValid() && r.isOwn(k.remote) { // hosts inside come from inside
			continue
		}
		for _, p := range r.expect[e] {
			if r.now <= p.until && !p.asleep {
				list = append(list, p)
			}
		}
	}
	return list
}

// drop forgets what was announced and is not any more.
func (r *reference) drop(gone func(refExpect, *refPending) bool) {
	for e, list := range r.expect {
		list = slices.DeleteFunc(list, func(p *refPending) bool { return gone(e, p) })
		if r.expect[e] = list; len(list) == 0 {
			delete(r.expect, e)
		}
	}
}

// fulfilled notes that an announced connection has come: it does so once.
func (r *reference) fulfilled(k refKey, to refLead) {
	if to.by == nil {
		return
	}
	either := announcedBy(k)
	r.drop(func(e refExpect, p *refPending) bool {
		return (e == either[0] || e == either[1]) && p.refEnd == to.refEnd && p.way == to.by.way && !p.stays
	})
}

// isOwn tells whether an address is one of those that hosts inside have outside.
func (r *reference) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(r.rules, func(rule nat.DNATRule) bool { return rule.Addr == a }) ||
		slices.ContainsFunc(r.pools, func(p nat.Pool) bool { return p.First.Compare(a) <= 0 && a.Compare(p.Last) <= 0 })
}

// from is whom an announcement is for: one host or, if it is loose, any.
func (r *reference) from(way refWay, remote netip.Addr) netip.Addr {
	if r.loose[way] {
		return netip.Addr{}
	}
	return remote
}

// mayName decides whether a host may announce a place.
func (r *reference) mayName(way refWay, by, host netip.Addr, port uint16) bool {
	other := r.loose[way] && r.isInside(host) && host.Is4() == by.Is4() && host != lanAddr && host != lan6Addr
	return (host == by || other) && port >= 1024
}

// payload is what a datagram carries.
func (v *view) payload() string { return string(v.ip[v.l4+8:]) }

var (
	sdpPlace    = regexp.MustCompile(`c=IN IP[46] (\S+)`)
	sdpMedia    = regexp.MustCompile(`m=audio (\d+) `)
	sipContact  = regexp.MustCompile(`Contact: <sip:a@([^>]+)>`)
	sipLifetime = regexp.MustCompile(`xpires[=:] ?(\d+)`)
)

// fieldOf returns a field of a message.
func fieldOf(text, name string) string {
	_, rest, _ := strings.Cut(text, "\r\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// mediaAt returns where a message asks to speak to.
func mediaAt(text string) (a netip.AddrPort, ok bool) {
	c, m := sdpPlace.FindStringSubmatch(text), sdpMedia.FindStringSubmatch(text)
	if c == nil || m == nil {
		return a, false
	}
	addr, err := netip.ParseAddr(c[1])
	port, err2 := strconv.ParseUint(m[1], 10, 16)
	return netip.AddrPortFrom(addr, uint16(port)), err == nil && err2 == nil
}

// contactIn returns where a message asks to be called.
func contactIn(text string) (a netip.AddrPort, ok bool) {
	m := sipContact.FindStringSubmatch(text)
	if m == nil {
		return a, false
	}
	a, err := netip.ParseAddrPort(m[1])
	return a, err == nil
}

// hears reads what a host inside has said, and how that looks outside.
func (r *reference) hears(k refKey, f *refFlow, before, after *view) string {
	if k.proto != 17 || before.fragment {
		return ""
	}
	said, shown := before.payload(), after.payload()
	switch {
	case k.rport == 69 && (strings.HasPrefix(said, "\x00\x01") || strings.HasPrefix(said, "\x00\x02")):
		r.announce(refExpect{17, k.remote, k.local, k.lport}, &refPending{refEnd: before.source(), way: refTFTP, until: r.now + 301*time.Second, by: k, peer: k.remote, shown: before.dst})
	case f.text:
		return r.hearsSIP(k, before, after, said, shown)
	}
	return ""
}

// hearsSIP does so for a message of SIP.
func (r *reference) hearsSIP(k refKey, before, after *view, said, shown string) string {
	if k.rport == 5060 && !strings.HasPrefix(said, "SIP/2.0 ") && strings.Contains(fieldOf(said, "Via"), before.src.String()) &&
		!strings.Contains(fieldOf(shown, "Via"), after.src.String()) {
		return fmt.Sprintf("sent from %v:\n%s", after.src, shown)
	}
	call := fieldOf(said, "Call-ID")
	ofCall := func(_ refExpect, p *refPending) bool { return p.way == refMedia && p.by == k && p.call == call }
	if strings.HasPrefix(said, "BYE ") {
		r.drop(ofCall)
	}
	if strings.HasPrefix(said, "SIP/2.0 ") {
		r.prolong(k)
	}
	named, ok := mediaAt(said)
	there, ok2 := mediaAt(shown)
	if ok && ok2 {
		r.drop(ofCall)
		if r.mayName(refMedia, before.src, named.Addr(), named.Port()) {
			for i := range uint16(2) {
				r.announce(refExpect{17, r.from(refMedia, k.remote), there.Addr(), there.Port() + i},
					&refPending{refEnd: refEnd{named.Addr(), named.Port() + i}, way: refMedia, until: r.now + 181*time.Second, by: k, call: call,
						peer: k.remote, shown: before.dst, foreign: named.Addr() != before.src})
			}
		}
	}
	if own, ok := contactIn(said); ok && strings.HasPrefix(said, "REGISTER ") && r.mayName(refMedia, before.src, own.Addr(), own.Port()) {
		there, _ := contactIn(shown)
		e := refExpect{17, r.from(refMedia, k.remote), there.Addr(), there.Port()}
		for _, p := range r.expect[e] { // one that is ended, for all that we know
			if p.by == k && p.way == refCall {
				p.until = max(p.until, r.now+181*time.Second)
			}
		}
		r.announce(e, &refPending{refEnd: refEnd{own.Addr(), own.Port()}, way: refCall, until: r.now + 181*time.Second, stays: true, asleep: true, by: k,
			peer: k.remote, shown: before.dst, foreign: own.Addr() != before.src})
	}
	return ""
}

// prolong lets the media of a flow's calls be waited for: it rings.
func (r *reference) prolong(k refKey) {
	for _, list := range r.expect {
		for _, p := range list {
			if p.by == k && p.way == refMedia && r.now <= p.until {
				p.until = r.now + 181*time.Second
			}
		}
	}
}

// told notes what one outside says to a host inside that has asked it: it can grant a
// registration, or let a call ring.
func (r *reference) told(k refKey, in *view, f *refFlow) {
	text := ""
	if k.proto == 17 && f.text {
		text = in.payload()
	}
	if !strings.HasPrefix(text, "SIP/2.0 ") {
		return
	}
	r.prolong(k)
	if !strings.HasPrefix(text, "SIP/2.0 2") || !strings.HasSuffix(fieldOf(text, "CSeq"), " REGISTER") {
		return
	}
	seconds := uint64(0)
	for _, m := range sipLifetime.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseUint(m[1], 10, 32)
		seconds = max(seconds, min(n, 86400))
	}
	if seconds == 0 {
		seconds = 3600
	}
	for _, list := range r.expect {
		for _, p := range list {
			if p.by == k && p.way == refCall && r.now <= p.until {
				p.asleep, p.until = false, max(p.until, r.now+time.Duration(seconds+1)*time.Second)
			}
		}
	}
}
