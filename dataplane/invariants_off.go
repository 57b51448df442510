//go:build !invariants

package dataplane

import "github.com/xdpct/xdpct/dataplane/xsk"

// invariants tells whether this is the invariants build.
const invariants = false

// frameCheck follows each frame in the invariants build only; here it is nothing.
type frameCheck struct{}

func newFrameCheck(*xsk.UMEM) *frameCheck { return nil }

func (*frameCheck) freed(uint64)        {}
func (*frameCheck) taken([]uint64)      {}
func (*frameCheck) filled([]uint64)     {}
func (*frameCheck) sent([]xsk.Desc)     {}
func (*frameCheck) received([]xsk.Desc) {}
func (*frameCheck) completed([]uint64)  {}
func (w *Worker) checkTables()          {}
