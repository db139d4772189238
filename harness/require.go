package harness

import (
	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/internal/constraint"
)

// skipOtherKernel skips a spec that is for other kernels than this. A spec that depends on the kernel's version says
// so with Ginkgo's decorator
//
//	It("...", ComponentSemVerConstraint("kernel", ">= 6.5.0"), func(ctx SpecContext) { ... })
//
// "tcplab run" leaves it out where it does not fit, and records why. This is for plain Ginkgo, which looks at
// versions only where it is told them (--sem-ver-filter=kernel=6.1.0). A different kernel version is not a
// missing capability, so the spec is skipped even with TCPLAB_REQUIRE=1.
func skipOtherKernel() {
	running, err := kernelversion.Running()
	check(err)
	if reason := constraint.Unmet(ginkgo.CurrentSpecReport().ComponentSemVerConstraints()[constraint.Kernel], running); reason != "" {
		ginkgo.Skip(reason)
	}
}
