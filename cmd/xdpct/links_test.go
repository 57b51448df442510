package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

func TestInheritedDescriptors(t *testing.T) {
	self, other := fmt.Sprint(os.Getpid()), fmt.Sprint(os.Getpid()+1)
	for _, tt := range []struct {
		name, pid, count, names string
		fds                     []int
		want                    []string
	}{
		{"none", "", "", "", nil, nil},
		{"two", self, "2", "xdpct-link:xdpct-link", []int{3, 4}, []string{"xdpct-link", "xdpct-link"}},
		{"of another process", other, "2", "xdpct-link:xdpct-link", nil, nil},
		{"no number", self, "many", "", nil, nil},
		{"a negative number", self, "-1", "", nil, nil},
		{"without names", self, "1", "", []int{3}, []string{"unknown"}},
		{"too few names", self, "2", "stored", []int{3, 4}, []string{"stored", "unknown"}},
	} {
		e := &env{getenv: func(key string) string {
			return map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.count, "LISTEN_FDNAMES": tt.names}[key]
		}}
		fds, names := inherited(e)
		if !slices.Equal(fds, tt.fds) || !slices.Equal(names, tt.want) {
			t.Errorf("%s: %v %q, want %v %q", tt.name, fds, names, tt.fds, tt.want)
		}
	}
}
