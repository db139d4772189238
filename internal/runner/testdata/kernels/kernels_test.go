// Package kernels is a suite for the runner's tests: its specs are for some kernels.
package kernels

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestKernels(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "kernels", ComponentSemVerConstraint("kernel", ">= 4.0.0"))
}

var _ = It("is for all", func() {})

var _ = It("is for those from the far future", ComponentSemVerConstraint("kernel", ">= 999.0.0"), Label("quick"), func() {
	Fail("it ran")
})

var _ = Describe("of the nineties,", ComponentSemVerConstraint("kernel", "< 3.0.0"), func() {
	It("is for none, and is about something else too", ComponentSemVerConstraint("iproute", ">= 6.0.0"), func() { Fail("it ran") })
})
