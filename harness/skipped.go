package harness

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// skipped is what this process has skipped for want of something on this machine.
var skipped struct {
	sync.Mutex
	specs   int
	reasons []string // each once, in the order in which they came
}

func noteSkipped(reason string) {
	skipped.Lock()
	defer skipped.Unlock()
	skipped.specs++
	for _, r := range skipped.reasons {
		if r == reason {
			return
		}
	}
	skipped.reasons = append(skipped.reasons, reason)
}

// tellSkipped says how many of the specs that were to run were skipped for want of something, why, and what to do. "ok" and
// exit status 0 would otherwise be all that is seen of a suite that has shown nothing.
func tellSkipped(w io.Writer, all int) {
	skipped.Lock()
	defer skipped.Unlock()
	if skipped.specs == 0 {
		return
	}
	var said strings.Builder
	where := ""
	if suite, _ := ginkgo.GinkgoConfiguration(); suite.ParallelTotal > 1 { // each has a share of the specs
		where = fmt.Sprintf(" of process %d of %d", suite.ParallelProcess, suite.ParallelTotal)
	}
	fmt.Fprintf(&said, "tcplab: %s: %d of %d specs%s were skipped, and nothing is known of what they are about:\n",
		suiteName, skipped.specs, all, where)
	for _, reason := range skipped.reasons {
		fmt.Fprintf(&said, "tcplab:   %s\n", strings.ReplaceAll(reason, "\n", "\ntcplab:   "))
	}
	fmt.Fprintf(&said, "tcplab: to run them: %s\n", guestCommand())
	neverCached()
	// In one write, lest another suite's come in between.
	_, _ = io.WriteString(w, text.PrintableLines(said.String())) // if nobody listens, there is no one else to tell
}

// neverCached has "go test" run this program again the next time, instead of taking "ok" from its cache without what is said
// here: a result is not kept that depends on a file of the module which has just been written
// (cmd/go/internal/test/test.go, errFileTooNew).
func neverCached() {
	file, err := os.Open(filepath.Join(lastRecord, results.FileName))
	if err == nil {
		file.Close()
	}
}

// visibleErrors is where a person sees what this process says of a suite that has passed. It is standard error, or that of
// the program that has started this one, if that keeps what it is told to itself: "go test" with a list of packages, and
// "ginkgo -p".
func visibleErrors() (w io.Writer, done func()) {
	if theirs := hiddenErrors(); theirs != nil {
		return theirs, func() { theirs.Close() }
	}
	return os.Stderr, func() {}
}

// hiddenErrors is the standard error of a parent that hides ours. It is nil if there is none, or if it cannot be had.
func hiddenErrors() *os.File {
	parent := os.Getppid()
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
	suite, _ := ginkgo.GinkgoConfiguration()
	isGo := err == nil && filepath.Base(program) == "go" && !testing.Verbose()
	if !isGo && suite.ParallelTotal <= 1 {
		return nil
	}
	// With the current directory for a package, go hands its own files on.
	ours, err := os.Stderr.Stat()
	if err != nil || ours.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	for _, number := range []int{1, 2} {
		its, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%d", parent, number))
		if err != nil || os.SameFile(ours, its) {
			return nil
		}
	}
	return errorsOf(parent)
}

// errorsOf is the standard error of another process of this user's, or nil.
func errorsOf(pid int) *os.File {
	const standardError = 2
	// The very same open file, so that what goes to a file has the same offset. It is for root.
	if process, err := unix.PidfdOpen(pid, 0); err == nil {
		defer unix.Close(process)
		if fd, err := unix.PidfdGetfd(process, standardError, 0); err == nil {
			return os.NewFile(uintptr(fd), "the parent's standard error")
		}
	}
	// Opened once more, a terminal and a pipe are the same; a file would be overwritten.
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, standardError)
	info, err := os.Stat(path)
	if err != nil || info.Mode()&(os.ModeCharDevice|os.ModeNamedPipe) == 0 {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return file
}
