package bench

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Progress is told what a scenario does: the step, and how many of all steps
// are done. A nil Progress tells nobody.
type Progress func(step string, done, total int)

// Step tells that a step begins; done of total are behind it.
func (p Progress) Step(step string, done, total int) {
	if p != nil {
		p(step, done, total)
	}
}

// TerminalProgress shows progress in one line of a terminal. The second
// function wipes the line; call it before something else is printed. If f is
// no terminal there is no progress.
func TerminalProgress(f *os.File) (Progress, func()) {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil, func() {}
	}
	return lineProgress(f)
}

// lineProgress writes progress over the same line again and again.
func lineProgress(w io.Writer) (Progress, func()) {
	const wipe = "\r\x1b[K" // to the start of the line, then erase to its end
	return func(step string, done, total int) {
			fmt.Fprintf(w, "%s[%d/%d] %s", wipe, done+1, total, step)
		}, func() {
			fmt.Fprint(w, wipe)
		}
}
