package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
)

// lineClass is what the start of a line says about who speaks.
type lineClass uint8

const (
	lineOpen  lineClass = iota // too short to tell
	lineFTP                    // fits FTP
	lineOther                  // is not FTP
)

// classify looks at line b of direction d and notes what it says about the
// lines to come. It is called until it does not return lineOpen, and then no
// more for the line.
func (s *ftpState) classify(d flowtable.Dir, b []byte) lineClass {
	if d == flowtable.DirReply {
		return s.classifyReply(b)
	}
	return s.classifyCommand(b)
}

// Telnet codes that may stand before a command (RFC 959 section 4.1.3, RFC 854).
const (
	telnetIAC  = 0xff
	telnetWILL = 0xfb // from here on with an option
)

// skipTelnet skips telnet signals, which clients send before ABOR.
func skipTelnet(b []byte) []byte {
	for len(b) >= 2 && b[0] == telnetIAC && b[1] != telnetIAC {
		n := 2
		if b[1] >= telnetWILL {
			n = 3
		}
		b = b[min(n, len(b)):]
	}
	return b
}

// maxVerb is the longest name of a command, bytes: XSHA256 and its like.
const maxVerb = 8

// classifyCommand: a command is a name, and a blank or the end of the line. The
// first one must have a name that FTP knows: neither a request of HTTP nor what
// a browser can be made to send in other protocols begins with one.
func (s *ftpState) classifyCommand(b []byte) lineClass {
	const d = flowtable.DirOriginal
	b = skipTelnet(b)
	if len(b) == 0 || len(b) == 1 && b[0] == telnetIAC {
		return lineOpen
	}
	verb, n := readVerb(b)
	switch {
	case n == len(b) && n <= maxVerb:
		return lineOpen
	case n == 0 && s.has(d, flagSeen) && endsWord(b[0]) && b[0] != ' ':
		return lineFTP
	case n < 3 || n > maxVerb || !endsWord(b[n]), !s.has(d, flagSeen) && !knownVerb(verb[:n]):
		return lineOther
	}
	s.set(d, flagSeen)
	return lineFTP
}

// readVerb returns the name that a line begins with, in upper case, and its length;
// of one that is too long, a length of more than maxVerb.
func readVerb(b []byte) (verb [maxVerb]byte, n int) {
	for ; n < len(b) && isVerbByte(b[n]); n++ {
		if n == maxVerb {
			return verb, n + 1
		}
		if verb[n] = b[n]; b[n] >= 'a' {
			verb[n] -= 'a' - 'A'
		}
	}
	return verb, n
}

// endsWord tells whether a character may follow the name of a command.
func endsWord(ch byte) bool { return ch == ' ' || ch == '\r' || ch == '\n' }

func isVerbByte(ch byte) bool {
	return ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z' || isDigit(ch)
}

// knownVerb tells whether a name in upper case is one of the commands of RFC
// 959, 775, 2228, 2389, 2428, 2640, 3659 or 7151.
func knownVerb(b []byte) bool {
	switch string(b) {
	case "USER", "PASS", "ACCT", "CWD", "CDUP", "SMNT", "QUIT", "REIN", "PORT", "PASV", "TYPE", "STRU", "MODE",
		"RETR", "STOR", "STOU", "APPE", "ALLO", "REST", "RNFR", "RNTO", "ABOR", "DELE", "RMD", "MKD", "PWD",
		"LIST", "NLST", "SITE", "SYST", "STAT", "HELP", "NOOP", "XCWD", "XMKD", "XRMD", "XPWD", "XCUP",
		"AUTH", "ADAT", "PROT", "PBSZ", "CCC", "MIC", "CONF", "ENC", "FEAT", "OPTS", "EPRT", "EPSV", "LANG",
		"SIZE", "MDTM", "MLST", "MLSD", "HOST", "CLNT":
		return true
	}
	return false
}

// replyTLS is the answer that turns the connection to TLS (RFC 4217 section 4).
const replyTLS = 234

// classifyReply: a reply is three digits and a blank, or a hyphen if more lines
// follow up to the one with the same digits and a blank (RFC 959 section 4.2).
// Lines in between may say anything, and announce nothing. The first reply of
// all is a greeting, or a refusal.
func (s *ftpState) classifyReply(b []byte) lineClass {
	const d = flowtable.DirReply
	multi := s[ftpMulti]
	code, n := readCode(b)
	switch {
	case n == len(b):
		return lineOpen
	case multi != 0 && (n < 3 || code != multi || b[3] != ' '):
		return lineFTP
	case n < 3 || !isReply(code) || b[3] != '-' && !endsWord(b[3]):
		return lineOther
	case s.has(d, flagFresh) && !s.has(d, flagSeen) && !isGreeting(code):
		return lineOther
	}
	s.set(d, flagSeen)
	s[ftpMulti] = 0
	if b[3] == '-' {
		s[ftpMulti] = code
	} else if code == replyTLS {
		s[ftpFlags] |= flagTLS
	}
	return lineFTP
}

// readCode returns the number that a line begins with, of up to three digits, and
// how many it has.
func readCode(b []byte) (code uint32, n int) {
	for n < len(b) && n < 3 && isDigit(b[n]) {
		code = code*10 + uint32(b[n]-'0')
		n++
	}
	return code, n
}

// isGreeting tells whether a server may say this first: that it is ready, or will be,
// or that it refuses.
func isGreeting(code uint32) bool { return code == 220 || code == 120 || code >= 400 }

// isReply tells whether a number can be that of a reply (RFC 959 section 4.2; 6 is
// that of RFC 2228).
func isReply(code uint32) bool { return code >= 100 && code <= 699 }
