// Package twin has the description of another suite.
package twin

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
)

func TestTwin(t *testing.T) { RunSpecs(t, "bare") }

var _ = It("has another text", func() {})
