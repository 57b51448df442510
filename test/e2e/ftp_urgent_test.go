package e2e

import (
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// urgentServer prints what a client says: the text and apart from it the urgent byte,
// which TCP takes out of the stream where the urgent pointer shows.
const urgentServer = `
import select, socket
s = socket.create_server(("203.0.113.47", 21))
print("ready", flush=True)
c, _ = s.accept()
c.send(b"220 ready\r\n")
assert c.recv(100) == b"USER x\r\n"
c.send(b"230 hello\r\n")
text, urgent = b"", b""
while not text.endswith(b"ABOR\r\n"):
    r, _, x = select.select([c], [], [] if urgent else [c], 20)
    if x:
        urgent = c.recv(1, socket.MSG_OOB)
    elif r:
        text += c.recv(1) # not past a byte that turns out to be urgent later
    else:
        break
print(text, urgent, flush=True)
c.send(b"226 done\r\n")
`

// urgentClient announces and breaks off at once, with the signals of telnet: in a segment
// for each of its arguments, the last but one with urgent data.
const urgentClient = `
import socket, sys
*texts, last, abort = [s.encode("latin-1").decode("unicode_escape").encode("latin-1") for s in sys.argv[1:]]
c = socket.create_connection(("203.0.113.47", 21))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
assert c.recv(100) == b"220 ready\r\n"
c.send(b"USER x\r\n")
assert c.recv(100) == b"230 hello\r\n"
for text in texts:
    c.send(text)
c.send(last, socket.MSG_OOB)
c.send(abort)
c.recv(100)
`

// losePORT loses the first segment with a PORT command on its way out, without the
// sender's TCP hearing of it.
const losePORT = `
table netdev bad {
	chain out {
		type filter hook egress device "eth0" priority 0
		tcp dport 21 @th,256,32 0x504f5254 limit rate 1/day burst 1 packets fwd to "lo"
	}
}
`

const portText, telnetText = `PORT 10,1,2,3,100,0\r\n`, `\xff\xf4\xff`

// TestFTPUrgentLost: urgent data stay where they are when the text before them grows. The
// PORT command is lost, so that its repetition has an urgent pointer to what was sent
// behind it.
func TestFTPUrgentLost(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Client.Run(t, "nft", losePORT)
		checkUrgent(t, l, portText, telnetText, `\xf2`)
	})
}

// TestFTPUrgentTogether: the same, where PORT and the urgent data come in one segment.
func TestFTPUrgentTogether(t *testing.T) {
	lab.NeedsXDPCT(t) // the kernel leaves the pointer: a CR becomes urgent, and the signal text
	eachQueues(t, func(t *testing.T, l *lab.Lab) { checkUrgent(t, l, portText+telnetText+`\xf2`) })
}

// checkUrgent lets a client send segments with urgent data in the last.
func checkUrgent(t *testing.T, l *lab.Lab, segments ...string) {
	t.Helper()
	l.StartGateway(t, snat()...)
	server := l.Server.Start(t, "/usr/bin/python3", "-c", urgentServer)
	server.WaitOutput(t, "ready", 5*time.Second)
	l.Client.Run(t, append(append([]string{"/usr/bin/python3", "-c", urgentClient}, segments...), `ABOR\r\n`)...)
	server.WaitOutput(t, `^b'PORT 198,51,100,32,100,0\\r\\n\\xff\\xf4\\xffABOR\\r\\n' b'\\xf2'$`, 25*time.Second)
}
