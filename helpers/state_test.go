package helpers

import (
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
)

// A helper that is new has to say what it makes of a record from a file.
func TestEveryHelperJudgesItsRecords(t *testing.T) {
	for id := ID(1); !strings.HasPrefix(id.Name(), "helper("); id++ {
		if !Valid(&flowtable.Ext{Helper: uint8(id)}) {
			t.Errorf("%s: a new record is not valid", id.Name())
		}
	}
	if Valid(&flowtable.Ext{Helper: 200}) {
		t.Error("a helper that there is not")
	}
}

func TestFTPTextThatIsTooLong(t *testing.T) {
	x := flowtable.Ext{Helper: uint8(IDFTP)}
	x.Data[ftpFlags] = uint32(len(x.Text)) << heldLenShift
	if !Valid(&x) {
		t.Error("as long as there is room")
	}
	x.Data[ftpFlags] = uint32(len(x.Text)+1) << heldLenShift
	if Valid(&x) {
		t.Error("longer than there is room")
	}
}
