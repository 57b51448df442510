package lab

import (
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/fdstore"
)

// Manager plays the service manager of gateways: it keeps the descriptors that one leaves
// and passes them to the next one.
type Manager struct {
	*fdstore.Store
	lab *Lab
}

// NewManager starts to listen to gateways.
func (l *Lab) NewManager(t testing.TB) *Manager {
	t.Helper()
	store, err := fdstore.Listen(filepath.Join(l.Dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return &Manager{Store: store, lab: l}
}

// StartXDPCT starts xdpct on lan and wan and passes it what is kept. When the test ends it
// has to end cleanly and leave nothing behind but what Release releases.
func (m *Manager) StartXDPCT(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	starter, files := m.Passing()
	g := &Gateway{lab: m.lab, binary: Binary(t), Control: filepath.Join(m.lab.Dir, "xdpct.sock"), manager: m}
	g.start(t, starter, files, flags)
	return g
}
