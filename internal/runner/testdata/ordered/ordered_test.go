// Package ordered is a suite for the runner's tests: specs of it share state, as those of an Ordered container may.
package ordered

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestOrdered(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "ordered")
}

var _ = It("stands alone", func() {})

var _ = Describe("two flows,", func() {
	Describe("one after the other,", Ordered, func() {
		var ran []string
		BeforeAll(func() { ran = append(ran, "before") })
		It("measures BBR", Label("first"), func() { ran = append(ran, "bbr") })
		PIt("measures Vegas", func() {})
		It("measures CUBIC", func() { ran = append(ran, "cubic") })
		It("compares them", Label("last"), func() { Expect(ran).To(Equal([]string{"before", "bbr", "cubic"})) })
	})
	It("is beside it", func() {})
})

var _ = Describe("a failure", Ordered, Label("fails"), func() {
	It("comes first", func() { Fail("as it should") })
	It("keeps what comes after it from running", func() {})
})

// Two of one text are told apart by their line; two of one line, by their text.
var _ = Describe("pairs", func() {
	for _, name := range []string{"one", "other"} {
		Describe(name, Ordered, func() {
			It("begins", func() {})
			It("ends", func() {})
		})
	}
	It("are two", func() {})
})
