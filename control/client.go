package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// Errors that a caller tells apart.
var (
	// ErrNotRunning means that nobody answers on the socket.
	ErrNotRunning = errors.New("no gateway answers there")
	// ErrBadRequest means that the server could not read the request: the
	// user's mistake, not the server's.
	ErrBadRequest = errors.New("bad request")
)

// Client talks to the server behind a control socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket at path. Nothing is opened yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true},
	}}
}

// Result is what a request that ended as it should tells beside its body.
type Result struct {
	Count uint64 // records shown or removed
	Lost  uint64 // events that this reader was too slow for
}

// Get copies the answer to GET path to out. A listing that broke off is an
// error, also when the connection ended in good order.
func (c *Client) Get(ctx context.Context, path string, q url.Values, out io.Writer) (Result, error) {
	return c.copy(ctx, http.MethodGet, path, q, out)
}

// Delete removes what the filter in q selects, and copies those records to out.
func (c *Client) Delete(ctx context.Context, path string, q url.Values, out io.Writer) (Result, error) {
	return c.copy(ctx, http.MethodDelete, path, q, out)
}

// copy sends a request and copies the answer to out.
func (c *Client) copy(ctx context.Context, method, path string, q url.Values, out io.Writer) (Result, error) {
	resp, err := c.do(ctx, method, path, q)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return Result{}, fmt.Errorf("read from %s: %w", c.path, err)
	}
	if _, announced := resp.Trailer[trailerCount]; announced && resp.Trailer.Get(trailerCount) == "" {
		return Result{}, fmt.Errorf("read from %s: the gateway stopped before the listing was whole", c.path)
	}
	return results(resp.Trailer)
}

// Change sends a request that removes everything there is at path.
func (c *Client) Change(ctx context.Context, path string) (Result, error) {
	resp, err := c.do(ctx, http.MethodPost, path, nil)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	return results(resp.Header)
}

// Reload makes the gateway read its settings again, and copies to out what has
// changed.
func (c *Client) Reload(ctx context.Context, q url.Values, out io.Writer) (Result, error) {
	resp, err := c.do(ctx, http.MethodPost, "/reload", q)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return Result{}, fmt.Errorf("read from %s: %w", c.path, err)
	}
	return results(resp.Header)
}

// Events copies events to out as they come, and tells losses on notices, until
// ctx ends (which is no error) or the gateway goes.
func (c *Client) Events(ctx context.Context, path string, q url.Values, out, notices io.Writer) (Result, error) {
	resp, err := c.do(ctx, http.MethodGet, path, q)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	var res Result
	in, w := bufio.NewReader(resp.Body), bufio.NewWriter(out)
	var doc document
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			doc.close(w)
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return res, w.Flush()
			}
			return res, errors.Join(fmt.Errorf("read from %s: %w", c.path, err), w.Flush())
		}
		frame := doc.frames(line)
		lost, isText := lostCount(line)
		if lost > 0 {
			res.Lost += lost
			fmt.Fprintf(notices, "xdpct: events: %d events lost here: this reader is too slow; narrow it with a filter\n", lost)
		} else if !frame {
			res.Count++
		}
		if !isText {
			_, _ = w.Write(line) // Flush tells the error
		}
		if in.Buffered() == 0 || lost > 0 {
			if err := w.Flush(); err != nil {
				return res, fmt.Errorf("write events: %w", err)
			}
		}
	}
}

// lostCount reads a notice of lost events; 0 when the line is none. isText
// tells that it is not part of the format that the reader asked for.
func lostCount(line []byte) (n uint64, isText bool) {
	for _, form := range []string{lostText, lostJSON, lostXML} {
		if number, ok := bytes.CutPrefix(line, []byte(form)); ok {
			n, _ = strconv.ParseUint(string(bytes.TrimRight(number, "} ->\n")), 10, 64)
			return n, form == lostText
		}
	}
	return 0, false
}

// document closes an XML document that is cut off: by the reader, who ends it,
// or with the gateway.
type document struct {
	tail string // what closes it; "" = nothing is open
}

// frames reports whether a line is not a record but what is around them.
func (d *document) frames(line []byte) bool {
	switch string(line) {
	case flowsLine:
		d.tail = flowsClose
	case expectLine:
		d.tail = expectClose
	case flowsClose, expectClose:
		d.tail = ""
	default:
		return bytes.HasPrefix(line, []byte("<?xml "))
	}
	return true
}

// close writes what is missing; the writer keeps the error.
func (d *document) close(w *bufio.Writer) { _, _ = w.WriteString(d.tail) }

// do sends a request and turns every answer but success into an error.
func (c *Client) do(ctx context.Context, method, path string, q url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "xdpct", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	msg := strings.TrimSpace(string(text))
	if resp.StatusCode == http.StatusBadRequest {
		return nil, fmt.Errorf("%w: %s", ErrBadRequest, msg)
	}
	return nil, fmt.Errorf("gateway on %s: %s", c.path, msg)
}

// explain says what to do about a socket that does not answer.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("control socket %s: %w: start it with xdpct run, or name its socket with --control", c.path, ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %s: %w: run this as the user of the gateway (root)", c.path, fs.ErrPermission)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}

// results reads the numbers that came with an answer.
func results(h http.Header) (Result, error) {
	var r Result
	for key, v := range map[string]*uint64{trailerCount: &r.Count, trailerLost: &r.Lost} {
		text := h.Get(key)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return Result{}, fmt.Errorf("answer's %s %q is no number", key, text)
		}
		*v = n
	}
	return r, nil
}
