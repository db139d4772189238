package harness

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

func TestMisfit(t *testing.T) {
	g := NewWithT(t)
	debian, err := kernelversion.Parse("6.1.0-56-amd64")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(misfit(nil, debian)).To(BeEmpty())
	g.Expect(misfit([]string{">= 6.1.0"}, debian)).To(BeEmpty())
	g.Expect(misfit([]string{">= 5.0.0", "< 6.5.0"}, debian)).To(BeEmpty())
	g.Expect(misfit([]string{">= 5.0.0", ">= 6.5.0"}, debian)).To(Equal("is for kernels >= 5.0.0 and >= 6.5.0; this is 6.1.0-56-amd64"))
}
