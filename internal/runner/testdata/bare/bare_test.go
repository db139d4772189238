// Package bare is a Ginkgo suite that does without the harness.
package bare

import (
	"fmt"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestBare(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "bare")
}

var _ = It("passes without a harness", Label("alone"), func() {})

var _ = It("waits to be interrupted", Label("slow"), func(ctx SpecContext) {
	fmt.Println("waiting")
	<-ctx.Done()
	fmt.Println("interrupted")
})
