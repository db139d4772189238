package harness

import (
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

// kernelComponent is what a spec calls the kernel in Ginkgo's decorator for versions.
const kernelComponent = "kernel"

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
	if reason := misfit(ginkgo.CurrentSpecReport().ComponentSemVerConstraints()[kernelComponent], running); reason != "" {
		ginkgo.Skip(reason)
	}
}

// misfit says why a kernel does not meet the conditions of a spec, or nothing if it does. Of a release only the
// three numbers count: "-56-amd64" behind them would read as a version before that one.
func misfit(conditions []string, running kernelversion.Version) string {
	fits := types.MustParseSemVerFilter(kernelComponent + "=" + running.String())
	if fits(kernelComponent, conditions) {
		return ""
	}
	return fmt.Sprintf("is for kernels %s; this is %s", strings.Join(conditions, " and "), running.Release)
}
