package zerocopy

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// image is what the virtual machine boots.
type image struct {
	kernel string // path of vmlinuz
	initrd string // path of the initramfs
}

// buildImage makes the initramfs: the program init, busybox, the kernel's modules, and
// other files, by their path in the machine.
func buildImage(t *testing.T, dir string, files map[string]string) image {
	t.Helper()
	kernel := kernelFolder(t)
	files["/init"] = filepath.Join(dir, "init")
	goBuild(t, "build", "-o", files["/init"], "./init")
	var err error
	if files["/bin/busybox"], err = exec.LookPath("busybox"); err != nil {
		t.Fatalf("%v: scripts/setup zerocopy installs it", err)
	}
	modules, err := filepath.Glob(filepath.Join(kernel, "modules", "*.ko"))
	if err != nil || len(modules) == 0 {
		t.Fatalf("no modules in %s: %v", kernel, err)
	}
	for _, m := range modules {
		files["/modules/"+filepath.Base(m)] = m
	}
	img := image{kernel: filepath.Join(kernel, "vmlinuz"), initrd: filepath.Join(dir, "initramfs")}
	if err := writeInitramfs(img.initrd, files); err != nil {
		t.Fatalf("write the initramfs: %v", err)
	}
	return img
}

// kernelFolder is where the kernel is; it is fetched if there is none yet.
func kernelFolder(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("../../scripts/zerocopy-kernel", "--cached")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("no kernel for the virtual machine, so that zero-copy cannot be tested: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// goBuild runs a go command for static binaries.
func goBuild(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// writeInitramfs packs files, executable, and the folders that they are in. It is not
// compressed: an emulated processor would take longer to unpack it than to copy it.
func writeInitramfs(name string, files map[string]string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := cpio.NewWriter(f)
	paths := []string{"/dev", "/proc", "/sys", "/run", "/tmp"}
	for to := range files {
		paths = append(paths, to)
		for dir := path.Dir(to); dir != "/"; dir = path.Dir(dir) {
			paths = append(paths, dir)
		}
	}
	slices.Sort(paths) // a folder stands before what is in it
	for _, p := range slices.Compact(paths) {
		if err := pack(w, p, files[p]); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return w.Close()
}

// pack adds a file, or, without a source, a folder.
func pack(w *cpio.Writer, to, from string) error {
	h := &cpio.Header{Name: strings.TrimPrefix(to, "/"), Mode: cpio.TypeDir | 0o755}
	if from == "" {
		return w.WriteHeader(h)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Mode, h.Size = cpio.TypeReg|0o755, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
