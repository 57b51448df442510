package dataplane

import "github.com/xdpct/xdpct/flowtable"

// account counts a packet that its flow accepted, as the kernel does
// (nf_ct_acct_update): before helpers and routes have their say, and never ICMP
// errors about the flow, which are not its packets. Nothing happens unless
// flows are counted.
func (w *Worker) account(p *pkt) {
	if w.flows.table.Accounts() {
		w.flows.table.Account(p.ref.Index(), p.ref.Dir(), uint64(p.hdr.IPLen()))
	}
}

// accountsAhead asks for the accounts of the flows of a burst.
func (w *Worker) accountsAhead(b *burst) {
	var refs [BurstSize]flowtable.Ref
	for i := range b.n {
		refs[i] = b.pkts[i].ref
	}
	w.flows.table.PrefetchAccounts(&refs, b.n)
}
