package zerocopy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// fileSize is the length in bytes of what is carried over TCP: more packets than
// there are frames, so that each frame goes round.
const fileSize = 6_000_000

// udpFlows is the number of UDP exchanges, each from a port of its own.
const udpFlows = 64

// echoUDP answers each datagram with itself. A socat that forks may stop answering.
const echoUDP = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7))
while True: s.sendto(*s.recvfrom(2000))
`

// exchangeUDP sends datagrams of all sizes, each from a port of its own; what comes
// back has to be the same. One that is lost, as may be on a busy host, is sent again.
const exchangeUDP = `
import os, socket, sys
for i in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((sys.argv[1], 7))
    sent = os.urandom(1 + i * 1471 // int(sys.argv[2]))
    for attempt in range(5):
        s.send(sent)
        try:
            answer = s.recv(2000)
        except TimeoutError:
            continue
        if answer != sent: sys.exit(f"datagram {i}: sent {sent}, answer {answer}")
        break
    else: sys.exit(f"datagram {i}: no answer")
`

// site is what the client finds at the server.
type site struct {
	l     *lab.Lab
	files string // what HTTP and FTP serve
}

// newSite starts the servers: HTTP and FTP, with file.bin, and UDP echo.
func newSite(t *testing.T, l *lab.Lab) *site {
	t.Helper()
	s := &site{l: l, files: l.Serve(t, l.Server)}
	content := make([]byte, fileSize)
	_, _ = rand.Read(content) // never fails
	if err := os.WriteFile(filepath.Join(s.files, "file.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	l.Server.StartServer(t, "udp", 7, "/usr/bin/python3", "-c", echoUDP)
	return s
}

// carry has all kinds of traffic carried, both ways, and checks what arrives: ping,
// UDP, TCP, FTP in active mode.
func (s *site) carry(t *testing.T) {
	t.Helper()
	s.ping(t)
	s.l.Client.Run(t, "/usr/bin/python3", "-c", exchangeUDP, lab.ServerAddr, fmt.Sprint(udpFlows))
	got := filepath.Join(s.l.Dir, "got")
	curl := func(args ...string) {
		s.l.Client.Run(t, append([]string{"curl", "-sS", "--max-time", "60"}, args...)...)
	}
	curl("-o", got, "http://"+lab.ServerAddr+"/file.bin")
	s.checkSame(t, got)
	curl("--ftp-port", "-", "-o", got, "ftp://"+lab.ServerAddr+"/file.bin")
	s.checkSame(t, got)
	uploaded := filepath.Join(s.files, "upload", "file.bin")
	curl("--ftp-port", "-", "-T", got, "ftp://"+lab.ServerAddr+"/upload/file.bin")
	s.checkSame(t, uploaded)
	if err := os.Remove(uploaded); err != nil { // vsftpd overwrites nothing
		t.Error(err)
	}
}

// ping waits until a packet comes there and back, and demands that five more do. Each
// is a ping of its own, for one that has had an answer waits for others no longer than
// twice as long as that took.
func (s *site) ping(t *testing.T) {
	t.Helper()
	lab.Eventually(t, patience, "the server answers", func() bool { return s.answered("1") })
	for range 5 {
		if !s.answered("20") {
			t.Error("a ping is not answered")
		}
	}
}

// answered sends one ping and reports whether it is answered in time.
func (s *site) answered(seconds string) bool {
	return s.l.Client.Try("ping", "-q", "-c1", "-W", seconds, lab.ServerAddr).Status == 0
}

// checkSame compares a file with file.bin.
func (s *site) checkSame(t *testing.T, path string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join(s.files, "file.bin"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s: %d bytes have become %d others on their way", filepath.Base(path), len(want), len(got))
	}
}

// transfer is file.bin on its way over one TCP connection, again and again, for as long as
// the test wants: how much of it goes in a time depends on the host. The client makes the
// connection.
type transfer struct {
	s                *site
	name             string
	sender, receiver *lab.Process
	goOn             string // a file: the sender begins again as long as it is there
	to               string
}

// Ports of the server that transfers are to.
const (
	uploadPort   = 9000
	downloadPort = 9001
)

// startUpload begins to send from the client to the server and returns when data has arrived.
func (s *site) startUpload(t *testing.T) *transfer {
	t.Helper()
	u := s.newTransfer(t, "upload")
	u.receiver = s.l.Server.StartServer(t, "tcp", uploadPort, "socat", "-u", fmt.Sprintf("TCP4-LISTEN:%d,reuseaddr", uploadPort), "CREATE:"+u.to)
	u.sender = s.l.Client.Start(t, u.sending(fmt.Sprintf("TCP4:%s:%d", lab.ServerAddr, uploadPort))...)
	u.waitFor(t, 1)
	return u
}

// startDownload is the same from the server to the client.
func (s *site) startDownload(t *testing.T) *transfer {
	t.Helper()
	d := s.newTransfer(t, "download")
	d.sender = s.l.Server.StartServer(t, "tcp", downloadPort, d.sending(fmt.Sprintf("TCP4-LISTEN:%d,reuseaddr", downloadPort))...)
	d.receiver = s.l.Client.Start(t, "socat", "-u", fmt.Sprintf("TCP4:%s:%d", lab.ServerAddr, downloadPort), "CREATE:"+d.to)
	d.waitFor(t, 1)
	return d
}

// newTransfer makes the files of a transfer.
func (s *site) newTransfer(t *testing.T, name string) *transfer {
	t.Helper()
	u := &transfer{s: s, name: name, to: filepath.Join(s.l.Dir, name), goOn: filepath.Join(s.l.Dir, name+"-goes-on")}
	if err := os.RemoveAll(u.to); err != nil { // of the one before
		t.Fatal(err)
	}
	if err := os.WriteFile(u.goOn, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return u
}

// sending is the command that sends to an address of socat's.
func (u *transfer) sending(to string) []string {
	return []string{"bash", "-c", fmt.Sprintf(`while [ -e %s ]; do cat %s/file.bin || exit; done | socat -u - %s`, u.goOn, u.s.files, to)}
}

// size is how much has arrived, in bytes.
func (u *transfer) size() int64 {
	info, err := os.Stat(u.to)
	if err != nil {
		return 0
	}
	return info.Size()
}

// waitFor waits until n more bytes have arrived.
func (u *transfer) waitFor(t *testing.T, n int64) {
	t.Helper()
	want := u.size() + n
	lab.Eventually(t, patience, "the "+u.name+" goes on", func() bool {
		if !u.sender.Running() || !u.receiver.Running() {
			t.Fatalf("the %s has ended:\n%s%s", u.name, u.sender.Output(), u.receiver.Output())
		}
		return u.size() >= want
	})
}

// finish ends the transfer and checks what has arrived.
func (u *transfer) finish(t *testing.T) {
	t.Helper()
	if err := os.Remove(u.goOn); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*lab.Process{u.sender, u.receiver} {
		if r := p.Wait(t, 2*patience); r.Status != 0 {
			t.Errorf("%s: ended with %d: %s", u.name, r.Status, r.Output())
		}
	}
	want, err := os.ReadFile(filepath.Join(u.s.files, "file.bin"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(u.to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(want))
	for times := 0; ; times++ {
		switch n, err := io.ReadFull(f, got); {
		case err == io.EOF:
			t.Logf("the %s has brought the file %d times", u.name, times)
			return
		case !bytes.Equal(got[:n], want):
			t.Fatalf("%s: what has arrived differs, or ends, in the %d bytes after %d times the file (%v)", u.name, n, times, err)
		}
	}
}
