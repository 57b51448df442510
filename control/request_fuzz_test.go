package control_test

import (
	"context"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/control"
)

// FuzzRequest asks a server for anything, with any query: it answers with a status that
// tells whose mistake it is, never with one of its own, and takes no filter that leaves
// out a word of the query.
func FuzzRequest(f *testing.F) {
	for _, query := range []string{"", "proto=tcp&dport=21&state=ESTABLISHED", "src=10.0.0.0/8&reply-dst=192.0.2.1", "format=json&family=ipv6",
		"format=proc", "status=ASSURED,SEEN_REPLY", "format=xml&id=1", "natted=any", "proto=256&src=%zz", "limit=-1", "src=fd00::/129"} {
		for _, path := range []string{"GET /flows", "GET /flows/count", "DELETE /flows", "GET /expectations", "DELETE /expectations", "GET /events", "GET /stats"} {
			f.Add(path, query)
		}
	}
	f.Fuzz(func(t *testing.T, request, query string) {
		method, path, _ := strings.Cut(request, " ")
		u := url.URL{Scheme: "http", Host: "xdpct", Path: path, RawQuery: query}
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) || method == "" {
			return
		}
		b := newBackend(t, 1, 16)
		for _, s := range goldenFlows()[:2] {
			s.Helper = 0
			b.mustInsert(t, 0, s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if strings.HasPrefix(path, "/events") {
			cancel() // streams end at once
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, method, "http://xdpct/", nil)
		r.URL = &u
		control.Handler(b).ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("%s %s?%s: status %d: %s", method, path, query, w.Code, w.Body)
		}
		if q, err := url.ParseQuery(query); err == nil && len(q) > 0 {
			filter, err := control.ParseFilter(q)
			if (err == nil) != (filter != nil) {
				t.Errorf("%q: filter %v, error %v", query, filter, err)
			}
		}
	})
}
