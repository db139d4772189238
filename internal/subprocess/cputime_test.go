package subprocess

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

func TestCPUTime(t *testing.T) {
	g := NewWithT(t)
	before, err := CPUTime(os.Getpid())
	g.Expect(err).NotTo(HaveOccurred())
	for began := time.Now(); ; {
		after, err := CPUTime(os.Getpid())
		g.Expect(err).NotTo(HaveOccurred())
		if after >= before+10*time.Millisecond { // by this very loop
			break
		}
		g.Expect(time.Since(began)).To(BeNumerically("<", time.Minute))
	}
	var own unix.Rusage
	g.Expect(unix.Getrusage(unix.RUSAGE_SELF, &own)).To(Succeed())
	total := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	after, err := CPUTime(os.Getpid())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after).To(BeNumerically("~", total, 50*time.Millisecond))
	const never = 1<<22 + 1 // above the largest number of a process (PID_MAX_LIMIT)
	_, err = CPUTime(never)
	g.Expect(err).To(HaveOccurred())
}
