package diff

import "testing"

// TestTCPTable walks through the TCP table cell by cell.
func TestTCPTable(t *testing.T) { play(t, named("table/", TCPTable())) }
