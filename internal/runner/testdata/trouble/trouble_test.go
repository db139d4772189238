// Package trouble is a suite for the runner's tests: its specs give the host trouble, and the one in between passes.
package trouble

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestTrouble(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "trouble")
}

func artefact(name string) string { return filepath.Join(os.Getenv("TCPLAB_ARTEFACTS"), name) }

var _ = It("leaves a file that cannot be taken", func() {
	Expect(os.WriteFile(artefact("new\nline"), nil, 0o644)).To(Succeed())
})

var _ = It("has no folder on the host", func() {})

var _ = It("fills the disk", func() {
	file, err := os.Create(artefact("filling"))
	Expect(err).NotTo(HaveOccurred())
	for err == nil {
		_, err = file.Write(make([]byte, 4<<10))
	}
})

var _ = It("does not end", Label("slow"), func() {
	for {
		time.Sleep(time.Hour)
	}
})

var _ = It("passes all the same", func() {})
