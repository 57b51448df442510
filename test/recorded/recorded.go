// Package recorded gives tests the packets that real programs have sent: curl, vsftpd,
// nginx, ping and iperf3, as test/diff has recorded them.
package recorded

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
)

// Frames returns the packets of all recordings in order, each in an Ethernet frame.
func Frames(t testing.TB) [][]byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "..", "diff", "testdata", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var frames [][]byte
	for _, path := range files {
		frames = append(frames, framesOf(t, path)...)
	}
	return frames
}

// Few returns one in n of them: enough for a corpus.
func Few(t testing.TB, n int) [][]byte {
	t.Helper()
	var few [][]byte
	for i, f := range Frames(t) {
		if i%n == 0 {
			few = append(few, f)
		}
	}
	return few
}

func framesOf(t testing.TB, path string) (frames [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for {
		b, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		frames = append(frames, slices.Concat(ethernet(b), b))
	}
}

// ethernet is the header that a gateway gets an IP packet with.
func ethernet(ip []byte) []byte {
	head := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00}
	if ip[0]>>4 == 6 {
		head[12], head[13] = 0x86, 0xdd
	}
	return head
}
