package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/internal/testenv"
)

func TestDiagnose(t *testing.T) {
	g := NewWithT(t)
	address := testenv.Listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "hello\n"); _, _ = io.Copy(io.Discard, c) })
	output, err := tcplab("diagnose", address, "--wait")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(output).To(And(ContainSubstring("connect 3 of 3"), ContainSubstring("wait for the greeting: 5 of 5"), ContainSubstring("Nothing found")))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	listener.Close()
	output, err = tcplab("diagnose", listener.Addr().String())
	g.Expect(err).To(MatchError(exitStatus(diagnose.Refused.ExitStatus())))
	g.Expect(output).To(ContainSubstring("! refused (certain)"))

	output, err = tcplab("diagnose", listener.Addr().String(), "--json")
	g.Expect(err).To(MatchError(exitStatus(diagnose.Refused.ExitStatus())))
	var report diagnose.Report
	g.Expect(json.Unmarshal([]byte(output), &report)).To(Succeed())
	g.Expect(report.Findings).To(ConsistOf(HaveField("Kind", diagnose.Refused)))
	g.Expect(report.Attempts[0].Errno).To(Equal("ECONNREFUSED"))
}

func TestDiagnoseRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"localhost: want HOST:PORT":      {"localhost"},
		"Options.Port":                   {"localhost:0"},
		"Options.Timeout":                {"localhost:80", "--timeout", "-1s"},
		"Options.ConnectOnly":            {"localhost:80", "--connect", "--wait"},
		"--upload x: want a size":        {"localhost:80", "--upload", "x"},
		"Options.Upload":                 {"localhost:80", "--upload", "2GB"},
		"-4 and -6: give one of them":    {"localhost:80", "-4", "-6"},
		`--send "x: want text with Go's`: {"localhost:80", "--send", `"x`},
	} {
		_, err := tcplab(append([]string{"diagnose"}, args...)...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}

// TestDiagnoseOfAHostileServer: what a server says is quoted in a finding, and gives no orders.
func TestDiagnoseOfAHostileServer(t *testing.T) {
	address := testenv.Listen(t, func(c net.Conn) { _, _ = io.WriteString(c, hostile+"\r\n\r\n"); _, _ = io.Copy(io.Discard, c) })
	for _, c := range []struct {
		kind diagnose.Kind
		args []string
	}{{diagnose.NotHTTP, []string{"--http", "/"}}, {diagnose.TLSFailed, []string{"--tls"}}, {diagnose.NotHTTP, []string{"--http", "/", "--json"}}} {
		stdout, stderr, err := connected(append([]string{"diagnose", address}, c.args...)...)
		NewWithT(t).Expect(err).To(MatchError(exitStatus(c.kind.ExitStatus())))
		expectHarmless(t, "diagnose", stdout)
		expectHarmless(t, "diagnose", stderr)
	}
}

// TestDiagnoseEndsOnSignals: with what there is by then, and the signal's status.
func TestDiagnoseEndsOnSignals(t *testing.T) {
	g := NewWithT(t)
	address := testenv.Listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	command := process("diagnose", address, "--send", "x", "--timeout", "1m")
	output, err := command.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(command.Start()).To(Succeed())
	time.Sleep(3 * time.Second) // it connects, asks, and waits for longer than the first RTO
	g.Expect(command.Process.Signal(syscall.SIGINT)).To(Succeed())
	said, err := io.ReadAll(output)
	g.Expect(err).NotTo(HaveOccurred())
	var exit *exec.ExitError
	g.Expect(command.Wait()).To(BeAssignableToTypeOf(exit))
	g.Expect(command.ProcessState.ExitCode()).To(Equal(exitSignal + int(syscall.SIGINT)))
	g.Expect(string(said)).To(And(ContainSubstring("It was ended before all was tried."), ContainSubstring("! silent-server")))
}

// TestDiagnoseExits with the status of what it found, as a process.
func TestDiagnoseExits(t *testing.T) {
	greets := testenv.Listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 hello\r\n"); _, _ = io.Copy(io.Discard, c) })
	closes := testenv.Listen(t, func(net.Conn) {})
	for _, c := range []struct {
		status int
		args   []string
	}{
		{0, []string{greets, "--wait"}},
		{diagnose.NotHTTP.ExitStatus(), []string{greets, "--http", "/"}},
		{diagnose.TLSFailed.ExitStatus(), []string{greets, "--tls"}},
		{diagnose.ClosedUnanswered.ExitStatus(), []string{closes, "--wait"}},
		{diagnose.Refused.ExitStatus(), []string{"127.0.0.1:1"}},
		{exitUsage, []string{"127.0.0.1"}},
	} {
		command := process(append([]string{"diagnose"}, c.args...)...)
		_ = command.Run()
		NewWithT(t).Expect(command.ProcessState.ExitCode()).To(Equal(c.status), "%v", c.args)
	}
}

// TestDiagnoseSaysItsExitStatuses in its help, and in docs/tools.md, a row for each kind.
func TestDiagnoseSaysItsExitStatuses(t *testing.T) {
	help, err := tcplab("diagnose", "--help")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	page, err := os.ReadFile("../../docs/tools.md")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, group := range diagnose.ExitStatuses() {
		for _, kind := range group.Kinds {
			NewWithT(t).Expect(help).To(MatchRegexp(`\b%d %s\b`, kind.ExitStatus(), kind))
			NewWithT(t).Expect(string(page)).To(MatchRegexp("\n\\| `%s` \\| %d \\| ", kind, kind.ExitStatus()))
		}
	}
}
