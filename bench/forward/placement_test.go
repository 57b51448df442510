package forward

import "testing"

func TestSessionNice(t *testing.T) {
	for _, c := range []struct {
		name, text, nice string
		grouped, broken  bool
	}{
		{name: "a session", text: "/autogroup-42 nice 0\n", nice: "0", grouped: true},
		{name: "a session before others", text: "/autogroup-7 nice -20\n", nice: "-20", grouped: true},
		{name: "no session of its own", text: ""},
		{name: "something else", text: "/autogroup-42\n", broken: true},
	} {
		nice, grouped, err := sessionNice(c.text)
		if nice != c.nice || grouped != c.grouped || (err != nil) != c.broken {
			t.Errorf("%s: got nice %q, grouped %v, error %v", c.name, nice, grouped, err)
		}
	}
}
