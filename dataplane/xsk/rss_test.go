package xsk

import "testing"

func TestFieldLetters(t *testing.T) {
	for set, want := range map[uint64]string{
		0: "", 0xf0: RSSFields, 0x30: "sd", 0xf2: "msdfn", 0x1f0: RSSFields + "?", 1<<31 | 0x30: "sdr",
	} {
		if got := fieldLetters(set); got != want {
			t.Errorf("%#x: %q, want %q", set, got, want)
		}
	}
}

// The loopback interface has no such requests at all: nothing told, no error.
func TestReadRSSOfADriverThatTellsNothing(t *testing.T) {
	r, err := readRSS("lo")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Key) != 0 || len(r.Table) != 0 || r.Fields != [4]string{} {
		t.Errorf("told: %+v", r)
	}
	if _, err := readRSS("no-such-port"); err == nil {
		t.Error("no error for an interface that is not there")
	}
}
