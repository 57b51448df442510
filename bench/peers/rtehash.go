package peers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/xdpct/xdpct/bench/memory"
)

// rteHashProgram is where `make bench-peers` puts the program, below the folder
// of the repository.
const rteHashProgram = "dist/rte_hash"

// Tables returns the peers of the flow table that this machine has, and why
// others are left out, in one line; "" = none is.
//
// DPDK's hash table comes twice: alone, and with a record of 64 bytes a flow that
// each hit reads and writes to. The flow table does the latter.
func Tables() (tables []memory.TablePeer, missing string) {
	path, err := findRTEHash()
	if err != nil {
		return nil, "DPDK's rte_hash is left out: it is not built (make bench-peers)"
	}
	return []memory.TablePeer{rteHash{path: path}, rteHash{path: path, record: true}}, ""
}

// findRTEHash looks in the folder that bin/xdpct is below, and in the current
// one.
func findRTEHash() (string, error) {
	var errs []error
	var roots []string
	if self, err := os.Executable(); err == nil {
		roots = append(roots, filepath.Dir(filepath.Dir(self)))
	}
	for _, root := range append(roots, ".") {
		path, err := filepath.Abs(filepath.Join(root, rteHashProgram))
		if err == nil {
			_, err = os.Stat(path)
		}
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// rteHash is DPDK's hash table, as the program bench/peers/rte_hash serves it.
type rteHash struct {
	path   string
	record bool // a record a flow
}

func (r rteHash) Name() string {
	if r.record {
		return "rte_hash + record"
	}
	return "rte_hash"
}

// Memory: 32 bytes for a key and what it leads to, 12 for each slot of its index
// and free list, whose number is a power of two, and the records.
func (r rteHash) Memory(flows int) uint64 {
	keys := 2 * uint64(flows)
	bytes := keys*32 + 12<<bits.Len64(keys) + 100<<20
	if r.record {
		bytes += uint64(flows) * 64
	}
	return bytes
}

// Open starts the program on the CPU of the calling thread and waits until its
// table is full.
func (r rteHash) Open(flows int) (memory.PeerTable, error) {
	args := []string{"-s", "-k", "2", fmt.Sprint(flows)}
	if r.record {
		args = append([]string{"-R"}, args...)
	}
	t := &rteHashTable{cmd: exec.Command(r.path, args...)}
	t.cmd.Stderr = &t.complaint
	var err error
	if t.ask, err = t.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("rte_hash: %w", err)
	}
	answers, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("rte_hash: %w", err)
	}
	t.answers = bufio.NewReader(answers)
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("rte_hash: %w", err)
	}
	line, err := t.answer()
	if err == nil && line != "ready" {
		err = fmt.Errorf("rte_hash: said %q, not that it is ready", line)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// rteHashTable is a running program.
type rteHashTable struct {
	cmd       *exec.Cmd
	ask       io.WriteCloser
	answers   *bufio.Reader
	complaint bytes.Buffer // read once the program has ended
}

// answer reads one line. The program says on stderr why it ends before.
func (t *rteHashTable) answer() (string, error) {
	line, err := t.answers.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("rte_hash: no answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// Round measures each operation for about a quarter of d.
func (t *rteHashTable) Round(d time.Duration) (memory.TableCosts, error) {
	var c memory.TableCosts
	if _, err := fmt.Fprintln(t.ask, max(d.Milliseconds(), 1)); err != nil {
		return c, fmt.Errorf("rte_hash: %w", err)
	}
	line, err := t.answer()
	if err != nil {
		return c, err
	}
	if _, err := fmt.Sscanf(line, "%f %f %f %f", &c.Hit, &c.Miss, &c.Insert, &c.Remove); err != nil {
		return c, fmt.Errorf("rte_hash: answered %q: %w", line, err)
	}
	return c, nil
}

// Close ends the program.
func (t *rteHashTable) Close() error {
	_ = t.ask.Close() // the end of its input tells it to end
	overdue := time.AfterFunc(patience, func() { _ = t.cmd.Process.Kill() })
	defer overdue.Stop()
	if err := t.cmd.Wait(); err != nil {
		return fmt.Errorf("rte_hash: %w: %s", err, strings.TrimSpace(t.complaint.String()))
	}
	return nil
}
