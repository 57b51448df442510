package control

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/xdpct/xdpct/flowtable"
)

// An expectation has two tuples as a flow has: its master's original one, and that
// of the flow to come. Conditions on the latter are those on a reply tuple.
// Immutable.
var expectKeys = map[string]string{
	"family": "family", "proto": "proto", "id": "id",
	"src": "src", "dst": "dst", "sport": "sport", "dport": "dport",
	"tuple-src": "reply-src", "tuple-dst": "reply-dst",
	"tuple-port-src": "reply-port-src", "tuple-port-dst": "reply-port-dst",
}

// ExpectFilterKeys returns the names of all conditions on expectations: those of
// flows are about the master, tuple-* about the flow to come.
func ExpectFilterKeys() []string {
	keys := make([]string, 0, len(expectKeys))
	for k := range expectKeys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// HasExpectFilter reports whether the query holds a condition on expectations.
func HasExpectFilter(q url.Values) bool {
	return slices.ContainsFunc(ExpectFilterKeys(), q.Has)
}

// ParseExpectFilter reads a filter for expectations from a URL query. Conditions
// that only flows have are refused.
func ParseExpectFilter(q url.Values) (*Filter, error) {
	f := new(Filter)
	for key := range q {
		if expectKeys[key] == "" && slices.Contains(filterKeys, key) {
			return nil, fmt.Errorf("filter %s: selects flows, expectations have nothing of it", key)
		}
	}
	for _, key := range ExpectFilterKeys() {
		if !q.Has(key) {
			continue
		}
		if err := f.set(expectKeys[key], q.Get(key)); err != nil {
			return nil, fmt.Errorf("filter %s: %w", key, err)
		}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// MatchExpectation reports whether the expectation meets all conditions.
func (f *Filter) MatchExpectation(e *flowtable.Expectation) bool {
	s := flowtable.Snapshot{Orig: e.MasterOrig, Reply: e.Tuple, Proto: e.Tuple.Proto, ID: e.ID}
	return f.Match(&s)
}
