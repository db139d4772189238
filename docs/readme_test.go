package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/tcplab/tcplab/internal/testenv"
)

func readREADME(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(readme)
}

// block is the content of the README's first fenced block that begins like this.
func block(t *testing.T, fence, begin string) string {
	t.Helper()
	_, after, found := strings.Cut(readREADME(t), "\n```"+fence+"\n"+begin)
	if !found {
		t.Fatalf("README.md has no block of %s that begins with %q", fence, begin)
	}
	content, _, _ := strings.Cut(after, "\n```")
	return begin + content + "\n"
}

// What stands around the README's statements on impairments.
const (
	impairmentsHead = `package mine

import (
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/impair/schedule"
)

func _(path *harness.Network, seen analysis.Segment, outages schedule.Schedule) (profiles.Profile, error) {
`
	impairmentsFoot = `
	return link, err
}
`
)

// userModule is a folder with the two files that the README has its reader make, as they stand there, and its other Go code.
func userModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	module := block(t, "go.mod", "module ")
	const replaced = "=> ../tcplab\n"
	if !strings.Contains(module, replaced) {
		t.Fatalf("the README's go.mod takes tcplab from elsewhere than %q:\n%s", replaced, module)
	}
	// What "go mod tidy" would add is from here: the same versions, so that the module cache has all of them.
	own, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, requirements := range regexp.MustCompile(`(?ms)^require \(.*?^\)\n`).FindAllString(string(own), -1) {
		module += "\n" + requirements
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"go.mod":       strings.ReplaceAll(module, replaced, "=> "+checkout+"\n"),
		"go.sum":       string(sums),
		"mine_test.go": block(t, "go", "package "),
		// Statements, in a function that has what they speak of.
		"impairments_test.go": impairmentsHead + block(t, "go", "path.ToServer.Impair(") + impairmentsFoot,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a reader pastes compiles in a module of their own. Nothing is downloaded: all that it takes, this module takes as well.
func TestREADMEsFileCompilesInAModuleOfItsOwn(t *testing.T) {
	testenv.Program(t, "go", "to compile the README's file")
	dir := userModule(t)
	formatted, err := exec.Command("gofmt", "-l", filepath.Join(dir, "mine_test.go")).CombinedOutput()
	if err != nil || len(formatted) > 0 {
		t.Errorf("gofmt would change the README's file: %v %s", err, formatted)
	}
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = dir
	// -mod=mod takes a go.mod that has more than it needs.
	vet.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	if output, err := vet.CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, output)
	}
}

// shownScenarios are the scenarios in the README's table, which has them wrapped, by the columns of its head.
func shownScenarios(t *testing.T) (scenarios []string) {
	t.Helper()
	_, table, _ := strings.Cut(readREADME(t), "    SUITE ")
	head, rows, found := strings.Cut("    SUITE "+table, "\n")
	from, to := strings.Index(head, "SCENARIO"), strings.Index(head, "VERDICT")
	if !found || from < 0 || to < 0 {
		t.Fatal("README.md has no table of a run")
	}
	for row := range strings.Lines(rows) {
		row = strings.TrimRight(row, "\n")
		if !strings.HasPrefix(row, "    ") {
			break // the table's end
		}
		row += strings.Repeat(" ", max(0, to-len(row)))
		cell := row[from:to]
		switch {
		case strings.TrimSpace(cell) == "" || strings.HasPrefix(cell, "  "): // a figure
		case strings.TrimSpace(row[to:]) != "":
			scenarios = append(scenarios, strings.TrimSpace(cell))
		default: // the rest of a wrapped text
			scenarios[len(scenarios)-1] += " " + strings.TrimSpace(cell)
		}
	}
	return scenarios
}

// The README's table is of a run: what it shows is a scenario still, by that name.
func TestREADMEsTableShowsScenariosThatExist(t *testing.T) {
	g := NewWithT(t)
	var covered []string
	for _, r := range readCoverage(t) {
		covered = append(covered, r.specs...)
	}
	shown := shownScenarios(t)
	g.Expect(len(shown)).To(BeNumerically(">=", 2))
	for _, scenario := range shown {
		g.Expect(covered).To(ContainElement(scenario))
	}
}

// Links lead somewhere, in the README and the other documents.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, "../README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			target := filepath.Join(filepath.Dir(document), found[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s has a link to %s: %v", document, found[1], err)
			}
		}
	}
}
