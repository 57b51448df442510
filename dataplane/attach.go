package dataplane

import (
	"errors"
	"fmt"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// attach puts the programs on their ports: where the last run's still is, in its place. It
// must be called on a thread in the network namespace of the ports.
func (g *Gateway) attach() error {
	links := g.opts.Links
	for _, p := range g.ports {
		var replaced bool
		if links, replaced = g.replace(p, links); replaced {
			continue
		}
		if err := p.program.Attach(p.ifindex, g.opts.XDP); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, l := range links {
		g.opts.Log.Warn("XDP program of the last run is on no port any more: let go", "ifindex", l.Ifindex())
		g.letGo(l)
	}
	return nil
}

// replace puts the program of a port in the place of the last run's, if there is one that
// fits, and returns the links of other interfaces.
func (g *Gateway) replace(p *port, links []*xsk.Link) (others []*xsk.Link, done bool) {
	for _, l := range links {
		if done || l.Ifindex() != p.ifindex {
			others = append(others, l)
			continue
		}
		err := p.program.Replace(l, p.ifindex, g.opts.XDP)
		if done = err == nil; done {
			g.opts.Log.Info("XDP program of the last run is replaced", "name", p.name)
			continue
		}
		g.opts.Log.Warn("XDP program of the last run cannot be replaced: let go", "name", p.name, "error", err)
		g.letGo(l)
	}
	return others, done
}

// letGo takes a program of the last run off, though the service manager may have the link
// for another moment.
func (g *Gateway) letGo(l *xsk.Link) {
	if err := l.Detach(); err != nil {
		g.opts.Log.Warn("XDP program of the last run", "ifindex", l.Ifindex(), "error", err)
	}
}

// detach takes the programs off their ports, if nobody else has their links.
func (g *Gateway) detach() error {
	var errs []error
	for _, p := range g.ports {
		p.mu.Lock()
		if p.program != nil { // none in memory
			errs = append(errs, p.program.Detach())
		}
		p.mu.Unlock()
	}
	return errors.Join(errs...)
}

// LinkFDs returns the descriptors of the links that keep the programs attached, one for
// each port whose interface is there. Whoever else has them keeps the programs attached beyond
// Close; without sockets these drop all that is not for the box itself. They are the
// gateway's: call it between Stop and Close.
func (g *Gateway) LinkFDs() []int {
	var fds []int
	for _, p := range g.ports {
		if fd, ok := p.program.LinkFD(); ok {
			fds = append(fds, fd)
		}
	}
	return fds
}
