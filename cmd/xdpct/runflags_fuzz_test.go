package main

import (
	"errors"
	"strings"
	"testing"
)

// FuzzRunFlags reads command lines of run, an argument a line: a wrong one is told in
// one line as wrong usage, and what is taken is within its bounds.
func FuzzRunFlags(f *testing.F) {
	for _, line := range []string{
		"--masquerade",
		"--snat 198.51.100.1-198.51.100.9:1024-65535 --dnat tcp:198.51.100.1:80=10.0.0.1:8080 --helper ftp:21,2121:loose",
		"--masquerade --max-flows 1.5M --cpus 0,2-3 --queues 4 --timeout udp=45s --timeouts rfc --ring-size 4096",
		"--masquerade --rp-filter strict --bogons drop --max-flows-per-host 2k --new-flows-per-host 100/s",
		"--masquerade --max-flows 99999999999999999999 --cpus 5-2 --timeout =",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseArgs(t, withPorts(strings.Split(text, "\n")...)...)
		if err != nil {
			var usage *usageError
			if !errors.As(err, &usage) || err.Error() == "" {
				t.Errorf("%q: %T %v", text, err, err)
			}
			return
		}
		if cfg.MaxFlows < minMaxFlows || cfg.MaxFlows > maxMaxFlows || cfg.RingSize&(cfg.RingSize-1) != 0 || cfg.NewFlowsPerHost > maxNewPerHost ||
			len(cfg.Internal) == 0 || len(cfg.External) == 0 || cfg.Masquerade == (len(cfg.SNAT) > 0) {
			t.Errorf("%q gives %+v", text, cfg)
		}
	})
}
