// Package misbuilt has a tree of specs that Ginkgo refuses.
package misbuilt

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
)

func TestMisbuilt(t *testing.T) { RunSpecs(t, "misbuilt") }

var _ = Describe("a container that is not ordered", func() {
	BeforeAll(func() {})
	It("never begins", func() {})
})
