// Package runner runs compiled test suites on the clock that a machine can offer.
//
// A suite is a Go package with tests. Whether Ginkgo is among them, and with which specs, is asked
// of the compiled program by a dry run, which runs tests of package testing that stand beside a
// Ginkgo suite: have either in a package. The specs of a Ginkgo suite run each in a guest of its
// own, as many side by side as there are cores, so that one scenario run alone gives the
// same bytes as when it runs with all others; any other test package runs whole in one
// guest, as root. On the real clock a suite runs on this kernel, as it is, one after the
// other.
//
// In virtual time the same inputs give the same bytes, so that a spec which passed with the
// very same inputs need not run again: its files come from the cache, as with go test.
//
// It needs the go command to compile suites (compiled ones can be named too), and for virtual
// time what package vm needs.
package runner
