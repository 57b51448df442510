package dataplane

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestWatcherComparesTheSpreading(t *testing.T) {
	var log bytes.Buffer
	w := watcher{log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, c := range []struct {
		received, misspread uint64
		want                string // part of the line; "" = none
	}{
		{0, 0, ""}, {1000, 0, ""}, {2000, 10, ""}, {3000, 21, "packets=11"}, {4000, 500, ""}, {5000, 500, ""}, {5010, 501, "packets=1"},
	} {
		log.Reset()
		w.compare(c.received, c.misspread)
		if c.want == "" && log.Len() > 0 || !strings.Contains(log.String(), c.want) {
			t.Errorf("at %d of %d: logged %q, want %q", c.misspread, c.received, log.String(), c.want)
		}
	}
}

func TestWatcherTellsEachLevelOnce(t *testing.T) {
	var log bytes.Buffer
	w := watcher{log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, c := range []struct {
		percent int
		refused uint64
		want    string // part of the line; "" = none
	}{
		{79, 0, ""}, {80, 0, "percent=80"}, {85, 0, ""}, {96, 0, "percent=96"}, {100, 7, "refused=7"},
		{100, 7, ""}, {90, 7, ""}, {95, 7, "percent=95"},
	} {
		log.Reset()
		w.look(c.percent, 1000, c.refused)
		if c.want == "" && log.Len() > 0 || !strings.Contains(log.String(), c.want) {
			t.Errorf("at %d %%, %d refused: logged %q, want %q", c.percent, c.refused, log.String(), c.want)
		}
	}
}

// TestWatcherFindsLostFrames: what is missing in every look for a minute is lost, what is
// missing now and then is on its way.
func TestWatcherFindsLostFrames(t *testing.T) {
	var log bytes.Buffer
	w := watcher{log: slog.New(slog.NewTextHandler(&log, nil))}
	for look := range 3 * watchLooks {
		w.account(200+look%50, 256)
		w.account(-look, 256)
	}
	if log.Len() > 0 {
		t.Errorf("frames that come and go: %q", log.String())
	}
	for look := range 2 * watchLooks {
		w.account(300+look, 256)
	}
	if !strings.Contains(log.String(), "missing=300") {
		t.Errorf("300 frames are always missing: %q", log.String())
	}
}
