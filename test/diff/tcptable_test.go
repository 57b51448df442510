package diff

import "testing"

// TestTCPTable walks through the TCP table cell by cell.
func TestTCPTable(t *testing.T) { play(t, named("table/", TCPTable())) }

// TestSCTPTable walks through the SCTP table cell by cell.
func TestSCTPTable(t *testing.T) { play(t, named("sctp-table/", SCTPTable())) }

// TestTCPWindows tries each bound of windows from both sides of it.
func TestTCPWindows(t *testing.T) { play(t, named("windows/", TCPWindows())) }
