// Package packet reads and writes protocol headers in place.
//
// A header is a view: a named byte slice with one small getter or setter a
// field. Nothing is copied and nothing is allocated. Parse walks a frame once,
// checks every length, and records where each header starts; after it returned
// ParseOK the views that it describes may be used without further checks.
//
// All values that getters return are in host order; all setters take host
// order. Offsets are bytes from the start of the frame.
//
// The package knows nothing about flows, NAT or sockets, and imports the
// standard library only: it is the leaf of the import graph.
package packet
