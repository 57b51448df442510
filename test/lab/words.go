package lab

import (
	"regexp"
	"strconv"
	"strings"
)

// Of a line in any form of conntrack: what differs from run to run, and what
// stands for it. Its form is checked by the pattern. Immutable.
var passing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`^\[\d{10}\.\d{6}\]\t`), "[TIME]\t"},
	{regexp.MustCompile(`<when><hour>(?:1?\d|2\d)</hour><min>\d\d</min><sec>\d\d</sec><wday>[1-7]</wday><day>\d+</day><month>\d+</month><year>\d{4}</year></when>`), "<when/>"},
	{regexp.MustCompile(`\[(start|stop)=[A-Z][a-z]{2} [A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d \d{4}\]`), "[$1=DATE]"},
	{regexp.MustCompile(`<(start|stop)>\d{19}</(?:start|stop)>`), "<$1/>"},
	{regexp.MustCompile(`delta-time=\d+`), "delta-time=N"},
	{regexp.MustCompile(`<deltatime>\d+<`), "<deltatime>N<"},
	{regexp.MustCompile(`<timeout>\d+<`), "<timeout>N<"},
	{regexp.MustCompile(`^(-[AUD]) -t \d+`), "$1 -t N"},
	{regexp.MustCompile(`^((?:\S+\t)?(?:\s*\[[A-Z]+\] )?(?:ipv[46] +\d+ )?[a-z]\w* +\d+) \d+ `), "$1 N "},
	// The tool finds the name of a process that has ended only sometimes.
	{regexp.MustCompile(`\[USERSPACE\] portid=\d+(?: progname=\w+)?$`), "[USERSPACE]"},
}

// numbers are ephemeral ports and ids, by the words around them.
var numbers = regexp.MustCompile(`(<(?:sport|dport|id)>|(?: |^)(?:id|sport|dport)=|--(?:sport|dport|reply-port-src|reply-port-dst|icmp-id|icmpv6-id) )(\d+)`)

// NormalizeLine replaces in a line of any form what differs from run to run:
// times, ephemeral ports, ids, which may be small, and who deleted it.
func (n *Names) NormalizeLine(line string) string {
	for _, p := range passing {
		line = p.pattern.ReplaceAllString(line, p.instead)
	}
	return numbers.ReplaceAllStringFunc(line, func(s string) string {
		m := numbers.FindStringSubmatch(s)
		if number, _ := strconv.ParseUint(m[2], 10, 32); number < 1024 && strings.Contains(m[1], "port") {
			return s
		}
		return m[1] + n.name("#", m[2], &n.ids)
	})
}
