// Command xdpct is a NAT gateway and connection tracker in user space, on
// AF_XDP.
//
// Nouns read and never change anything: flows, events, expectations, stats,
// ports, check, version. Verbs change: run, reload, flush, delete. All but run, check
// and version talk to a running gateway through its control socket.
//
// Each command is a file: a function that makes the cobra command, and a plain
// function that does the work with an env (streams and environment), which
// tests call without a process.
//
// Exit codes: 0 done, 1 failed, 2 usage, 3 not permitted or not supported. An
// error is one line on stderr: what went wrong, where, and what to do.
//
// This package is the only one that knows all others; it wires them.
package main
