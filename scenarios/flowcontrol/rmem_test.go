package flowcontrol

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
)

// memory is the memory of the machine (MemTotal), in bytes.
func memory() int64 {
	GinkgoHelper()
	text, err := os.ReadFile("/proc/meminfo")
	Expect(err).NotTo(HaveOccurred())
	found := regexp.MustCompile(`(?m)^MemTotal: +(\d+) kB$`).FindSubmatch(text)
	Expect(found).To(HaveLen(2), "MemTotal in /proc/meminfo")
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	Expect(err).NotTo(HaveOccurred())
	return kilobytes << 10
}

// receiveMemory are the three numbers of tcp_rmem, as a new network namespace has them.
func receiveMemory(host *harness.Host) (numbers [3]int) {
	GinkgoHelper()
	text, err := host.Host.Sysctl("net.ipv4.tcp_rmem")
	Expect(err).NotTo(HaveOccurred())
	words := strings.Fields(text)
	Expect(words).To(HaveLen(len(numbers)), text)
	for i, word := range words {
		numbers[i], err = strconv.Atoi(word)
		Expect(err).NotTo(HaveOccurred())
	}
	return numbers
}

// leastFree is the share of the memory that is free when the kernel sets tcp_rmem, at boot, at least: what it boots from, such as
// the initramfs of the guest, is not free yet.
const leastFree = 0.6

var _ = It("limits receive buffer autotuning (tcp_rmem) to 1/128 of the memory that is free at boot", Label("quick", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Direct()
	k, numbers, total := net.Server().Oracle(), receiveMemory(net.Server()), memory()
	low, high := k.ReceiveBufferMost(int64(leastFree*float64(total))), k.ReceiveBufferMost(total)

	Expect(numbers[:2]).To(Equal([]int{os.Getpagesize(), defaultBuffer}))
	lab.Measure("tcp_rmem[2]", bounds.In(numbers[2], "bytes"), bounds.Between(low, high), fmt.Sprintf("tcp_init, with %d MB of memory", total>>20))
	lab.Note("share of the kernel's maximum", bounds.Percent(float64(numbers[2])/float64(k.ReceiveBufferMost(math.MaxInt64))))
})

var _ = DescribeTable("limits receive buffer autotuning (tcp_rmem), however much memory there is, to", Label("quick", "linux"),
	func(ctx SpecContext, most int) {
		const before = 6 << 20 // the maximum until Linux 6.16
		total := memory()
		if least := int(leastFree * float64(total) / 128); least <= before {
			Skip(fmt.Sprintf("1/128 of what is free of %d MB may be less than any kernel's maximum: --memory 2048 shows it", total>>20))
		}
		lab := harness.NewLab(ctx)
		net := lab.Direct()
		k, numbers := net.Server().Oracle(), receiveMemory(net.Server())
		// Where memory decides and not the maximum, it is more than the maximum of before; from 8 GB on it is the maximum.
		low, high := k.ReceiveBufferMost(int64(leastFree*float64(total))), k.ReceiveBufferMost(total)
		Expect(high).To(BeNumerically("<=", most))
		lab.Measure("tcp_rmem[2]", bounds.In(numbers[2], "bytes"), bounds.Between(low, high), fmt.Sprintf("tcp_init, with %d MB of memory", total>>20))
	},
	Entry("32 MB, and no longer 6 MB", ComponentSemVerConstraint("kernel", ">= 6.16.0"), 32<<20),
	Entry("6 MB", ComponentSemVerConstraint("kernel", "< 6.16.0"), 6<<20),
)
