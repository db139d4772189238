package constraint

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

func TestUnmet(t *testing.T) {
	g := NewWithT(t)
	debian, err := kernelversion.Parse("6.1.0-56-amd64")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Unmet(nil, debian)).To(BeEmpty())
	g.Expect(Unmet([]string{">= 6.1.0"}, debian)).To(BeEmpty())
	g.Expect(Unmet([]string{">= 5.0.0", "< 6.5.0"}, debian)).To(BeEmpty())
	g.Expect(Unmet([]string{">= 5.0.0", ">= 6.5.0"}, debian)).To(Equal("is for kernels >= 5.0.0 and >= 6.5.0; this is 6.1.0-56-amd64"))
}
