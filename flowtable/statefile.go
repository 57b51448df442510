package flowtable

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A state file holds the flows and expectations of a gateway while it is not
// running. docs/state.md tells the format: a header, records, and a record that
// ends them with a checksum of all before it. It is written and read record by
// record, so that it needs the same memory for ten flows and ten million.

// stateMagic begins a state file, stateVersion is the format that is written, and
// the only one that is read.
const (
	stateMagic   = "XDPCTST\n"
	stateVersion = 1
)

// Lengths in a state file, in bytes.
const (
	stateHeaderLen = 24
	recordHeadLen  = 4
	checksumLen    = 4
	// maxRecordLen bounds the body of a record.
	maxRecordLen = 1 << 12
)

// StateRecord is a kind of record of a state file.
type StateRecord uint8

// The kinds.
const (
	StateFlow        StateRecord = 1
	StateExpectation StateRecord = 2
	StateEnd         StateRecord = 255
)

// ErrState means that a state file cannot be used; the error says why.
var ErrState = errors.New("not usable")

// castagnoliTable is the polynomial of the checksum (RFC 3720 appendix B.4).
var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// StateWriter writes a state file. The first error makes all later calls do
// nothing; Close returns it.
type StateWriter struct {
	out                 *bufio.Writer
	c                   codec
	sum                 uint32
	flows, expectations uint64
	err                 error
}

// NewStateWriter begins a state file; saved is when the flows are as they are told.
func NewStateWriter(out io.Writer, saved time.Time) *StateWriter {
	w := &StateWriter{out: bufio.NewWriterSize(out, 1<<18)}
	h := append(make([]byte, 0, stateHeaderLen), stateMagic...)
	h = binary.LittleEndian.AppendUint32(h, stateVersion)
	h = binary.LittleEndian.AppendUint32(h, TicksPerSecond)
	w.write(binary.LittleEndian.AppendUint64(h, uint64(saved.UnixNano())))
	return w
}

// write writes bytes that the checksum covers.
func (w *StateWriter) write(b []byte) {
	if w.err == nil {
		w.sum = crc32.Update(w.sum, castagnoliTable, b)
		_, w.err = w.out.Write(b)
	}
}

// begin begins a record, end writes it.
func (w *StateWriter) begin(kind StateRecord) {
	w.c.b = append(w.c.b[:0], byte(kind), 0, 0, 0)
}

func (w *StateWriter) end() {
	binary.LittleEndian.PutUint16(w.c.b[2:], uint16(len(w.c.b)-recordHeadLen))
	w.write(w.c.b)
}

// Flow writes a flow.
func (w *StateWriter) Flow(s *SavedFlow) {
	w.begin(StateFlow)
	w.c.flow(s)
	w.end()
	w.flows++
}

// Expectation writes an expectation; now is the time of the table.
func (w *StateWriter) Expectation(e *Expectation, now Tick) {
	saved := *e
	saved.Deadline -= now
	w.begin(StateExpectation)
	w.c.expectation(&saved)
	w.end()
	w.expectations++
}

// Flows returns how many flows were written.
func (w *StateWriter) Flows() uint64 { return w.flows }

// Close ends the file. lastID is Expectations.LastID.
func (w *StateWriter) Close(lastID uint32) error {
	w.begin(StateEnd)
	code64(&w.c, &w.flows)
	code64(&w.c, &w.expectations)
	code32(&w.c, &lastID)
	w.end()
	if w.err == nil {
		_, w.err = w.out.Write(binary.LittleEndian.AppendUint32(nil, w.sum))
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// StateReader reads a state file. It believes nothing: whatever the bytes are, a
// record that it returns can be restored without harm. That the file is whole is
// known only at its end, so read it once before anything is restored.
type StateReader struct {
	// Saved is when the file was written.
	Saved time.Time
	// Flow is the last flow that was read, Expectation the last expectation. Its
	// Deadline counts from Saved. They change with the next one.
	Flow        SavedFlow
	Expectation Expectation
	// LastID is the ID that was given to an expectation last. Valid at the end.
	LastID uint32

	in                  *bufio.Reader
	c                   codec
	sum                 uint32
	flows, expectations uint64
	head                [recordHeadLen]byte
	body                [maxRecordLen]byte
}

// NewStateReader reads the header of a state file.
func NewStateReader(in io.Reader) (*StateReader, error) {
	r := &StateReader{in: bufio.NewReaderSize(in, 1<<18)}
	h := r.body[:stateHeaderLen]
	if err := r.read(h); err != nil {
		return nil, err
	}
	if string(h[:len(stateMagic)]) != stateMagic {
		return nil, fmt.Errorf("%w: no state file of xdpct", ErrState)
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != stateVersion {
		return nil, fmt.Errorf("%w: written in format %d, this version reads %d", ErrState, v, stateVersion)
	}
	if n := binary.LittleEndian.Uint32(h[12:]); n != TicksPerSecond {
		return nil, fmt.Errorf("%w: %d ticks a second, expected %d", ErrState, n, TicksPerSecond)
	}
	r.Saved = time.Unix(0, int64(binary.LittleEndian.Uint64(h[16:])))
	return r, nil
}

// read fills b with bytes that the checksum covers.
func (r *StateReader) read(b []byte) error {
	if _, err := io.ReadFull(r.in, b); err != nil {
		return cutShort(err)
	}
	r.sum = crc32.Update(r.sum, castagnoliTable, b)
	return nil
}

// cutShort says what the end of a file in its middle means.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut short", ErrState)
	}
	return err
}

// Next reads the next record. After StateEnd there is none, and the file was whole.
func (r *StateReader) Next() (StateRecord, error) {
	head := &r.head
	if err := r.read(head[:]); err != nil {
		return 0, err
	}
	kind, n := StateRecord(head[0]), binary.LittleEndian.Uint16(head[2:])
	if int(n) > len(r.body) || head[1] != 0 {
		return 0, fmt.Errorf("%w: damaged: a record of %d bytes", ErrState, n)
	}
	if err := r.read(r.body[:n]); err != nil {
		return 0, err
	}
	r.c = codec{b: r.body[:n], reading: true}
	return kind, r.decode(kind, &r.c)
}

// decode reads the body of a record.
func (r *StateReader) decode(kind StateRecord, c *codec) error {
	var err error
	switch kind {
	case StateFlow:
		r.Flow = SavedFlow{}
		c.flow(&r.Flow)
		err = r.Flow.check()
		r.flows++
	case StateExpectation:
		r.Expectation = Expectation{}
		c.expectation(&r.Expectation)
		r.expectations++
	case StateEnd:
		err = r.end(c)
	default:
		return fmt.Errorf("%w: damaged: a record of kind %d", ErrState, kind)
	}
	if c.short || len(c.b) != 0 {
		return fmt.Errorf("%w: damaged: a record of kind %d with a wrong length", ErrState, kind)
	}
	if err != nil {
		return fmt.Errorf("%w: damaged: %w", ErrState, err)
	}
	return nil
}

// end reads the last record and the checksum, after which nothing may come.
func (r *StateReader) end(c *codec) error {
	var flows, expectations uint64
	code64(c, &flows)
	code64(c, &expectations)
	code32(c, &r.LastID)
	var b [checksumLen]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return cutShort(err)
	}
	switch _, err := r.in.ReadByte(); {
	case binary.LittleEndian.Uint32(b[:]) != r.sum:
		return errors.New("the checksum does not fit")
	case flows != r.flows || expectations != r.expectations:
		return errors.New("records are missing")
	case err == nil:
		return errors.New("bytes after its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
