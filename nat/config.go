package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Config is the whole translation policy. It is the same for all workers; another
// one takes its place by SetRules.
type Config struct {
	SNAT       []Pool     // source pools, in the order of the flags
	Masquerade bool       // IPv4 source = address of the egress interface
	DNAT       []DNATRule // destination rules, one per external address and port
	Workers    int        // number of workers that share the ports, 1-256
	Steering   Steering   // how packets come to workers; zero = by port number
}

// Validate tells what is wrong with c in one line, or returns nil.
func (c *Config) Validate() error {
	if c.Workers < 1 || c.Workers > maxWorkers {
		return fmt.Errorf("%d workers, expected 1-%d", c.Workers, maxWorkers)
	}
	if c.Masquerade && len(c.SNAT) > 0 {
		return errors.New("both snat and masquerade are given, expected one of them")
	}
	if err := c.validatePools(); err != nil {
		return err
	}
	return c.validateDNAT()
}

func (c *Config) validatePools() error {
	total := 0
	for i, p := range c.SNAT {
		if err := p.validate(); err != nil {
			return fmt.Errorf("snat pool %d: %w", i+1, err)
		}
		total += p.Count()
	}
	if total > maxPoolAddrs {
		return fmt.Errorf("snat pools hold %d addresses, expected at most %d", total, maxPoolAddrs)
	}
	sorted := slices.SortedFunc(slices.Values(c.SNAT), func(p, q Pool) int { return p.First.Compare(q.First) })
	for i := 1; i < len(sorted); i++ {
		if p, q := sorted[i-1], sorted[i]; !p.Last.Less(q.First) {
			return fmt.Errorf("snat pools %s-%s and %s-%s share addresses, expected each address once",
				p.First, p.Last, q.First, q.Last)
		}
	}
	for i, p := range c.SNAT {
		if p.FirstPort == 0 {
			continue
		}
		for w := range c.Workers {
			if !ownedPorts(p.FirstPort, p.LastPort, w, c.Workers).any() {
				return fmt.Errorf("snat pool %d: ports %d-%d give worker %d of %d none, expected at least %d ports (blocks of %d)",
					i+1, p.FirstPort, p.LastPort, w+1, c.Workers, c.Workers*portBlock, portBlock)
			}
		}
	}
	return nil
}

func (c *Config) validateDNAT() error {
	if len(c.DNAT) > maxDNATRules {
		return fmt.Errorf("%d dnat rules, expected at most %d", len(c.DNAT), maxDNATRules)
	}
	type external struct {
		proto uint8
		addr  netip.AddrPort
	}
	seen := make(map[external]int, len(c.DNAT))
	for i, r := range c.DNAT {
		if err := r.validate(); err != nil {
			return fmt.Errorf("dnat rule %d: %w", i+1, err)
		}
		e := external{r.Proto, netip.AddrPortFrom(r.Addr, r.Port)}
		if j, ok := seen[e]; ok {
			return fmt.Errorf("dnat rules %d and %d are for the same %s, expected one rule per address and port",
				j+1, i+1, e.addr)
		}
		seen[e] = i
	}
	return nil
}

// Addrs returns every address that the configuration answers for: all pool
// addresses and the external addresses of DNAT rules, each once.
func (c *Config) Addrs() []netip.Addr {
	seen := make(map[netip.Addr]bool)
	var out []netip.Addr
	add := func(a netip.Addr) {
		if !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	for _, p := range c.SNAT {
		for a := p.First; a.IsValid() && !p.Last.Less(a); a = a.Next() {
			add(a)
		}
	}
	for _, r := range c.DNAT {
		add(r.Addr)
	}
	return out
}
