package asavie_test

import (
	"testing"

	"github.com/xdpct/xdpct/bench/asavie"
	"github.com/xdpct/xdpct/bench/l2fwd/l2fwdtest"
)

func TestForwardsBothWays(t *testing.T) { l2fwdtest.Check(t, asavie.Run) }
