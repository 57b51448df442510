package flowtable

// account is what passed in each direction of a flow (kernel: struct
// nf_conn_acct). A parallel array, so that flows that nobody counts pay nothing.
type account [2]passed

// accountSize is the size of an account in bytes.
const accountSize = 32

// passed counts one direction: packets, and the bytes from their IP headers on.
type passed struct{ packets, bytes uint64 }

// Accounts reports whether flows are counted: Options.Accounting.
func (t *Table) Accounts() bool { return len(t.accounts) != 0 }

// Timestamps reports whether flows keep when they began: Options.Timestamps.
func (t *Table) Timestamps() bool { return len(t.starts) != 0 }

// Account counts a packet of a flow. bytes is its length from the IP header on.
// The table must have accounts. Owner: worker.
//
// Hot: once per packet where flows are counted. 0 allocs, one line.
func (t *Table) Account(idx uint32, d Dir, bytes uint64) {
	a := &t.accounts[idx][d&1]
	publish64(&a.packets, a.packets+1)
	publish64(&a.bytes, a.bytes+bytes)
}

// PrefetchAccounts asks for the accounts of the first n flows.
func (t *Table) PrefetchAccounts(refs *[Burst]Ref, n int) {
	var lines [Burst]Ref
	for i, r := range refs[:n] {
		lines[i] = r >> 1 // two accounts a line: its number is index/2, which is Ref>>2
	}
	prefetchFlows(t.accountLines(), &lines[0], n)
}

// fillAccount begins the counts of a new flow with the packet that made it, and
// notes when that was.
func (t *Table) fillAccount(idx uint32, n *NewFlow) {
	if t.Accounts() {
		a := &t.accounts[idx]
		publish64(&a[DirOriginal].packets, 1)
		publish64(&a[DirOriginal].bytes, n.Bytes)
		publish64(&a[DirReply].packets, 0)
		publish64(&a[DirReply].bytes, 0)
	}
	if t.Timestamps() {
		publish64(&t.starts[idx], uint64(n.Start))
	}
}

// copyAccount copies counts and start of a flow, which may be changing.
func (t *Table) copyAccount(idx uint32, s *Snapshot) {
	s.Counted = t.Accounts()
	if s.Counted {
		a := &t.accounts[idx]
		for d := range a {
			s.Packets[d], s.Bytes[d] = load64(&a[d].packets), load64(&a[d].bytes)
		}
	}
	s.Start, s.Stop = 0, 0
	if t.Timestamps() {
		s.Start = int64(load64(&t.starts[idx]))
	}
}

// stops notes in s when its flow ended: now, or when its time was over, which is
// noticed a moment later (nf_conntrack_core.c, nf_ct_delete).
func (s *Snapshot) stops(why EndReason, now Tick, wall int64) {
	if s.Start == 0 {
		return
	}
	s.Stop = wall
	if why == EndExpired {
		s.Stop -= int64((now - s.LastSeen - s.FullTimeout).Duration())
	}
}
