package diff

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// randomEnds are two endpoints that talk, seen from inside.
func randomEnds(r *rand.Rand, clientPorts, serverPorts []uint16) (in, out Endpoint) {
	in = Endpoint{[]string{"client", "client2"}[r.IntN(2)], clientPorts[r.IntN(len(clientPorts))]}
	out = Endpoint{[]string{"server", "server2"}[r.IntN(2)], serverPorts[r.IntN(len(serverPorts))]}
	return in, out
}

// randomUDP makes datagrams between a few hosts and ports, so that some clash, and
// errors about them. In the middle there is a pause that makes streams of flows: two
// seconds after their first packet, which no flow should be by chance.
func randomUDP(r *rand.Rand) (steps []Step) {
	for i := range randomSteps {
		if i == randomSteps/2 {
			steps = append(steps, Step{Wait: 2500 * time.Millisecond})
		}
		in, out := randomEnds(r, []uint16{5000, 5001, 100, 600}, []uint16{53, 54})
		there := &Packet{Proto: "udp", Src: in, Dst: out}
		back := &Packet{Proto: "udp", Src: out, Dst: in}
		p := []*Packet{there, there, there, back, back}[r.IntN(5)]
		p.Set("len", fmt.Sprint(r.IntN(200)))
		switch r.IntN(12) {
		case 0:
			p.Words = append(p.Words, Word{Key: "badsum"})
		case 1:
			p.Words = append(p.Words, Word{Key: "nosum"})
		case 2:
			steps = append(steps, Step{Packet: p})
			p = randomError(r, p)
		}
		steps = append(steps, Step{Packet: p})
	}
	return steps
}

// randomError is an ICMP error about a packet, by its receiver or a router there.
func randomError(r *rand.Rand, about *Packet) *Packet {
	from := Endpoint{Host: about.Dst.Host}
	if r.IntN(2) == 0 {
		from.Host = map[Side]string{Inside: "hop", Outside: "router"}[sideOf(about.Dst.Host)]
	}
	kinds := []string{"unreach", "exceeded", "param"}
	p := &Packet{Proto: "icmp", Src: from, Dst: Endpoint{Host: about.Src.Host}, Quoted: about.Clone(),
		Words: []Word{{Key: kinds[r.IntN(len(kinds))]}}}
	p.Set("code", fmt.Sprint(r.IntN(2)))
	if r.IntN(2) == 0 {
		p.Set("quote", fmt.Sprint([]int{28, 40, 48, 20}[r.IntN(4)]))
	}
	return p
}

// randomICMP makes queries and answers with few ids, and errors about them.
func randomICMP(r *rand.Rand, family int) (steps []Step) {
	other := [2]string{"info", "info_reply"} // a second kind of query
	if family == 6 {
		other = [2]string{"echo", "reply"} // see node-information-nat in docs/deviations.md
	}
	for range randomSteps {
		in, out := randomEnds(r, []uint16{0}, []uint16{0})
		p := &Packet{Proto: "icmp", Src: in, Dst: out, Words: []Word{{Key: []string{"echo", "echo", "echo", other[0]}[r.IntN(4)]}}}
		if r.IntN(5) < 2 {
			p = &Packet{Proto: "icmp", Src: out, Dst: in, Words: []Word{{Key: []string{"reply", "reply", other[1]}[r.IntN(3)]}}}
		}
		p.Set("id", fmt.Sprint(1+r.IntN(3)))
		p.Set("icmpseq", fmt.Sprint(r.IntN(4)))
		p.Set("len", fmt.Sprint(r.IntN(100)))
		switch r.IntN(12) {
		case 0:
			p.Words = append(p.Words, Word{Key: "badsum"})
		case 1:
			p.Set("code", "1")
		case 2:
			steps = append(steps, Step{Packet: p})
			p = randomError(r, p)
		}
		steps = append(steps, Step{Packet: p})
	}
	return steps
}

// randomSCTP makes associations that open, close and are mixed up.
func randomSCTP(r *rand.Rand) (steps []Step) {
	honest := after(sctpAssociation, "c data", "s data", "c shutdown", "s shutdown_ack", "c shutdown_complete")
	var chunks []string
	for name := range sctpChunks {
		chunks = append(chunks, name)
	}
	slices.Sort(chunks)
	for next := 0; len(steps) < randomSteps; next++ {
		from, chunk := honest[next%len(honest)][:1], honest[next%len(honest)][2:]
		switch r.IntN(8) {
		case 0: // lost
			continue
		case 1:
			chunk = chunks[r.IntN(len(chunks))]
		case 2:
			from = []string{"c", "s"}[r.IntN(2)]
		case 3: // stays where it is
			next--
		}
		tag := []string{"right", "right", "right", "right", "right", "wrong", "zero"}[r.IntN(7)]
		if chunk == "heartbeat" || chunk == "heartbeat_ack" {
			tag = "right" // see sctp-strange-tags in docs/deviations.md
		}
		steps = append(steps, sctpStep(from, chunk, tag))
	}
	return steps
}

// randomFragments makes datagrams in pieces that come in any order, some of them
// twice, not at all, or across the end of another.
func randomFragments(r *rand.Rand) (steps []Step) {
	for id := 1; len(steps) < randomSteps; id++ {
		in, out := randomEnds(r, []uint16{5000, 5001}, []uint16{53})
		length := 8 * (5 + r.IntN(40)) // of the payload; the header makes 8 more
		p := &Packet{Proto: "udp", Src: in, Dst: out}
		if r.IntN(3) == 0 {
			p.Src, p.Dst = out, in
		}
		p.Set("len", fmt.Sprint(length))
		p.Set("ipid", fmt.Sprint(id))
		cuts := []int{0, 8 + length}
		for range 1 + r.IntN(3) {
			cuts = append(cuts, 8*(1+r.IntN(length/8)))
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		var pieces []Step
		for i := 1; i < len(cuts); i++ {
			from, to := cuts[i-1], cuts[i]
			if r.IntN(12) == 0 {
				from = max(from-8, 0)
			}
			piece := p.Clone()
			piece.Set("part", fmt.Sprintf("%d:%d", from, to))
			if r.IntN(12) > 0 {
				pieces = append(pieces, Step{Packet: piece})
			}
			if r.IntN(8) == 0 {
				pieces = append(pieces, Step{Packet: piece})
			}
		}
		r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		steps = append(steps, pieces...)
	}
	return steps
}
