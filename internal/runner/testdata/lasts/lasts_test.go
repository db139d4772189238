// Package lasts is a suite for the runner's tests: in virtual time a spec can last longer than the hour that Ginkgo gives a
// suite by default.
package lasts

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestLasts(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "lasts")
}

var _ = It("lasts as long as a keepalive's default", func(ctx SpecContext) {
	select {
	case <-time.After(131 * time.Minute):
	case <-ctx.Done():
		Fail("ended before its time")
	}
})
