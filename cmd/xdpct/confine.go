package main

import (
	"errors"
	"fmt"
	"log/slog"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// keptCapabilities are those that a running gateway goes on to need: to have
// neighbours resolved and to make the interface towards the kernel when an
// address of NAT becomes the box's own (CAP_NET_ADMIN), to tell the XDP program of
// new addresses (CAP_BPF, Linux before 6.5), and to open sockets when an interface was
// deleted and made again (CAP_NET_RAW; CAP_IPC_LOCK, if it had that, if all were). Of
// what is documented start-up alone needs CAP_PERFMON.
func keptCapabilities() []cap.Value {
	return []cap.Value{cap.NET_ADMIN, cap.NET_RAW, cap.BPF, cap.IPC_LOCK}
}

// neverCalled are system calls that a gateway has no use for and that whoever
// takes it over would: other programs, other processes' memory, mounts, modules,
// other namespaces, keys, the clock. They are refused with EPERM. Everything else
// is allowed: a newer Go runtime may call what today's does not.
var neverCalled = []string{
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",
	"mount", "umount2", "pivot_root", "chroot", "open_by_handle_at", "name_to_handle_at",
	"fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree", "mount_setattr",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"setns", "unshare", "add_key", "request_key", "keyctl", "userfaultfd", "perf_event_open", "io_uring_setup",
	"settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "swapon", "swapoff", "acct", "quotactl", "syslog",
	"sethostname", "setdomainname", "personality", "mknodat",
}

// confine gives up what a gateway that forwards needs no more: capabilities, the
// right to gain others, and system calls. It applies to all threads and cannot be
// taken back. What the kernel does not offer is left out, with a warning: the
// gateway works either way.
func confine(log *slog.Logger) {
	if err := dropCapabilities(); err != nil {
		log.Warn("capabilities that are needed no more are kept", "error", err)
	}
	if err := filterSystemCalls(); err != nil {
		log.Warn("system calls are not filtered", "error", err)
	}
}

// dropCapabilities gives up all capabilities but keptCapabilities, as far as the
// process has those.
func dropCapabilities() error {
	has := cap.GetProc()
	keep := cap.NewSet()
	for _, v := range keptCapabilities() {
		on, err := has.GetFlag(cap.Permitted, v)
		if err != nil || !on { // an older kernel that does not know it, or CAP_SYS_ADMIN instead
			continue
		}
		err = errors.Join(keep.SetFlag(cap.Permitted, true, v), keep.SetFlag(cap.Effective, true, v))
		if err != nil {
			return err
		}
	}
	if err := keep.SetProc(); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// filterSystemCalls refuses neverCalled, in all threads.
func filterSystemCalls() error {
	if !seccomp.Supported() {
		return errors.New("the kernel has no seccomp filters")
	}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Names: neverCalled, Action: seccomp.ActionErrno}},
		},
	})
}
