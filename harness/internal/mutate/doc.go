// Package mutate proves that the suites notice when tcplab is broken. It has only tests.
//
// A mutation is a small change of the source that makes tcplab lie: it impairs nothing, or the wrong
// direction, or looks at the wrong counters. It is compiled by an overlay (go help build, -overlay), so
// that the source stays as it is, and the suites that should notice run with it, in guests: at least one of
// their specs must fail. To add one, add it to the list in mutations_test.go.
//
//	go test ./harness/internal/mutate              # that each mutation still applies, and compiles
//	TCPLAB_MUTATE=1 go test -v ./harness/internal/mutate    # or make mutate: that each is noticed; needs QEMU
package mutate
