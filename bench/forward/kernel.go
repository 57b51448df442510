package forward

import (
	"context"
	"fmt"
)

// Kernel is the kernel's forwarding without any netfilter rule.
func Kernel() Contender {
	return Contender{Name: "kernel", Queues: true, Start: func(ctx context.Context, s *Site) (*Running, error) {
		return startKernel(ctx, s)
	}}
}

// KernelNAT is the kernel's forwarding with connection tracking and source NAT,
// as nftables set it up.
func KernelNAT() Contender {
	return Contender{Name: "kernel-nat", NAT: true, Queues: true, Start: func(ctx context.Context, s *Site) (*Running, error) {
		rules := fmt.Sprintf("table ip bench { chain out { type nat hook postrouting priority srcnat; oifname %q snat to %s; }; }", s.Out.Name, s.SNAT)
		if err := inside(ctx, s.Namespace, "nft", rules); err != nil {
			return nil, err
		}
		return startKernel(ctx, s)
	}}
}

func startKernel(ctx context.Context, s *Site) (*Running, error) {
	err := inside(ctx, s.Namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return &Running{Stop: func() error { return nil }}, err
}
