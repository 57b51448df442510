package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/xdpct/xdpct/bench/forward"
)

// ovsSchema is where packages put the description of Open vSwitch's database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// ovsFlows is the limit of Open vSwitch's connection tracker; its own default is
// 3 million.
const ovsFlows = 1 << 24

// ovsSleep is how long the PMD thread may sleep when it finds little, in
// microseconds. As Open vSwitch is delivered (0), it never sleeps, and keeps the
// NAPI threads of its own ports, which share its CPU here, from receiving: 70,000
// packets a second. From 10 to 10,000 made 190,000 to 390,000, 30 most.
const ovsSleep = 30

// ovs is one private instance of Open vSwitch: database, sockets, logs and
// process ids are in a folder of its own, so that one which serves the machine
// is not touched.
type ovs struct {
	site              *forward.Site
	dir               string
	database, vswitch *child
}

// missingOVS says what is not there.
func missingOVS() string {
	for _, name := range []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		if _, err := programPath(name); err != nil {
			return name + " is not installed (make bench-peers)"
		}
	}
	if _, err := os.Stat(ovsSchema); err != nil {
		return err.Error()
	}
	return ""
}

// programPath finds a program, also where users' PATH does not lead.
func programPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// startOVS makes Open vSwitch's userspace datapath forward between two AF_XDP
// ports, with connection tracking and source NAT. One PMD thread, on the CPU of
// the gateway, polls both ports.
func startOVS(ctx context.Context, s *forward.Site) (*forward.Running, error) {
	dir, err := os.MkdirTemp("", "xdpct-ovs-")
	if err != nil {
		return nil, fmt.Errorf("ovs: %w", err)
	}
	o := &ovs{site: s, dir: dir}
	for _, step := range []func(context.Context) error{o.startDatabase, o.startSwitch, o.addPorts, o.addFlows} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("ovs: %w", err), o.stop())
		}
	}
	return &forward.Running{PIDs: []int{o.vswitch.pid()}, Stop: o.stop}, nil
}

// file is the path of a file of the instance.
func (o *ovs) file(name string) string { return filepath.Join(o.dir, name) }

// command makes a command of Open vSwitch in the gateway's namespace.
func (o *ovs) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, err := programPath(name)
	if err != nil {
		path = name // starting it tells
	}
	c := o.site.Command(ctx, path, args...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_LOGDIR="+o.dir, "OVS_SYSCONFDIR="+o.dir)
	return c
}

// run runs a command to its end and returns what it printed.
func (o *ovs) run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := o.command(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// vsctl changes the database. It waits until the database is there, and until
// the switch has done what it says.
func (o *ovs) vsctl(ctx context.Context, args ...string) error {
	_, err := o.run(ctx, "ovs-vsctl", append([]string{"--timeout=10", "--retry", "--db=unix:" + o.file("db.sock")}, args...)...)
	return err
}

func (o *ovs) startDatabase(ctx context.Context) error {
	if _, err := o.run(ctx, "ovsdb-tool", "create", o.file("conf.db"), ovsSchema); err != nil {
		return err
	}
	var err error
	o.database, err = startChild(o.command(context.WithoutCancel(ctx), "ovsdb-server", o.file("conf.db"), "--remote=punix:"+o.file("db.sock"),
		"--unixctl="+o.file("db.ctl"), "--log-file="+o.file("db.log")))
	if err != nil {
		return err
	}
	return o.vsctl(ctx, "--no-wait", "init")
}

// startSwitch starts the switch; its thread for the ports will be on the CPU of
// the gateway, the others stay where they are.
func (o *ovs) startSwitch(ctx context.Context) error {
	mask := fmt.Sprintf("other_config:pmd-cpu-mask=0x%x", uint64(1)<<o.site.CPU)
	sleep := fmt.Sprintf("other_config:pmd-maxsleep=%d", ovsSleep)
	if err := o.vsctl(ctx, "--no-wait", "set", "Open_vSwitch", ".", mask, sleep); err != nil {
		return err
	}
	var err error
	o.vswitch, err = startChild(o.command(context.WithoutCancel(ctx), "ovs-vswitchd", "unix:"+o.file("db.sock"),
		"--unixctl="+o.file("switch.ctl"), "--log-file="+o.file("switch.log")))
	return err
}

// addPorts makes a bridge of the two ports. In mode best-effort the switch takes
// the first of zero-copy, native and generic mode that the interface can do.
func (o *ovs) addPorts(ctx context.Context) error {
	if err := o.vsctl(ctx, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure"); err != nil {
		return err
	}
	for i, p := range []forward.Port{o.site.In, o.site.Out} {
		err := o.vsctl(ctx, "add-port", "br0", p.Name, "--", "set", "interface", p.Name, "type=afxdp",
			"options:n_rxq=1", "options:xdp-mode=best-effort", fmt.Sprintf("ofport_request=%d", i+1))
		if err != nil {
			return err
		}
	}
	return o.checkPorts(ctx)
}

// checkPorts asks whether the switch receives by AF_XDP; where it cannot, it
// says so in its log only.
func (o *ovs) checkPorts(ctx context.Context) error {
	out, err := o.run(ctx, "ovs-appctl", "-t", o.file("switch.ctl"), "dpctl/show")
	if err != nil {
		return err
	}
	if n := strings.Count(out, "xdp-mode-in-use="); n != 2 {
		return fmt.Errorf("%d of 2 ports use AF_XDP; the log of ovs-vswitchd says: %s", n, o.lastError())
	}
	return nil
}

// lastError is the last warning or error in the log of the switch.
func (o *ovs) lastError() string {
	b, err := os.ReadFile(o.file("switch.log"))
	if err != nil {
		return err.Error()
	}
	last := "nothing"
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "|WARN|") || strings.Contains(line, "|ERR|") {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

// addFlows makes the bridge a NAT gateway.
func (o *ovs) addFlows(ctx context.Context) error {
	if _, err := o.run(ctx, "ovs-appctl", "-t", o.file("switch.ctl"), "dpctl/ct-set-maxconns", fmt.Sprint(ovsFlows)); err != nil {
		return err
	}
	if err := os.WriteFile(o.file("flows"), []byte(ovsRules(o.site)), 0o600); err != nil {
		return err
	}
	_, err := o.run(ctx, "ovs-ofctl", "add-flows", "unix:"+o.file("br0.mgmt"), o.file("flows"))
	return err
}

// ovsRules are the flow rules: port 1 is inside, port 2 outside. Table 0 finds
// the connection and translates packets of those that are known, table 1 makes
// connections of packets from inside, table 2 is the way out.
func ovsRules(s *forward.Site) string {
	return fmt.Sprintf(`table=0 priority=1 ip in_port=1 actions=ct(table=1,zone=1,nat)
table=0 priority=1 ip in_port=2 actions=ct(table=1,zone=1,nat)
table=0 priority=0 actions=drop
table=1 priority=1 ip in_port=1 ct_state=+trk+new actions=ct(commit,zone=1,nat(src=%[1]s),table=2)
table=1 priority=1 ip in_port=1 ct_state=+trk+est actions=goto_table:2
table=1 priority=1 ip in_port=2 ct_state=+trk+est actions=goto_table:2
table=1 priority=0 actions=drop
table=2 ip in_port=1 actions=dec_ttl,set_field:%[2]s->eth_src,set_field:%[3]s->eth_dst,output:2
table=2 ip in_port=2 actions=dec_ttl,set_field:%[4]s->eth_src,set_field:%[5]s->eth_dst,output:1
`, s.SNAT, s.Out.MAC, s.Out.PeerMAC, s.In.MAC, s.In.PeerMAC)
}

// stop ends what startOVS started, as far as it got. The switch takes its XDP
// programs along only if it ends in order.
func (o *ovs) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	if o.vswitch.running() {
		if _, err := o.run(ctx, "ovs-appctl", "-t", o.file("switch.ctl"), "exit", "--cleanup"); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, o.vswitch.stop(), o.database.stop())
	for _, p := range []forward.Port{o.site.In, o.site.Out} {
		out, err := o.site.Command(ctx, "ip", "link", "set", p.Name, "xdp", "off").CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("take the XDP program off %s: %w: %s", p.Name, err, out))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(o.dir))...)
}
