// Package bench measures the gateway as a whole. Benchmarks of single parts
// are beside those parts; nothing imports this package.
//
// BenchmarkPipeline drives the product's own packet path (dataplane.Memory)
// from parse to TX ring. Method, figures and how to read them are in
// docs/performance.md.
package bench
