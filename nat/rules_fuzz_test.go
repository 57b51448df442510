package nat

import "testing"

// FuzzParseRules reads --snat and --dnat: what is taken is valid by itself and lies
// within its bounds.
func FuzzParseRules(f *testing.F) {
	for _, s := range []string{"198.51.100.32", "198.51.100.1-198.51.100.9:1024-65535", "2001:db8::1", "[2001:db8::1]:5000-6000",
		"2001:db8::1-2001:db8::ff", "tcp:198.51.100.1:80=10.0.0.1:8080", "udp:[2001:db8::1]:53=[fd00::1]:53", "tcp:::80=:", "0.0.0.0", "1.2.3.4:0-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseSNAT(s); err == nil {
			if p.Last.Less(p.First) || p.First.BitLen() != p.Last.BitLen() || p.LastPort < p.FirstPort || p.First.Zone() != "" || p.First.IsUnspecified() {
				t.Errorf("%q gives %+v", s, p)
			}
			c := Config{SNAT: []Pool{p}, Workers: 1}
			if err := c.Validate(); err == nil && p.Count() < 1 {
				t.Errorf("%q: a valid pool of %d addresses", s, p.Count())
			}
		}
		if r, err := ParseDNAT(s); err == nil {
			if r.Port == 0 || r.ToPort == 0 || r.Addr.BitLen() != r.ToAddr.BitLen() || r.Addr.Zone() != "" {
				t.Errorf("%q gives %+v", s, r)
			}
		}
	})
}
