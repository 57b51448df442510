package control

import (
	"bytes"
	"context"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/flowtable"
)

// peerKey finds the process at the other end of a request's connection.
type peerKey struct{}

// withPeer notes who is at the other end of a new connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

// peer returns who sent a request; the zero value if that is not known.
func peer(ctx context.Context) flowtable.Process {
	p, _ := ctx.Value(peerKey{}).(flowtable.Process)
	return p
}

// peerOf asks the kernel who made the connection (SO_PEERCRED, unix(7)), and for
// the name while that process is surely there.
func peerOf(c net.Conn) flowtable.Process {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return flowtable.Process{}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return flowtable.Process{}
	}
	var cred *unix.Ucred
	err = raw.Control(func(fd uintptr) { cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || cred == nil || cred.Pid <= 0 {
		return flowtable.Process{}
	}
	// The name is for people: without it the number still tells.
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(int(cred.Pid)) + "/comm")
	return flowtable.ProcessOf(uint32(cred.Pid), string(bytes.TrimSuffix(name, []byte("\n"))))
}
