package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/flowtable"
)

// stateFile is where flows are while no gateway runs. It is there from one run's end
// to the next one's start only, so that what is stale is never taken for fresh: a
// gateway that was killed leaves none.
type stateFile struct {
	path string // "" = flows are not kept
	log  *slog.Logger
}

// Names beside the file: being written, and set aside because it is not usable.
func (s *stateFile) unfinished() string { return s.path + ".new" }
func (s *stateFile) bad() string        { return s.path + ".bad" }

// check finds out before anything else whether the file could be written.
func (s *stateFile) check() error {
	if s.path == "" {
		return nil
	}
	err := s.look()
	if err != nil {
		return err
	}
	f, err := s.create()
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("--state %s: flows could not be saved there: %w", s.path, err)
	}
	return nil
}

// look is check without touching anything.
func (s *stateFile) look() error {
	if s.path == "" {
		return nil
	}
	info, err := os.Lstat(s.path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--state %s: a file of that name exists and is no regular file: remove it or give another --state", s.path)
	}
	if dir := filepath.Dir(s.path); err == nil || errors.Is(err, fs.ErrNotExist) {
		err = unix.Access(dir, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return fmt.Errorf("--state %s: flows could not be saved there: %w", s.path, err)
	}
	return nil
}

// create makes the file to write to, in place of one that a killed process left.
func (s *stateFile) create() (*os.File, error) {
	if err := os.Remove(s.unfinished()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(s.unfinished(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// restore takes the flows back. A file that is not usable is set aside.
func (s *stateFile) restore(gw *dataplane.Gateway) error {
	if s.path == "" {
		return nil
	}
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.log.Info("no flows to take back", "file", s.path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	began := time.Now()
	r, err := gw.Restore(f, began)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if errors.Is(err, flowtable.ErrState) {
		s.log.Error("the state file is not usable: starting without flows", "file", s.path, "error", err, "kept_as", s.bad())
		return os.Rename(s.path, s.bad())
	}
	if err != nil {
		return fmt.Errorf("--state %s: %w", s.path, err)
	}
	level := slog.LevelInfo
	if r.Refused+r.NoRoom > 0 {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, "flows taken back", "file", s.path, "flows", r.Flows, "expectations", r.Expectations, "expired", r.Expired,
		"not_allowed", r.Refused, "no_room", r.NoRoom, "away", r.Away.Round(time.Second), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// taken removes the file when its flows are a running gateway's.
func (s *stateFile) taken() error {
	if s.path == "" {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--state: %w", err)
	}
	return syncDir(s.path)
}

// save writes the flows of a gateway that has been stopped. The file gets its name
// when it is whole and on the disk.
func (s *stateFile) save(gw *dataplane.Gateway) error {
	if s.path == "" {
		return nil
	}
	began := time.Now()
	f, err := s.create()
	if err != nil {
		return fmt.Errorf("save flows: %w", err)
	}
	flows, err := gw.WriteState(f, began)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("save flows: %w", errors.Join(err, os.Remove(f.Name())))
	}
	s.log.Info("flows saved", "file", s.path, "flows", flows, "took", time.Since(began).Round(time.Millisecond))
	return syncDir(s.path)
}

// syncDir makes a change of a file's name last.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
