package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// bigFile is the length of big.bin in bytes: 100 s at the speed of ftpAborts.
const bigFile = 50_000_000

// ftpAborts are programs that break the download of big.bin off after 3 s, at 500 kB
// a second, and then download file.bin as got: with ABOR behind telnet signals and urgent
// data (lftp, tnftp), or by the end of the connections (curl).
var ftpAborts = map[string]func(s ftpSite, active bool, got string) string{
	"curl": func(s ftpSite, active bool, got string) string {
		curl := "curl -sS "
		if active {
			curl += "--ftp-port - "
		}
		return fmt.Sprintf("%[1]s --max-time 3 --limit-rate 500k -o %[2]s.big %[3]s/big.bin; [ $? = 28 ] && %[1]s --max-time 30 -o %[2]s %[3]s/file.bin",
			curl, got, s.url())
	},
	// In passive mode, lftp 4.9 misreads what pyftpdlib answers to ABOR ("426 reply
	// missed"): it does not send the next PASV but ends the session, and comes again in
	// active mode a second later. So it does with no gateway.
	"lftp": func(s ftpSite, active bool, got string) string {
		return fmt.Sprintf(`lftp -c 'set net:limit-rate 500000; set net:timeout 10; set net:max-retries 3; set net:reconnect-interval-base 1; `+
			`set ftp:passive-mode %v; open %s; get big.bin -o %s.big & sleep 3; kill all; get file.bin -o %[3]s'`, !active, s.url(), got)
	},
	"tnftp": func(s ftpSite, active bool, got string) string {
		mode := "-p"
		if active {
			mode = "-A"
		}
		return fmt.Sprintf(`printf '%%s\n' 'open %s %s' 'user anonymous x@example.org' binary 'rate get 500000' 'get big.bin %s.big' `+
			`'rate get 0' 'get file.bin %[3]s' quit >%[3]s.commands; timeout --foreground -s INT 3 tnftp -n -i %[4]s <%[3]s.commands; [ $? = 124 ]`,
			s.host, s.port, got, mode)
	},
}

// TestFTPAbort: after a transfer that was broken off, the next one is right, with all
// programs, servers and modes, all at once.
func TestFTPAbort(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		files := l.Serve(t, l.Server)
		newFile(t, files, "big.bin", bigFile)
		file := newFile(t, files, "file.bin", 100_000)
		startPyftpdlib(t, l.Server, lab.ServerAddr, files)
		g := l.StartGateway(t, "--snat", lab.NATAddr, "--helper", ftpPorts)
		running := make(map[string]*lab.Process) // by what they get
		for program, script := range ftpAborts {
			for _, port := range []string{"21", "2121"} {
				for _, active := range []bool{true, false} {
					got := filepath.Join(l.Dir, fmt.Sprintf("%s-%s-active=%v", program, port, active))
					running[got] = l.Client.Start(t, "bash", "-c", script(ftpSite{l.Client, lab.ServerAddr, port, files}, active, got))
				}
			}
		}
		for got, p := range running {
			if r := p.Wait(t, 40*time.Second); r.Status != 0 {
				t.Errorf("%s: ended with %d:\n%s", filepath.Base(got), r.Status, r.Output())
			}
			checkSame(t, file, got)
			if info, err := os.Stat(got + ".big"); err != nil || info.Size() == 0 || info.Size() >= bigFile {
				t.Errorf("%s was not broken off in its middle: %v", filepath.Base(got), err)
			}
		}
		if !g.Kernel() {
			checkFTPCounters(t, g)
		}
	})
}
