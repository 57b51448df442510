// Package soak lets a gateway live through mixed traffic and faults for as long as it
// is told, and then looks whether anything is left that should not be: frames, flows,
// memory, or a byte that is not as it was sent.
//
// What happens when follows from a seed, as far as the machine lets it: the order of
// faults and their pauses, not where in a transfer they fall.
//
// Files: soak_test.go the whole course and what is judged at its end; traffic_test.go who
// speaks; faults_test.go what goes wrong.
package soak
