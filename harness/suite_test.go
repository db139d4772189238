package harness

import (
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2/formatter"
	. "github.com/onsi/gomega"
)

// TestNoColoursInPipes: Ginkgo itself does not look where its output goes.
func TestNoColoursInPipes(t *testing.T) {
	g := NewWithT(t)
	read, write, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer read.Close()
	defer write.Close()
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	os.Stdout = write
	mode := formatter.SingletonFormatter.ColorMode
	defer func() { formatter.SingletonFormatter.ColorMode = mode }()
	g.Expect(reporting().NoColor).To(BeTrue())
	g.Expect(formatter.F("{{red}}wrong{{/}}")).To(Equal("wrong"))
}
