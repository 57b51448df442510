// Package bench is what all measurements of the gateway have in common: the
// record of a result, the description of the machine that it was measured on,
// the forms that results are printed in, and progress.
//
// The measurements are in the packages below this one and return records;
// `xdpct bench` runs them. A file of results is JSON lines: a Header, then a
// Record a line, by any number of such groups. Method and figures are in
// docs/performance.md.
package bench
