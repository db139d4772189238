package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm"
)

// withoutCompiler has a go command that only tells that it was called.
func withoutCompiler(t *testing.T) (called func() bool) {
	t.Helper()
	bin := t.TempDir()
	mark := filepath.Join(bin, "called")
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\ntouch "+mark+"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return func() bool {
		_, err := os.Stat(mark)
		return err == nil
	}
}

// Bad input is refused in one line, before anything is compiled, and leaves nothing.
func TestBadInputIsRefusedBeforeAnythingIsCompiled(t *testing.T) {
	run := [][]string{{"run"}}
	guests := [][]string{{"run"}, {"run", "--kernel", "6.1,6.12"}, {"seeds"}}
	all := append([][]string{{"reproducible"}}, guests...)
	filters := append([][]string{{"list"}}, all...)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		commands [][]string
		args     []string
		says     string
	}{
		{guests, []string{"--mips", "0"}, "--mips 0: a guest has one of [1000 500 250 125] (default: 500)"},
		{guests, []string{"--mips", "750"}, "--mips 750: a guest executes one of 1000, 500, 250, 125 million instructions in a second"},
		{guests, []string{"--memory", "0"}, "--memory 0: a guest needs 160 MiB or more"},
		{guests, []string{"--memory", "1"}, "--memory 1: a guest needs 160 MiB or more"},
		{guests, []string{"--memory", "-5"}, "--memory -5: a guest needs 160 MiB or more"},
		{guests, []string{"--memory", "99999999"}, "--memory 99999999: this machine has "},
		{all, []string{"-j", "0"}, "--jobs 0: guests side by side are 1 or more"},
		{guests, []string{"--share", "0"}, "--share 0: scenarios in the same guest are 1 or more"},
		{guests, []string{"--share", "-2"}, "--share -2: scenarios in the same guest are 1 or more"},
		{all, []string{"-j", "-3"}, "--jobs -3: guests side by side are 1 or more"},
		{guests, []string{"--limit", "0s"}, "--limit 0s: a guest needs more than no time"},
		{guests, []string{"--limit", "-1m"}, "--limit -1m0s: a guest needs more than no time"},
		{guests, []string{"--include", "/no/such/file"}, "--include /no/such/file: stat /no/such/file: no such file"},
		{guests, []string{"--include", "/no/such/file=/etc/file"}, "--include /no/such/file=/etc/file: stat /no/such/file: no such file"},
		{guests, []string{"--include", file + "=etc/file"}, "the path in the guest must start with a slash"},
		{guests, []string{"--include", "=/etc/file"}, "no path: name a file"},
		{guests, []string{"--include", ""}, "no path: name a file"},
		{guests, []string{"--include", "/dev/null"}, "is neither a file nor a directory"},
		{filters, []string{"--focus", "("}, "regular expression"},
		{filters, []string{"--label", "a &&"}, "label filter"},
		{[][]string{{"run"}, {"seeds"}, {"reproducible"}}, []string{"--kernel", "six"}, "kernel six: stat six: no such file"},
		{[][]string{{"run"}, {"reproducible"}}, []string{"--kernel", "/no/such/vmlinuz"}, "kernel /no/such/vmlinuz: stat"},
		{run, []string{"--id", "../x"}, `id "../x": allowed are`},
		{run, []string{"--id", "latest"}, "is the name of the link"},
		{run, []string{"--id", "new", "--results", file}, "is not a folder"},
		{run, []string{"--clock", "real", "--kernel", "6.1"}, "that is the clock of this machine's own kernel"},
	} {
		for _, command := range c.commands {
			args := append(append([]string{}, command...), c.args...)
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				g := NewWithT(t)
				if _, err := vm.FindQEMU(); err != nil && strings.Contains(c.says, "kernel") {
					t.Skip(err)
				}
				called := withoutCompiler(t)
				temporary := t.TempDir()
				t.Setenv("TMPDIR", temporary)
				t.Setenv("TCPLAB_CACHE", filepath.Join(temporary, "cache"))
				t.Chdir(t.TempDir())
				output, err := tcplab(args...)
				g.Expect(err).To(MatchError(ContainSubstring(c.says)))
				g.Expect(strings.Count(err.Error(), "\n")).To(BeZero(), err.Error())
				g.Expect(err).NotTo(MatchError(errFailed))
				g.Expect(output).NotTo(ContainSubstring("Usage"))
				g.Expect(called()).To(BeFalse())
				for _, dir := range []string{temporary, "."} {
					g.Expect(os.ReadDir(dir)).To(BeEmpty())
				}
			})
		}
	}
}

// A module that the kernel does not have is found out before anything is compiled, too; but it takes a kernel.
func TestModulesThatTheKernelDoesNotHave(t *testing.T) {
	testenv.BootsGuests(t)
	for _, command := range []string{"run", "seeds"} {
		g := NewWithT(t)
		called := withoutCompiler(t)
		t.Chdir(t.TempDir())
		_, err := tcplab(command, "--kernel", "default", "--modules", "sch_netem,sch_none")
		g.Expect(err).To(MatchError(MatchRegexp(`^--modules: kernel \S+: no such module: sch_none$`)))
		g.Expect(called()).To(BeFalse())
	}
}

// A bare "tcplab run" runs the scenarios, and where there are none all suites.
func TestDefaultSuites(t *testing.T) {
	g := NewWithT(t)
	t.Chdir(t.TempDir())
	g.Expect(defaultSuites()).To(Equal("./..."))
	g.Expect(os.MkdirAll("scenarios/deep", 0o755)).To(Succeed())
	g.Expect(os.WriteFile("scenarios/deep/notes.yaml", nil, 0o644)).To(Succeed())
	g.Expect(defaultSuites()).To(Equal("./..."))
	g.Expect(os.WriteFile("scenarios/deep/x_test.go", nil, 0o644)).To(Succeed())
	g.Expect(defaultSuites()).To(Equal("./scenarios/..."))
}
