package results

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestThisHost(t *testing.T) {
	g := NewWithT(t)
	host := ThisHost()
	g.Expect(host.Kernel.Release).To(MatchRegexp(`^\d+\.\d+`))
	g.Expect(host.CPUs).To(BeNumerically(">", 0))
	g.Expect(host.Memory).To(BeNumerically(">", 16<<20))
	record := small("suite", "scenario")
	record.Host = &host
	g.Expect(record.Validate()).To(Succeed())
}
