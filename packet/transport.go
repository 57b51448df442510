package packet

import "encoding/binary"

// Header lengths in bytes, without options.
const (
	TCPMinLen = 20
	SCTPLen   = 12
	UDPLen    = 8
	ICMPLen   = 8
)

// TCP flag bits (RFC 9293 §3.1, RFC 3168).
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// TCP is a view of a TCP segment (RFC 9293), at least 20 bytes.
type TCP []byte

// SrcPort returns the source port.
func (t TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(t[0:]) }

// DstPort returns the destination port.
func (t TCP) DstPort() uint16 { return binary.BigEndian.Uint16(t[2:]) }

// Seq returns the sequence number.
func (t TCP) Seq() uint32 { return binary.BigEndian.Uint32(t[4:]) }

// Ack returns the acknowledgement number; valid iff the ACK flag is set.
func (t TCP) Ack() uint32 { return binary.BigEndian.Uint32(t[8:]) }

// DataOffset returns the header's length in bytes, options included.
func (t TCP) DataOffset() int { return int(t[12]>>4) * 4 }

// Flags returns the eight flag bits.
func (t TCP) Flags() uint8 { return t[13] }

// Window returns the unscaled window.
func (t TCP) Window() uint16 { return binary.BigEndian.Uint16(t[14:]) }

// Checksum returns the checksum.
func (t TCP) Checksum() uint16 { return binary.BigEndian.Uint16(t[16:]) }

// Urgent returns the urgent pointer, bytes from Seq on to what follows the urgent data
// (RFC 6093 section 2); valid iff the URG flag is set.
func (t TCP) Urgent() uint16 { return binary.BigEndian.Uint16(t[18:]) }

// Options returns the option bytes.
// Precondition: DataOffset() lies within the view and is at least 20.
func (t TCP) Options() []byte { return t[TCPMinLen:t.DataOffset()] }

// SetSrcPort writes the source port.
func (t TCP) SetSrcPort(v uint16) { binary.BigEndian.PutUint16(t[0:], v) }

// SetDstPort writes the destination port.
func (t TCP) SetDstPort(v uint16) { binary.BigEndian.PutUint16(t[2:], v) }

// SetSeq writes the sequence number.
func (t TCP) SetSeq(v uint32) { binary.BigEndian.PutUint32(t[4:], v) }

// SetAck writes the acknowledgement number.
func (t TCP) SetAck(v uint32) { binary.BigEndian.PutUint32(t[8:], v) }

// SetUrgent writes the urgent pointer.
func (t TCP) SetUrgent(v uint16) { binary.BigEndian.PutUint16(t[18:], v) }

// SetChecksum writes the checksum.
func (t TCP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(t[16:], v) }

// UDP is a view of a UDP datagram (RFC 768), at least 8 bytes.
type UDP []byte

// SrcPort returns the source port.
func (u UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(u[0:]) }

// DstPort returns the destination port.
func (u UDP) DstPort() uint16 { return binary.BigEndian.Uint16(u[2:]) }

// Length returns the length of header and data in bytes.
func (u UDP) Length() uint16 { return binary.BigEndian.Uint16(u[4:]) }

// Checksum returns the checksum; 0 means that the sender computed none.
func (u UDP) Checksum() uint16 { return binary.BigEndian.Uint16(u[6:]) }

// SetSrcPort writes the source port.
func (u UDP) SetSrcPort(v uint16) { binary.BigEndian.PutUint16(u[0:], v) }

// SetDstPort writes the destination port.
func (u UDP) SetDstPort(v uint16) { binary.BigEndian.PutUint16(u[2:], v) }

// SetLength writes the length of header and data in bytes.
func (u UDP) SetLength(v uint16) { binary.BigEndian.PutUint16(u[4:], v) }

// SetChecksum writes the checksum.
func (u UDP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(u[6:], v) }

// SCTP is a view of an SCTP packet (RFC 9260), at least 12 bytes.
type SCTP []byte

// SrcPort returns the source port.
func (s SCTP) SrcPort() uint16 { return binary.BigEndian.Uint16(s[0:]) }

// DstPort returns the destination port.
func (s SCTP) DstPort() uint16 { return binary.BigEndian.Uint16(s[2:]) }

// Checksum returns the CRC32c, in the byte order that crc32.Checksum has it.
func (s SCTP) Checksum() uint32 { return binary.LittleEndian.Uint32(s[8:]) }

// SetChecksum writes the CRC32c.
func (s SCTP) SetChecksum(v uint32) { binary.LittleEndian.PutUint32(s[8:], v) }
