// Package focused has a spec that is focused in its source.
package focused

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
)

func TestFocused(t *testing.T) { RunSpecs(t, "focused") }

var _ = FIt("is in focus", func() {})
var _ = It("is out of focus", func() {})
