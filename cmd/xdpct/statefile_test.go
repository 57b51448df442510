package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Both the look of check and the trial of run find out where flows cannot be saved,
// and leave nothing behind.
func TestStateFileIsTriedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "flows")
	for path, want := range map[string]string{
		"": "", good: "", dir: "no regular file", link: "no regular file",
		filepath.Join(dir, "no", "flows"): "could not be saved there", "/proc/flows": "could not be saved there",
	} {
		s := stateFile{path: path, log: slog.New(slog.DiscardHandler)}
		err := s.check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
		if look := s.look(); path != "/proc/flows" && (look == nil) != (err == nil) { // root may write anywhere, says access(2)
			t.Errorf("%q: a look says %v, a trial %v", path, look, err)
		}
	}
	// What a process that was killed has left is replaced, whatever its mode.
	if err := os.WriteFile(good+".new", []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	s := stateFile{path: good, log: slog.New(slog.DiscardHandler)}
	f, err := s.create()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
