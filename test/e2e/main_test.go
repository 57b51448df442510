package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// snat are the flags that most tests start the gateway with.
func snat(more ...string) []string {
	return append([]string{"--snat", lab.NATAddr, "--helper", "ftp"}, more...)
}

// TestMain fails the run if a lab of this process is left over at its end.
func TestMain(m *testing.M) {
	code := m.Run()
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "list the namespaces: %v: %s\n", err, out)
		code = 1
	}
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, fmt.Sprintf("xdpct-%d-", os.Getpid())) {
			fmt.Fprintf(os.Stderr, "left over after all tests: namespace %s\n", line)
			code = 1
		}
	}
	os.Exit(code)
}

// newFile writes a file of random bytes into dir.
func newFile(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		t.Fatalf("fill %s: %v", path, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// ping runs ping in a namespace; every packet has to be answered.
func ping(t *testing.T, from *lab.Namespace, args ...string) {
	t.Helper()
	out := from.Run(t, append([]string{"ping", "-q"}, args...)...)
	if !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping %s: not every packet is answered:\n%s", strings.Join(args, " "), out)
	}
}

// checkSame fails the test unless the files are equal byte for byte.
func checkSame(t *testing.T, want, got string) {
	t.Helper()
	if out, err := exec.Command("cmp", want, got).CombinedOutput(); err != nil {
		t.Errorf("the file has changed on its way: %v\n%s", err, out)
	}
}

// eachQueues runs a test with one and with two queues, and so workers. Of two,
// the directions of a flow come to different ones, so that one of them is always
// handed over. Both run at the same time, each in a lab of its own.
func eachQueues(t *testing.T, test func(t *testing.T, l *lab.Lab)) {
	for _, queues := range []int{1, 2} {
		t.Run(fmt.Sprintf("queues=%d", queues), func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, queues)
			if queues > 1 {
				l.Cross(t)
			}
			test(t, l)
		})
	}
}
