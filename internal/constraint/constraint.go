// Package constraint decides whether a spec is for a kernel. A spec says so with Ginkgo's decorator
//
//	It("...", ComponentSemVerConstraint("kernel", ">= 6.5.0"), func(ctx SpecContext) { ... })
package constraint

import (
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

// Kernel is the component that specs call the kernel.
const Kernel = "kernel"

// Filter returns Ginkgo's --sem-ver-filter for a kernel. It has the three numbers only: "-56-amd64" after them would read
// as a version before that one.
func Filter(running kernelversion.Version) string { return Kernel + "=" + running.String() }

// Unmet returns why a kernel does not meet all conditions of a spec, such as ">= 6.5.0", or "" where it does.
func Unmet(conditions []string, running kernelversion.Version) string {
	fits := types.MustParseSemVerFilter(Filter(running))
	if fits(Kernel, conditions) {
		return ""
	}
	return fmt.Sprintf("is for kernels %s; this is %s", strings.Join(conditions, " and "), running.Release)
}
