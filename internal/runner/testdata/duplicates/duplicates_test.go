// Package duplicates has two specs that cannot be told apart.
package duplicates

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
)

func TestDuplicates(t *testing.T) { RunSpecs(t, "duplicates") }

var _ = It("is there", func() {})
var _ = It("is there", func() {})
