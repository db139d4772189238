// Package importer uses the runner, which knows what a Ginkgo suite looks like, and is none.
package importer

import (
	"testing"

	"github.com/tcplab/tcplab/internal/runner"
)

func TestImporter(t *testing.T) {
	if _, err := runner.ParseClock("auto"); err != nil {
		t.Fatal(err)
	}
}
