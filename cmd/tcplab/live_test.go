package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/netns"
)

// credentials is what /proc says of the user and the capabilities of a process.
func credentials(pid int) (user, capabilities string) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may be gone
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch f[0] {
		case "Uid:":
			user = strings.Join(f[1:], " ")
		case "CapEff:":
			capabilities = f[1]
		}
	}
	return user, capabilities
}

// TestAnalyzeLive: in a namespace where nothing else happens, a capture has what passes its filter, ends by ^C or in time, and is a
// process without privileges meanwhile.
func TestAnalyzeLive(t *testing.T) {
	for name, end := range map[string]struct {
		args   []string
		signal os.Signal
		sudo   []string
		user   string
	}{
		"^C":               {signal: os.Interrupt, user: "65534"},
		"its time is over": {args: []string{"--duration", "2s"}, sudo: []string{"SUDO_UID=1234", "SUDO_GID=1235"}, user: "1234"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			host, err := netns.NewHost("host")
			if errors.Is(err, netns.ErrNotPermitted) || errors.Is(err, netns.ErrNotSupported) {
				t.Skip("needs root and network namespaces: " + err.Error()) // also where tests that boot guests miss nothing else
			}
			g.Expect(err).NotTo(HaveOccurred())
			defer host.Close()
			written := filepath.Join(t.TempDir(), "written.pcapng")
			var out, errOut bytes.Buffer
			command := process(append([]string{"analyze", "--interface", "lo", "--filter", "tcp port 81", "--write", written}, end.args...)...)
			command.Stdout, command.Stderr, command.Env = &out, &errOut, append(append(command.Env, "SUDO_UID=", "SUDO_GID="), end.sudo...)
			wait, err := host.Start(command)
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = command.Process.Kill() }()

			pid := command.Process.Pid
			user := strings.TrimSpace(strings.Repeat(end.user+" ", 4))
			g.Eventually(func() string { u, _ := credentials(pid); return u }).WithTimeout(time.Minute).Should(Equal(user), "once it captures")
			_, capabilities := credentials(pid)
			g.Expect(strings.Trim(capabilities, "0")).To(BeEmpty())
			for _, port := range []string{"80", "81"} { // nobody listens at either
				g.Expect(host.Do(func() error {
					_, err := net.Dial("tcp", "127.0.0.1:"+port)
					return err
				})).To(MatchError(syscall.ECONNREFUSED))
			}
			if end.signal != nil {
				g.Expect(command.Process.Signal(end.signal)).To(Succeed())
			}
			g.Expect(wait()).To(Succeed(), "%s", errOut.String())
			g.Expect(out.String()).To(And(
				HavePrefix("captured on lo\n2 TCP segments in 2 packets, 1 conversation, findings: refused\n"), ContainSubstring(" > 127.0.0.1:81  on lo")))
			g.Expect(errOut.String()).To(BeEmpty())

			output, notes, err := analyzeCommand(nil, written)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(notes).To(BeEmpty())
			g.Expect(output).To(HavePrefix(written + "\n2 TCP segments in 2 packets"))
		})
	}
}

// TestAnalyzeLiveNeedsLeave: without it, the error says which.
func TestAnalyzeLiveNeedsLeave(t *testing.T) {
	g := NewWithT(t)
	command := process("analyze", "--interface", "lo", "--duration", "1s")
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		command.Env = append(command.Env, "TMPDIR="+os.TempDir())
	}
	output, err := command.CombinedOutput()
	g.Expect(err).To(MatchError("exit status 2"))
	g.Expect(string(output)).To(ContainSubstring("capture lo: open a packet socket: operation not permitted: needs CAP_NET_RAW"))
}

func TestAnalyzeLiveRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"--duration is of a capture":          {"--duration", "1s", refused},
		"--filter is of a capture":            {"--filter", "tcp", refused},
		"unknown command":                     {"--interface", "lo", refused},
		"--interface none: ":                  {"--interface", "none"},
		"there are lo":                        {"--interface", "none"},
		"--filter: filter \"port http\": por": {"--interface", "lo", "--filter", "port http"},
		"--duration -1s: want 0 or more":      {"--interface", "lo", "--duration", "-1s"},
	} {
		_, _, err := analyzeCommand(nil, args...)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}
