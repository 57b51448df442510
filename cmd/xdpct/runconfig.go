package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// runConfig is what a gateway is asked to be: parsed and consistent in itself,
// but not yet compared with the machine.
type runConfig struct {
	Internal, External []string // interface names, each at least one, all different
	SNAT               []nat.Pool
	Masquerade         bool // never together with SNAT; one of both is set
	DNAT               []nat.DNATRule
	Helpers            []helpers.Spec

	Queues   int   // receive queues per interface; 0 = all
	CPUs     []int // one worker each, all different; nil = chosen by the gateway
	MaxFlows int   // of all workers together
	Steering dataplane.SteeringMode
	Control  string
	State    string // file to keep flows in over a restart; "" = none
	// ControlGroup is the group that may use the control socket, too; -1 = none.
	ControlGroup int
	Confine      bool

	XDP       xsk.AttachMode
	ZeroCopy  xsk.ZeroCopy
	HugePages dataplane.HugePages
	BusyPoll  time.Duration // 0 = off
	Spin      bool
	RingSize  int // slots, power of two
	FrameSize int // bytes, 2048 or 4096

	Tracker     flowtable.Tracker
	PassInvalid bool
	NoChecksums bool // checksums of received packets are not verified
	ReversePath dataplane.ReversePath
	DropBogons  bool

	MaxFlowsPerHost, NewFlowsPerHost int // 0 = any number
	Accounting                       bool
	Timestamps                       bool

	LogLevel  slog.Level
	LogFormat string // "text" or "json"
}

// Bounds of flags.
const (
	maxQueues   = 64        // queues per interface: the address space of the socket map
	maxCPU      = 1023      // highest CPU number, CPU_SETSIZE - 1
	maxMaxFlows = 1 << 30   // flows: their index and direction share 32 bits
	minMaxFlows = 1024      // flows: below, tables are mostly rounding
	minRing     = 64        // slots: one burst
	maxRing     = 32768     // slots
	maxBusyPoll = 1_000_000 // microseconds
	maxIfName   = 15        // bytes, IFNAMSIZ - 1
	maxPorts    = 16        // interfaces
)

// parse reads the flags. An error is one line that names the flag.
func (r *runFlags) parse() (cfg runConfig, err error) {
	steps := []func(*runConfig) error{
		r.parsePorts, r.parseNAT, r.parseHelpers, r.parseSizes, r.parseCPUs, r.parseModes, r.parseChecks, r.parseTimeouts, r.parseLog,
	}
	for _, step := range steps {
		if err := step(&cfg); err != nil {
			return runConfig{}, asUsage(err)
		}
	}
	cfg.Control, cfg.Confine, cfg.State = r.control, r.confine, r.state
	if cfg.ControlGroup, err = groupID(r.controlGroup); err != nil {
		return runConfig{}, asUsage(err)
	}
	cfg.Tracker.TCPLoose, cfg.Tracker.TCPLiberal = r.tcpLoose, r.tcpLiberal
	cfg.Tracker.TCPIgnoreInvalidRST, cfg.Tracker.TCPMaxRetrans = r.tcpIgnoreInvalidRST, r.tcpMaxRetrans
	cfg.Accounting, cfg.Timestamps = r.accounting, r.timestamps
	if cfg.Control == "" || len(cfg.Control) > 107 {
		return runConfig{}, usagef("--control %q: give a path of 1-107 bytes", cfg.Control)
	}
	return cfg, nil
}

// groupID returns the number of a group given by name or number, -1 for "".
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if id, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("--control-group %q: there is no such group", group)
	}
	return strconv.Atoi(g.Gid)
}

func (r *runFlags) parsePorts(cfg *runConfig) (err error) {
	if cfg.Internal, err = interfaceNames("--internal", r.internal); err != nil {
		return err
	}
	if cfg.External, err = interfaceNames("--external", r.external); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, name := range slices.Concat(cfg.Internal, cfg.External) {
		if seen[name] {
			return fmt.Errorf("interface %s is named twice: each has one side", name)
		}
		seen[name] = true
	}
	if len(seen) > maxPorts {
		return fmt.Errorf("%d interfaces: give at most %d", len(seen), maxPorts)
	}
	return nil
}

// interfaceNames reads the values of a flag, each a comma-separated list.
func interfaceNames(flag string, values []string) ([]string, error) {
	if len(values) == 0 {
		return nil, fmt.Errorf("%s is missing: name at least one interface", flag)
	}
	var names []string
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name == "" || len(name) > maxIfName || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n") {
				return nil, fmt.Errorf("%s %q: %q is no interface name", flag, v, name)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *runFlags) parseNAT(cfg *runConfig) error {
	for _, s := range r.snat {
		p, err := nat.ParseSNAT(s)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		cfg.SNAT = append(cfg.SNAT, p)
	}
	for _, s := range r.dnat {
		rule, err := nat.ParseDNAT(s)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		cfg.DNAT = append(cfg.DNAT, rule)
	}
	cfg.Masquerade = r.masquerade
	if !cfg.Masquerade && len(cfg.SNAT) == 0 {
		return errors.New("no source translation: give --snat ADDR or --masquerade")
	}
	if cfg.Masquerade && len(cfg.SNAT) > 0 {
		return errors.New("--snat and --masquerade exclude each other: give one of them")
	}
	policy := nat.Config{SNAT: cfg.SNAT, Masquerade: cfg.Masquerade, DNAT: cfg.DNAT, Workers: 1}
	return policy.Validate()
}

func (r *runFlags) parseHelpers(cfg *runConfig) error {
	for _, s := range r.helper {
		spec, err := helpers.ParseSpec(s)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		cfg.Helpers = append(cfg.Helpers, spec)
	}
	if err := helpers.CheckSpecs(cfg.Helpers); err != nil {
		return fmt.Errorf("--%w", err)
	}
	return nil
}

func (r *runFlags) parseSizes(cfg *runConfig) (err error) {
	if cfg.Queues, err = parseInt("--queues", r.queues, 0, maxQueues); err != nil {
		return err
	}
	if cfg.MaxFlows, err = parseCount("--max-flows", r.maxFlows, minMaxFlows, maxMaxFlows); err != nil {
		return err
	}
	usec, err := parseInt("--busy-poll", r.busyPoll, 0, maxBusyPoll)
	if err != nil {
		return err
	}
	cfg.BusyPoll, cfg.Spin = time.Duration(usec)*time.Microsecond, r.spin
	if cfg.RingSize, err = parseInt("--ring-size", r.ringSize, minRing, maxRing); err != nil {
		return err
	}
	if cfg.RingSize&(cfg.RingSize-1) != 0 {
		return fmt.Errorf("--ring-size %d: not a power of two", cfg.RingSize)
	}
	if r.frameSize != "2048" && r.frameSize != "4096" {
		return fmt.Errorf("--frame-size %q: give 2048 or 4096", r.frameSize)
	}
	cfg.FrameSize, err = strconv.Atoi(r.frameSize)
	return err
}

// parseInt reads a whole number within bounds.
func parseInt(flag, s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s %q: give a number %d-%d", flag, s, low, high)
	}
	return n, nil
}

// parseCount reads a number within bounds that may end in k (thousands) or M
// (millions).
func parseCount(flag, s string, low, high int) (int, error) {
	digits, unit := s, 1.0
	switch {
	case strings.HasSuffix(s, "k") || strings.HasSuffix(s, "K"):
		digits, unit = s[:len(s)-1], 1e3
	case strings.HasSuffix(s, "M"):
		digits, unit = s[:len(s)-1], 1e6
	}
	n, err := strconv.ParseFloat(digits, 64)
	n *= unit
	plain := strings.Trim(digits, "0123456789.") == "" && (unit > 1 || !strings.Contains(digits, "."))
	if err != nil || !plain || n != math.Trunc(n) || n < float64(low) || n > float64(high) {
		return 0, fmt.Errorf("%s %q: give a number %d-%d, such as 65536, 500k or 4M", flag, s, low, high)
	}
	return int(n), nil
}

func (r *runFlags) parseCPUs(cfg *runConfig) error {
	if r.cpus == "" {
		return nil
	}
	for part := range strings.SplitSeq(r.cpus, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || a > b || b > maxCPU {
			return fmt.Errorf("--cpus %q: %q is no CPU 0-%d and no range LOW-HIGH", r.cpus, part, maxCPU)
		}
		for cpu := int(a); cpu <= int(b); cpu++ {
			if slices.Contains(cfg.CPUs, cpu) {
				return fmt.Errorf("--cpus %q: CPU %d is named twice: each takes one worker", r.cpus, cpu)
			}
			cfg.CPUs = append(cfg.CPUs, cpu)
		}
	}
	if cfg.Queues != 0 && len(cfg.CPUs) > cfg.Queues {
		return fmt.Errorf("--cpus names %d CPUs for --queues %d: a CPU without a queue has no work", len(cfg.CPUs), cfg.Queues)
	}
	return nil
}

func (r *runFlags) parseModes(cfg *runConfig) error {
	var err error
	cfg.XDP, err = choose(err, "--xdp", r.xdp, []string{"auto", "native", "generic"},
		[]xsk.AttachMode{xsk.AttachAuto, xsk.AttachNative, xsk.AttachGeneric})
	cfg.ZeroCopy, err = choose(err, "--zerocopy", r.zeroCopy, []string{"auto", "on", "off"},
		[]xsk.ZeroCopy{xsk.ZeroCopyAuto, xsk.ZeroCopyOn, xsk.ZeroCopyOff})
	cfg.Steering, err = choose(err, "--steering", r.steering, []string{"auto", "rss", "ports"},
		[]dataplane.SteeringMode{dataplane.SteeringAuto, dataplane.SteeringRSS, dataplane.SteeringPorts})
	cfg.HugePages, err = choose(err, "--huge-pages", r.huge, []string{"auto", "on", "off"},
		[]dataplane.HugePages{dataplane.HugePagesAuto, dataplane.HugePagesOn, dataplane.HugePagesOff})
	cfg.PassInvalid, err = choose(err, "--invalid", r.invalid, []string{"drop", "pass"}, []bool{false, true})
	cfg.NoChecksums, err = choose(err, "--checksum", r.checksum, []string{"on", "off"}, []bool{false, true})
	if err == nil && cfg.XDP == xsk.AttachGeneric && cfg.ZeroCopy == xsk.ZeroCopyOn {
		return errors.New("--zerocopy on needs the driver: it cannot go with --xdp generic")
	}
	return err
}

// choose returns the value that belongs to a word. It does nothing when an
// earlier choice already failed with err.
func choose[T any](err error, flag, word string, words []string, values []T) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	i := slices.Index(words, word)
	if i < 0 {
		return zero, fmt.Errorf("%s %q: give %s or %s", flag, word,
			strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
	}
	return values[i], nil
}

func (r *runFlags) parseTimeouts(cfg *runConfig) error {
	var err error
	if cfg.Tracker.Timeouts, err = flowtable.TimeoutProfile(r.timeouts); err != nil {
		return fmt.Errorf("--timeouts %q: give linux or rfc", r.timeouts)
	}
	for _, s := range r.timeout {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--timeout %q: give NAME=DURATION, such as udp=45s", s)
		}
		if _, known := cfg.Tracker.Timeouts.Get(name); !known {
			return fmt.Errorf("--timeout %q: no time-out is called %q: the help lists them", s, name)
		}
		d, err := parseSeconds(value)
		if err != nil {
			return fmt.Errorf("--timeout %q: %q is no duration: give for example 45s, 10m or 2h", s, value)
		}
		if err := cfg.Tracker.Timeouts.Set(name, d); err != nil {
			return fmt.Errorf("--timeout: %w", err)
		}
	}
	return nil
}

// parseSeconds reads a duration; a plain number is in seconds, as in the
// kernel's settings.
func parseSeconds(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(s)
}

func (r *runFlags) parseLog(cfg *runConfig) error {
	var err error
	cfg.LogLevel, err = choose(err, "--log-level", r.logLevel, []string{"debug", "info", "warn", "error"},
		[]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError})
	cfg.LogFormat, err = choose(err, "--log-format", r.logFormat, []string{"text", "json"}, []string{"text", "json"})
	return err
}
