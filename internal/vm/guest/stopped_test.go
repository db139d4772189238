//go:build linux && amd64

package guest

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

// What ran is told of the program first, whatever thread of the kernel ran at the moment of the request to stop.
func TestInShortBeginsWithTheProgram(t *testing.T) {
	g := NewWithT(t)
	processes := []process{
		{pid: 15, name: "rcu_preempt", state: "R", kernel: true},
		{pid: 92, name: "peer", state: "S", where: "pipe_read"},
		{pid: 9, name: "ksoftirqd/0", state: "D", kernel: true},
		{pid: 88, name: "program", state: "R"},
	}
	slices.SortFunc(processes, kernelLast)
	g.Expect(inShort(processes)).To(Equal("program (88) running; peer (92) sleeping in pipe_read; " +
		"ksoftirqd/0 (9) in an uninterruptible sleep; rcu_preempt (15) running"))
	g.Expect(inShort(nil)).To(Equal("no process"))
}
