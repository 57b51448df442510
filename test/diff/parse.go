package diff

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse reads scripts from text. A line is one of
//
//	# comment
//	script NAME              begins a script
//	on PROFILE...            the configurations that it runs with; snat unless given
//	family 4 | 6 | 4 6       the IP version; with both, the script counts twice
//	wait DURATION            nothing happens for a while
//	differs NAME             the step before differs by this deviation
//	PROTO HOST[:PORT] > HOST[:PORT] WORD... [quoting (PACKET)]
//
// Hosts: client, client2, hop (a router) and target (of the DNAT rules) inside; server,
// server2 and router outside; nat and vip, the addresses of NAT. Words of all
// packets:
//
//	ttl=N tos=N df ipid=N        IP header
//	len=N | data=TEXT | hex=HEX  payload, or N bytes of a pattern
//	badsum, badipsum             a wrong checksum, of L4 or of the IP header
//	part=FROM:TO                 only these bytes of the IP payload, as a fragment
//	cut=N                        the frame ends after N bytes of the IP packet
//	iplen=N, ihl=N               IP length (IPv6: payload length); IPv4 header words
//	ipopts=HEX, ext=LIST         IPv4 options; IPv6 extension headers: hop, dst, route
//	direct                       an inside address is not shown by its translation
//	via=client|server            the end that sends, where the source does not tell
//
// Words of TCP: flags first (letters of SAFRPUEC, or 0), seq=N ack=N win=N mss=N
// wscale=N sackok ts=N/N sack=N-N[,N-N] doff=N urg=N. Of UDP and udplite: ulen=N nosum. Of ICMP:
// the type by name (echo, reply, unreach ...) or type=N, code=N id=N icmpseq=N mtu=N,
// quote=N: of the quoted packet only N bytes. Of SCTP: the name of the chunk (init,
// init_ack, cookie_echo ...), vtag=N itag=N. Of GRE: key=N. Of ip: proto=N.
func Parse(text string) ([]*Script, error) {
	var scripts []*Script
	var s *Script
	families := []int{4}
	finish := func() {
		if s != nil {
			scripts = append(scripts, forFamilies(s, families)...)
		}
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "script" {
			finish()
			s, families = &Script{Name: rest, Profiles: []string{"snat"}}, []int{4}
			continue
		}
		if s == nil {
			return nil, fmt.Errorf("line %d: %q stands before the first script", i+1, line)
		}
		var err error
		if word == "family" {
			families, err = parseFamilies(rest)
		} else {
			err = s.parseLine(word, rest, line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
	}
	finish()
	return scripts, nil
}

func parseFamilies(text string) (families []int, err error) {
	for _, f := range strings.Fields(text) {
		if f != "4" && f != "6" {
			return nil, fmt.Errorf("family %s: 4 or 6", f)
		}
		families = append(families, int(f[0]-'0'))
	}
	return families, nil
}

// forFamilies makes a script for each family; two of them get names of their own.
func forFamilies(s *Script, families []int) (scripts []*Script) {
	for _, f := range families {
		c := *s
		c.Family = f
		if len(families) > 1 {
			c.Name += "/v" + strconv.Itoa(f)
		}
		scripts = append(scripts, &c)
	}
	return scripts
}

func (s *Script) parseLine(word, rest, line string) (err error) {
	switch word {
	case "on":
		s.Profiles = strings.Fields(rest)
	case "wait":
		var step Step
		step.Wait, err = time.ParseDuration(rest)
		s.Steps = append(s.Steps, step)
	case "differs":
		if len(s.Steps) == 0 {
			return fmt.Errorf("no step before it")
		}
		s.Steps[len(s.Steps)-1].Differs = rest
	default:
		var p *Packet
		p, err = ParsePacket(line)
		s.Steps = append(s.Steps, Step{Packet: p})
	}
	return err
}

// kinds of words.
const (
	wordFlag = iota
	wordNumber
	wordText
)

var generalWords = map[string]int{
	"ttl": wordNumber, "tos": wordNumber, "df": wordFlag, "ipid": wordNumber,
	"len": wordNumber, "data": wordText, "hex": wordText,
	"badsum": wordFlag, "badipsum": wordFlag, "part": wordText, "cut": wordNumber,
	"iplen": wordNumber, "ihl": wordNumber, "ipopts": wordText, "ext": wordText,
	"direct": wordFlag, "via": wordText,
}

var protocolWords = map[string]map[string]int{
	"tcp": {"seq": wordNumber, "ack": wordNumber, "win": wordNumber, "mss": wordNumber, "wscale": wordNumber,
		"sackok": wordFlag, "ts": wordText, "sack": wordText, "doff": wordNumber, "urg": wordNumber},
	"udp":     {"ulen": wordNumber, "nosum": wordFlag},
	"udplite": {"ulen": wordNumber, "nosum": wordFlag},
	"icmp":    {"type": wordNumber, "code": wordNumber, "id": wordNumber, "icmpseq": wordNumber, "mtu": wordNumber, "quote": wordNumber},
	"sctp":    {"vtag": wordNumber, "itag": wordNumber},
	"gre":     {"key": wordNumber},
	"ip":      {"proto": wordNumber},
}

// ParsePacket reads one packet.
func ParsePacket(text string) (*Packet, error) {
	head, quoted, isError := strings.Cut(text, " quoting (")
	f := strings.Fields(head)
	if len(f) < 4 || f[2] != ">" {
		return nil, fmt.Errorf("not PROTO HOST > HOST")
	}
	p := &Packet{Proto: f[0]}
	words, known := protocolWords[p.Proto]
	if !known {
		return nil, fmt.Errorf("no protocol %q", p.Proto)
	}
	var err error
	if p.Src, err = parseEndpoint(f[1]); err != nil {
		return nil, err
	}
	if p.Dst, err = parseEndpoint(f[3]); err != nil {
		return nil, err
	}
	for i, field := range f[4:] {
		w, err := parseWord(p.Proto, field, i, words)
		if err != nil {
			return nil, err
		}
		p.Words = append(p.Words, w)
	}
	if isError {
		if p.Quoted, err = ParsePacket(strings.TrimSuffix(quoted, ")")); err != nil {
			return nil, fmt.Errorf("quoted: %w", err)
		}
	}
	return p, nil
}

func parseEndpoint(text string) (Endpoint, error) {
	host, port, hasPort := strings.Cut(text, ":")
	e := Endpoint{Host: host}
	if !slices.Contains(hostNames, host) {
		return e, fmt.Errorf("no host %q", host)
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return e, fmt.Errorf("port %q: %w", port, err)
		}
		e.Port = uint16(n)
	}
	return e, nil
}

func parseWord(proto, field string, position int, words map[string]int) (Word, error) {
	key, value, hasValue := strings.Cut(field, "=")
	w := Word{key, value}
	if !hasValue && isName(proto, key, position) {
		return w, nil
	}
	kind, known := words[key]
	if !known {
		kind, known = generalWords[key]
	}
	switch {
	case !known:
		return w, fmt.Errorf("no word %q", key)
	case hasValue != (kind != wordFlag):
		return w, fmt.Errorf("word %q: with a value, or without?", field)
	case kind == wordNumber:
		if _, err := strconv.ParseUint(value, 0, 32); err != nil {
			return w, fmt.Errorf("%s: %w", field, err)
		}
	case key == "hex" || key == "ipopts":
		if _, err := hex.DecodeString(value); err != nil {
			return w, fmt.Errorf("%s: %w", field, err)
		}
	}
	return w, nil
}

// isName tells whether a word names TCP flags, an ICMP type or a chunk of SCTP.
func isName(proto, word string, position int) bool {
	switch proto {
	case "tcp":
		return position == 0 && (word == "0" || strings.Trim(word, flagLetters) == "")
	case "icmp":
		_, ok := icmpTypes[4][word]
		_, ok6 := icmpTypes[6][word]
		return ok || ok6
	case "sctp":
		_, ok := sctpChunks[word]
		return ok
	}
	return false
}

// flagLetters are the TCP flags from bit 0 on.
const flagLetters = "FSRPAUEC"

// icmpTypes are the types by family and name.
var icmpTypes = map[int]map[string]uint8{
	4: {"reply": 0, "unreach": 3, "quench": 4, "redirect": 5, "echo": 8, "advert": 9, "solicit": 10,
		"exceeded": 11, "param": 12, "timestamp": 13, "timestamp_reply": 14, "info": 15, "info_reply": 16,
		"mask": 17, "mask_reply": 18},
	6: {"unreach": 1, "toobig": 2, "exceeded": 3, "param": 4, "echo": 128, "reply": 129, "listener_query": 130,
		"listener_report": 131, "solicit": 133, "advert": 134, "neighbour_solicit": 135, "neighbour_advert": 136,
		"redirect": 137, "info": 139, "info_reply": 140},
}

// sctpChunks are the chunk types by name (RFC 9260 section 3.2).
var sctpChunks = map[string]uint8{"data": 0, "init": 1, "init_ack": 2, "sack_chunk": 3, "heartbeat": 4, "heartbeat_ack": 5,
	"abort": 6, "shutdown": 7, "shutdown_ack": 8, "error": 9, "cookie_echo": 10, "cookie_ack": 11, "shutdown_complete": 14}
