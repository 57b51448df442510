package soak

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/test/lab"
)

// Figures of a course.
type figures struct {
	bytes, tries, packets atomic.Int64
}

// fileSize is that of the files that are fetched and stored.
const fileSize = 2_000_000

// newFile makes a file of random bytes.
func newFile(t *testing.T, path string) string {
	t.Helper()
	b := make([]byte, fileSize)
	_, _ = rand.Read(b) // never fails
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A transfer moves the file that everybody has, or sets up calls. It returns the command
// for the client.
type transfer struct {
	name    string
	command func(copy string) []string
	folder  string // where the copy is; empty if there is none
	right   int64  // how many have come to a right end
}

// curl is how most of them begin: what hangs for 10 s has failed. It does not always keep
// to --max-time while it waits for an active data connection.
func curl(args ...string) []string {
	return append([]string{"timeout", "25", "curl", "-sS", "--connect-timeout", "5", "--speed-limit", "1", "--speed-time", "10", "--max-time", "20"}, args...)
}

// transfers lists those that go on all the time.
func (c *course) transfers(file string) []transfer {
	const ftp, http, tftp = "ftp://203.0.113.47/", "http://203.0.113.47/", "tftp://203.0.113.47/"
	const ftpInside, httpInside = "ftp://198.51.100.40:2121/", "http://198.51.100.40/" // by outside addresses
	here := c.lab.Dir
	fetch := func(args ...string) func(string) []string {
		return func(copy string) []string { return curl(append(args, "-o", copy)...) }
	}
	return []transfer{
		{"http", fetch(http + "file.bin"), here, 0},
		{"active", fetch("--ftp-port", "-", ftp+"file.bin"), here, 0},
		{"passive", fetch(ftp + "file.bin"), here, 0},
		{"hairpin", fetch(httpInside + "file.bin"), here, 0},
		{"hairpin-active", fetch("--ftp-port", "-", ftpInside+"file.bin"), here, 0},
		{"tftp", fetch("--tftp-blksize", "1400", tftp+"file.bin"), here, 0},
		{"upload", func(copy string) []string {
			return curl("--ftp-port", "-", "-T", file, ftp+"upload/"+filepath.Base(copy))
		}, c.uploads, 0},
		{"calls", func(string) []string {
			return []string{"timeout", "25", "sipp", "-sn", "uac", "-i", lab.ClientAddr, "-mi", lab.ClientAddr, "-nostdin",
				"-m", "10", "-r", "20", "-d", "100", "-timeout", "20s", "-timeout_error", lab.ServerAddr}
		}, "", 0},
	}
}

// serve starts what answers by UDP.
func (c *course) serve(t *testing.T, files string) {
	t.Helper()
	c.lab.Server.StartServer(t, "udp", 69, "in.tftpd", "-4", "--foreground", "--listen", "--secure", "--user", "root", "--address", ":69", files)
	c.lab.Server.StartServer(t, "udp", 5060, "sipp", "-sn", "uas", "-i", lab.ServerAddr, "-mi", lab.ServerAddr, "-nostdin")
}

// maxTries is how often a transfer is tried again: a fault may end it, and the next one
// the next.
const maxTries = 20

// move makes transfers of one kind until stop, one after the other. Each has to come to a
// right end; what a fault breaks is begun again.
func (c *course) move(t *testing.T, tr *transfer) {
	for n := 0; !c.stopped.Load() && c.moveOne(t, tr, n); n++ {
	}
}

// moveOne makes the n-th transfer of a kind and compares the bytes.
func (c *course) moveOne(t *testing.T, tr *transfer, n int) bool {
	var r lab.Result
	copied := filepath.Join(tr.folder, fmt.Sprintf("%s-%d", tr.name, n))
	for try := range maxTries {
		c.figures.tries.Add(1)
		if try > 0 {
			_ = os.Remove(copied) // a part of the last try, if any; the server overwrites nothing
			time.Sleep(500 * time.Millisecond)
		}
		if r = c.lab.Client.Try(tr.command(copied)...); r.Status != 0 {
			continue
		}
		if tr.folder != "" && !c.compare(t, tr, copied) {
			return false
		}
		tr.right++
		return true
	}
	t.Errorf("%s: no luck in %d tries; the last:\n%s", tr.name, maxTries, r.Output())
	return false
}

// compare compares what has arrived with what was sent, and removes it.
func (c *course) compare(t *testing.T, tr *transfer, copied string) bool {
	b, err := os.ReadFile(copied)
	if err != nil || string(b) != string(c.content) {
		t.Errorf("%s: the client is content, but the file is not the one that was sent (%v)", tr.name, err)
		return false
	}
	c.figures.bytes.Add(fileSize)
	_ = os.Remove(copied) // read a moment ago
	return true
}

// churnBatch is how many packets are sent at a time.
const churnBatch = 256

// churn sends UDP packets, each of another flow, until stop: a flood as a scan of ports
// makes it, answered by ICMP errors.
func (c *course) churn(t *testing.T) {
	template := udpFrame(t)
	frames := make([][]byte, churnBatch)
	for i := range frames {
		frames[i] = append([]byte(nil), template...)
	}
	for n := uint32(0); !c.stopped.Load(); {
		for _, f := range frames {
			n++
			binary.BigEndian.PutUint16(f[34:], uint16(1024+n%60000))
			binary.BigEndian.PutUint16(f[36:], uint16(10000+n/60000))
		}
		// The link is down now and then.
		_ = c.lab.Client.Do(func() error { return lab.Send("eth0", frames) })
		c.figures.packets.Add(churnBatch)
	}
}

// udpFrame is a packet from client to server without a UDP checksum.
func udpFrame(t *testing.T) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: []byte{2, 0, 10, 1, 2, 3}, DstMAC: []byte{2, 0, 10, 1, 2, 1}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 1, 2, 3}, DstIP: []byte{203, 0, 113, 47}},
		gopacket.Payload([]byte{0, 0, 0, 0, 0, 20, 0, 0, 'x', 'd', 'p', 'c', 't', ' ', 's', 'o', 'a', 'k', 0, 0}))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
