package harness

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// What a machine lacks is said once, whoever shows what a suite says.
func TestWhatIsSkippedIsSaid(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	told := func(text, fixture string, specs string) {
		t.Helper()
		g.Expect(strings.Count(text, "tcplab: fixture "+fixture+": "+specs+" specs were skipped, and nothing is known")).To(Equal(1), text)
		g.Expect(strings.Count(text, "tcplab:   there is no such thing here\n")).To(Equal(1), text)
		g.Expect(text).To(MatchRegexp(`tcplab: to run them: .*tcplab run`))
	}
	told(start(t, "lacks").finish(0).output.String(), "lacks", "2 of 4")
	told(start(t, "lacks and fails").finish(1).output.String(), "lacks and fails", "1 of 2")
	g.Expect(start(t, "skips", "--ginkgo.focus=passes").finish(0).output.String()).NotTo(ContainSubstring("tcplab:"))
	g.Expect(start(t, "lacks", "--ginkgo.dry-run").finish(0).output.String()).NotTo(ContainSubstring("tcplab:"))
}

// A spec whose program is not installed does not run, whatever else it needs, and is named with what to do.
func TestSpecsWithoutTheirProgramAreSkipped(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	const reason = "needs no-such-program, which is not installed: apt-get install --no-install-recommends no-such-program"
	output := start(t, "lacks a program").finish(0).output.String()
	g.Expect(output).To(ContainSubstring("tcplab: fixture lacks a program: 1 of 2 specs were skipped"))
	g.Expect(output).To(ContainSubstring("tcplab:   " + reason + "\n"))
}

// "go test ./..." shows nothing of a package that passes.
func TestWhatIsSkippedIsSaidBehindGo(t *testing.T) {
	t.Parallel()
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(this)
	if err != nil {
		t.Fatal(err)
	}
	goCommand := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(goCommand, program, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(fixture string, args ...string) (out, errors string, status int) {
		s := start(t, fixture, args...)
		var stdout, stderr bytes.Buffer
		s.command.Path = goCommand
		s.command.Env = append(s.command.Env, goVariable+"="+this)
		s.command.Stdout, s.command.Stderr = &stdout, &stderr
		err := s.command.Run()
		if exit, ok := err.(*exec.ExitError); ok {
			status = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		return stdout.String(), stderr.String(), status
	}
	const said = "specs were skipped, and nothing is known"
	g := NewWithT(t)
	out, told, status := run("lacks")
	g.Expect(status).To(BeZero())
	g.Expect(out).To(Equal("ok\n"))
	g.Expect(strings.Count(told, said)).To(Equal(1), told)

	// Where go shows it itself, it is not said twice.
	out, told, status = run("lacks and fails")
	g.Expect(status).To(Equal(1))
	g.Expect(strings.Count(out, said)).To(Equal(1), out)
	g.Expect(told).To(BeEmpty())
	_, told, _ = run("lacks", "-test.v")
	g.Expect(told).To(BeEmpty())
}
