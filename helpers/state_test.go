package helpers

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// What a new flow has of its helper is valid, for the right protocol only.
func TestNewRecordsAreValid(t *testing.T) {
	for id := range idCount {
		x := flowtable.Ext{Helper: uint8(id)}
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			want := id == int(None) || helperTable[id].proto == proto
			if Valid(proto, &x) != want {
				t.Errorf("%s, protocol %d: valid is %v", ID(id).Name(), proto, !want)
			}
		}
	}
	if Valid(packet.ProtoTCP, &flowtable.Ext{Helper: idCount}) {
		t.Error("a helper that there is not")
	}
}

func TestFTPTextThatIsTooLong(t *testing.T) {
	x := flowtable.Ext{Helper: uint8(IDFTP)}
	x.Data[ftpFlags] = uint32(len(x.Text)) << heldLenShift
	if !Valid(packet.ProtoTCP, &x) {
		t.Error("as long as there is room")
	}
	x.Data[ftpFlags] = uint32(len(x.Text)+1) << heldLenShift
	if Valid(packet.ProtoTCP, &x) {
		t.Error("longer than there is room")
	}
}

func TestExpectationsThatNoHelperMakes(t *testing.T) {
	tcp := flowtable.Tuple{Proto: packet.ProtoTCP}
	for _, c := range []struct {
		e    flowtable.Expectation
		want bool
	}{
		{flowtable.Expectation{Helper: uint8(IDFTP), Tuple: tcp}, true},
		{flowtable.Expectation{Helper: uint8(IDFTP), Tuple: tcp, Next: uint8(IDFTP)}, true},
		{flowtable.Expectation{Helper: uint8(None), Tuple: tcp}, false},
		{flowtable.Expectation{Helper: idCount, Tuple: tcp}, false},
		{flowtable.Expectation{Helper: uint8(IDFTP), Tuple: tcp, Class: 9}, false},
		{flowtable.Expectation{Helper: uint8(IDFTP), Tuple: tcp, Next: idCount}, false},
		{flowtable.Expectation{Helper: uint8(IDFTP), Tuple: tcp, Next: uint8(IDTFTP)}, false},
	} {
		if ValidExpectation(&c.e) != c.want {
			t.Errorf("%+v: valid is %v", c.e, !c.want)
		}
	}
}
