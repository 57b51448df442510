package dataplane

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

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
