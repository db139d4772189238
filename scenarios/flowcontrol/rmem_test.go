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

var _ = DescribeTable("limits receive buffer autotuning (tcp_rmem) to 1/128 of memory, and to at most", Label("quick", "linux"),
	func(ctx SpecContext, most int) {
		// The kernel sets tcp_rmem at boot from the memory that is free then. That is less than MemTotal: what it
		// boots from, such as the initramfs of the guest, is not free yet.
		const least = 0.6
		lab := harness.NewLab(ctx)
		net := lab.Direct()
		k, numbers, total := net.Server().Oracle(), receiveMemory(net.Server()), memory()
		low, high := k.ReceiveBufferMost(int64(least*float64(total))), k.ReceiveBufferMost(total)

		// A guest of 512 MB has too little memory to reach the maximum; one of 8 GB (--memory 8192) does.
		Expect(k.ReceiveBufferMost(math.MaxInt64)).To(Equal(most))
		Expect(numbers[:2]).To(Equal([]int{os.Getpagesize(), defaultBuffer}))
		lab.Measure("tcp_rmem[2]", bounds.In(numbers[2], "bytes"), bounds.Between(low, high), fmt.Sprintf("tcp_init, with %d MB of memory", total>>20))
	},
	Entry("32 MB", ComponentSemVerConstraint("kernel", ">= 6.16.0"), 32<<20),
	Entry("6 MB", ComponentSemVerConstraint("kernel", "< 6.16.0"), 6<<20),
)
