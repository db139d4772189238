// Package linked could run a Ginkgo suite, and does not.
package linked

import (
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"
)

func TestLinked(t *testing.T) {
	if os.Getenv("NO_SUCH_VARIABLE") != "" {
		RunSpecs(t, "linked")
	}
}
