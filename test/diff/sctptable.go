package diff

import (
	"fmt"
	"slices"
	"strings"
)

// sctpAssociation are the chunks that open an association, as DIRECTION CHUNK.
var sctpAssociation = []string{"c init", "s init_ack", "c cookie_echo", "s cookie_ack"}

// sctpStates are ways into each state of the kernel's SCTP table.
var sctpStates = []struct {
	name string
	path []string
}{
	{"none", nil},
	{"cookie-wait", sctpAssociation[:1]},
	{"cookie-wait-answered", sctpAssociation[:2]},
	{"cookie-echoed", sctpAssociation[:3]},
	{"established", sctpAssociation},
	{"shutdown-sent", after(sctpAssociation, "c shutdown")},
	{"shutdown-received", after(sctpAssociation, "s shutdown")},
	{"shutdown-ack-sent", after(sctpAssociation, "c shutdown", "s shutdown_ack")},
	{"shutdown-ack-sent-by-client", after(sctpAssociation, "s shutdown", "c shutdown_ack")},
	{"closed", after(sctpAssociation, "c abort")},
	{"ended", after(sctpAssociation, "c shutdown", "s shutdown_ack", "c shutdown_complete")},
	{"heartbeat-sent", []string{"c heartbeat"}},
	{"heartbeat-answered", []string{"c heartbeat", "s heartbeat_ack"}},
	{"picked-up", []string{"c data"}},
}

// SCTPTable makes a script for each state, direction, kind of chunk and right and
// wrong verification tag. After the chunk both sides send data.
func SCTPTable() (scripts []*Script) {
	var chunks []string
	for name := range sctpChunks {
		chunks = append(chunks, name)
	}
	slices.Sort(chunks)
	for _, state := range sctpStates {
		for _, from := range []string{"c", "s"} {
			for _, chunk := range chunks {
				for _, tag := range []string{"right", "wrong", "zero"} {
					var steps []Step
					for _, step := range state.path {
						d, c, _ := strings.Cut(step, " ")
						steps = append(steps, sctpStep(d, c, "right"))
					}
					steps = append(steps, sctpStep(from, chunk, tag), sctpStep("s", "data", "right"), sctpStep("c", "data", "right"))
					scripts = append(scripts, &Script{
						Name:     fmt.Sprintf("%s/%s/%s-%s-tag", state.name, map[string]string{"c": "client", "s": "server"}[from], chunk, tag),
						Profiles: []string{"snat"}, Family: 4, Steps: steps,
					})
				}
			}
		}
	}
	return scripts
}

// Tags that client and server expect.
const (
	clientTag = 11
	serverTag = 22
)

// sctpStep is a packet with one chunk.
func sctpStep(from, chunk, tag string) Step {
	p := &Packet{Proto: "sctp", Src: Endpoint{"client", 7000}, Dst: Endpoint{"server", 9}, Words: []Word{{Key: chunk}}}
	own, peer := clientTag, serverTag
	if from == "s" {
		p.Src, p.Dst = p.Dst, p.Src
		own, peer = peer, own
	}
	vtag := map[string]int{"right": peer, "wrong": 99, "zero": 0}[tag]
	if chunk == "init" && tag != "zero" { // right is 0 here
		vtag = map[string]int{"right": 0, "wrong": peer}[tag]
	}
	p.Set("vtag", fmt.Sprint(vtag))
	if chunk == "init" || chunk == "init_ack" {
		p.Set("itag", fmt.Sprint(own))
	}
	if chunk == "data" {
		p.Set("len", "20")
	}
	return Step{Packet: p}
}
