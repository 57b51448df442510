package helpers

import "github.com/xdpct/xdpct/flowtable"

// Valid tells whether a helper can go on with what a file says of it and of a flow of
// this protocol. Nothing else looks at it before the helper does.
func Valid(proto uint8, x *flowtable.Ext) bool {
	id := ID(x.Helper)
	if id == None {
		return true
	}
	return id.known() && helperTable[id].proto == proto && (helperTable[id].valid == nil || helperTable[id].valid(x))
}

// ValidExpectation tells whether an expectation from a file is one that a helper
// can have made.
func ValidExpectation(e *flowtable.Expectation) bool {
	id, next := ID(e.Helper), ID(e.Next)
	return id.known() && int(e.Class) < len(helperTable[id].classes) &&
		(next == None || next.known() && helperTable[next].proto == e.Tuple.Proto)
}
