package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// startVsftpdTLS starts vsftpd on port 2121 that accepts nothing but TLS, for control
// and data, for the files that another one serves already.
func startVsftpdTLS(t *testing.T, l *lab.Lab, ns *lab.Namespace, files string) {
	t.Helper()
	key, cert := filepath.Join(l.Dir, "key.pem"), filepath.Join(l.Dir, "cert.pem")
	ns.Run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=ftp.example.org")
	config := filepath.Join(l.Dir, "vsftpd-tls.conf")
	text := "listen=YES\nlisten_port=2121\nanonymous_enable=YES\nanon_root=" + files + "\nsecure_chroot_dir=" + filepath.Dir(files) +
		"/empty\nwrite_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nseccomp_sandbox=NO\nxferlog_enable=NO\n" +
		"ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrequire_ssl_reuse=NO\nssl_ciphers=HIGH\n" +
		"rsa_cert_file=" + cert + "\nrsa_private_key_file=" + key + "\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ns.StartServer(t, "tcp", 2121, "vsftpd", config)
}

// ftpTLSClients get file.bin and put it as upload/NAME in passive mode, over TLS only.
var ftpTLSClients = map[string]func(got, name string) string{
	"curl": func(got, name string) string {
		const curl = "curl -sS --ssl-reqd --insecure --max-time 30"
		return fmt.Sprintf("%[1]s -o %[2]s ftp://%[3]s:2121/file.bin && %[1]s -T %[2]s ftp://%[3]s:2121/upload/%[4]s", curl, got, lab.ServerAddr, name)
	},
	"lftp": func(got, name string) string {
		return fmt.Sprintf("lftp -c 'set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 10; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; "+
			"set ssl:verify-certificate no; open -u anonymous,x@example.org ftp://%s:2121; get file.bin -o %s; put %[2]s -o upload/%s'", lab.ServerAddr, got, name)
	},
}

// TestFTPOverTLS: a control connection that turns to TLS passes untouched, and passive
// transfers to a server outside need no helper. Active ones cannot work: nobody
// can read where the client waits, nor tell the server another place.
func TestFTPOverTLS(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		files := l.Serve(t, l.Server)
		file := newFile(t, files, "file.bin", 1_000_000)
		startVsftpdTLS(t, l, l.Server, files)
		g := l.StartGateway(t, "--snat", lab.NATAddr, "--helper", ftpPorts)
		for program, script := range ftpTLSClients {
			got := filepath.Join(l.Dir, program)
			l.Client.Run(t, "bash", "-c", script(got, program))
			checkSame(t, file, got)
			checkSame(t, file, filepath.Join(files, "upload", program))
		}
		r := l.Client.Try("curl", "-sS", "--ssl-reqd", "--insecure", "--max-time", "5", "--ftp-port", "-", "-o", "/dev/null",
			"ftp://"+lab.ServerAddr+":2121/file.bin")
		if r.Status == 0 {
			t.Error("an active transfer over TLS came through NAT")
		}
		if !g.Kernel() {
			c := g.Counters(t)
			if c["ftp_tls"] < 4 || c["ftp_expected"] != 0 || c["expect_new"] != 0 || c["drop_helper"] != 0 {
				t.Errorf("ftp_tls %d, ftp_expected %d, expect_new %d, drop_helper %d; want 4 or more, 0, 0 and 0",
					c["ftp_tls"], c["ftp_expected"], c["expect_new"], c["drop_helper"])
			}
		}
	})
}
