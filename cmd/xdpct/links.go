package main

import (
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// storedName is what the links of the XDP programs are called in the service manager's
// store of descriptors (FDNAME= of sd_notify(3)).
const storedName = "xdpct-link"

// firstInherited is the first descriptor that a service manager passes (sd_listen_fds(3)).
const firstInherited = 3

// leaveLinks gives the service manager, if there is one that keeps them, the links of a
// gateway that has saved its flows: until the next start its programs drop what is NAT's,
// and the kernel does not answer it.
func leaveLinks(e *env, log *slog.Logger, fds []int) {
	// They have nothing to poll for; else what hangs up is thrown away.
	if err := notify(e, "FDSTORE=1\nFDPOLL=0\nFDNAME="+storedName, fds...); err != nil {
		log.Warn("XDP programs not left with the service manager", "error", err)
	}
}

// inheritedLinks opens what the last run left with the service manager and takes it from
// there: from now on it lasts as long as this process, however that ends. What is of no use
// is told and closed.
func inheritedLinks(e *env, log *slog.Logger) []*xsk.Link {
	fds, names := inherited(e)
	if len(fds) == 0 {
		return nil
	}
	if err := notify(e, "FDSTOREREMOVE=1\nFDNAME="+storedName); err != nil {
		log.Warn("service manager not told that it need not keep XDP programs", "error", err)
	}
	var links []*xsk.Link
	for i, fd := range fds {
		l, err := xsk.OpenLink(fd)
		if err != nil {
			log.Warn("the service manager has passed what is no XDP program of the last run", "name", names[i], "error", err)
			continue
		}
		links = append(links, l)
	}
	return links
}

// closeLinks closes what the gateway has not taken.
func closeLinks(links []*xsk.Link) {
	for _, l := range links {
		_ = l.Close() // the process is about to end
	}
}

// inherited returns the descriptors that were passed to this process, with their names.
func inherited(e *env) (fds []int, names []string) {
	n, err := strconv.Atoi(e.getenv("LISTEN_FDS"))
	if err != nil || e.getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) { // of another process
		return nil, nil
	}
	given := strings.Split(e.getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown"
		if i < len(given) && given[i] != "" {
			name = given[i]
		}
		fds, names = append(fds, firstInherited+i), append(names, name)
	}
	return fds, names
}
