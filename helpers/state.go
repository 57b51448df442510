package helpers

import "github.com/xdpct/xdpct/flowtable"

// Valid tells whether a helper can go on with what an extension record, read from
// a file, holds of it. A helper that takes lengths or places from Ext.Data must
// judge them here: nothing else has looked at them.
func Valid(x *flowtable.Ext) bool {
	switch ID(x.Helper) {
	case None:
		return true
	case IDFTP:
		return (*ftpState)(&x.Data).heldLen() <= len(x.Text)
	}
	return false
}
