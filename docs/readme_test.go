package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// remark is a comment behind a line of code: the README has some that the scenario does not need.
var remark = regexp.MustCompile(`(?m)(\S) +// .*$`)

func TestREADMEShowsAScenarioAsItIs(t *testing.T) {
	g := NewWithT(t)
	const file = "../scenarios/handshake/refused_test.go"
	readme, err := os.ReadFile("../README.md")
	g.Expect(err).NotTo(HaveOccurred())
	scenario, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())

	_, section, _ := strings.Cut(string(readme), "## A scenario\n")
	_, block, _ := strings.Cut(section, "```go\n")
	shown, _, found := strings.Cut(block, "```")
	g.Expect(found).To(BeTrue(), "README.md has no scenario")
	g.Expect(string(scenario)).To(ContainSubstring(remark.ReplaceAllString(shown, "$1")), "README.md shows the spec of "+file)
}
