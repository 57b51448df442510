package helpers

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// FuzzSDP feeds the grammar of session descriptions: what it finds must be what the
// slow, obvious way finds, and lie where it says.
func FuzzSDP(f *testing.F) {
	f.Add("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=x\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4010 IN IP4 10.0.0.2\r\n", false)
	f.Add("v=0\nc=IN IP6 fd00::1\nm=image 6000 udptl t38\nm=video 6002/2 UDP/TLS/RTP/SAVPF 96\nc=IN IP6 fd00::2", true)
	f.Add("v=0\r\nm=audio 0 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", false)
	f.Fuzz(func(t *testing.T, text string, v6 bool) {
		if len(text) > 1400 {
			return
		}
		family := packet.IPv4
		if v6 {
			family = packet.IPv6
		}
		const lead = "head"
		var d sdp
		cause := parseSDP(&d, []byte(lead+text), len(lead), family)
		want, ok := slowSDP(text, family)
		if ok != (cause == CauseNone) {
			t.Fatalf("cause %v of\n%q\nthe slow way says %v", cause, text, ok)
		}
		if !ok {
			return
		}
		if got := d.summary(lead+text, family); got != want {
			t.Fatalf("got\n%s\nwant\n%s\nof\n%q", got, want, text)
		}
	})
}

// summary says what a description says, from the places that were found.
func (d *sdp) summary(text string, family packet.Family) string {
	at := func(a *sdpAddr) string {
		if a.n == 0 {
			return "-"
		}
		if a.addr.IsZero() {
			return "?"
		}
		if got := a.addr.Netip(family); netip.MustParseAddr(string(a.of([]byte(text)))) != got {
			return "not where it says"
		}
		return a.addr.Netip(family).String()
	}
	s := at(&d.origin) + " " + at(&d.session)
	for i := range d.streams[:d.n] {
		x := &d.streams[i]
		s += fmt.Sprintf("\n%d %v %s=%d %s %s=%d %s", x.class, x.alone, x.portAt.of([]byte(text)), x.port, at(&x.addr),
			x.rtcpAt.of([]byte(text)), x.rtcp, at(&x.rtcpAddr))
	}
	return s
}

var (
	slowAddr  = regexp.MustCompile(`^IN IP([46]) ([^ ]+)$`)
	slowMedia = regexp.MustCompile(`^([^ ]*) (\d{1,10})(/[^ ]*)? ([^ ]*) .+$`)
	slowRTCP  = regexp.MustCompile(`^(\d{1,10})(?: (.+))?$`)
)

// slowSDP is parseSDP and summary the slow, obvious way.
func slowSDP(text string, family packet.Family) (string, bool) {
	origin, session, bad := "-", "-", false
	type medium struct{ head, addr, rtcp, rtcpAddr string }
	var media []*medium
	addr := func(old *string, value string) {
		m := slowAddr.FindStringSubmatch(value)
		if m == nil || *old != "-" {
			bad = true
			return
		}
		*old = "?"
		a, err := netip.ParseAddr(m[2])
		if err == nil && a.Zone() == "" && !a.Is4In6() && a.Is6() == (family == packet.IPv6) && (m[1] == "6") == a.Is6() && !a.IsUnspecified() {
			*old = a.String()
		}
	}
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		bad = bad || err != nil || n > 65535
		return n
	}
	lines := strings.Split(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if len(line) < 2 || line[1] != '=' || strings.Contains(line, "\r") || (line[0] == 'v') != (i == 0) {
			return "", false
		}
		value := line[2:]
		switch {
		case line[0] == 'o' && len(media) > 0:
			return "", false
		case line[0] == 'o':
			f := strings.SplitN(value, " ", 4)
			if len(f) < 4 {
				return "", false
			}
			addr(&origin, f[3])
		case line[0] == 'c' && len(media) > 0:
			addr(&media[len(media)-1].addr, value)
		case line[0] == 'c':
			addr(&session, value)
		case line[0] == 'm':
			m := slowMedia.FindStringSubmatch(value)
			if m == nil || len(media) == maxMedia {
				return "", false
			}
			proto := strings.ToUpper(m[4])
			alone := proto == "UDPTL"
			class := map[string]int{"audio": sipAudio, "video": sipVideo, "image": sipImage}[m[1]]
			if !alone && !strings.HasPrefix(proto, "RTP/") && !strings.HasPrefix(proto, "UDP/") {
				class = 0
			}
			media = append(media, &medium{fmt.Sprintf("%d %v %s=%d", class, alone, m[2], number(m[2])), "-", "=0", "-"})
		case line[0] == 'a' && strings.HasPrefix(value, "rtcp:") && len(media) > 0:
			last, m := media[len(media)-1], slowRTCP.FindStringSubmatch(value[5:])
			if m == nil || last.rtcp != "=0" || number(m[1]) == 0 {
				return "", false
			}
			last.rtcp = fmt.Sprintf("%s=%d", m[1], number(m[1]))
			if m[2] != "" {
				addr(&last.rtcpAddr, m[2])
			}
		}
		if bad {
			return "", false
		}
	}
	s := origin + " " + session
	for _, m := range media {
		s += "\n" + m.head + " " + m.addr + " " + m.rtcp + " " + m.rtcpAddr
	}
	return s, true
}
