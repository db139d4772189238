package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

// commandVariable has a process of this test be tcplab.
const commandVariable = "TCPLAB_TEST_COMMAND"

// heedHangup has processes that are started from now on heed SIGHUP. Whoever started the tests may ignore it, as nohup does, and so may
// what ran in this process before: that would be inherited, and tcplab respects it.
func heedHangup() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) }

// process is tcplab as a process of its own.
func process(args ...string) *exec.Cmd {
	heedHangup()
	command := exec.Command("/proc/self/exe", args...)
	command.Env = append(os.Environ(), commandVariable+"=1")
	return command
}

// What reads or computes for long, and has nothing to clean up, ends where it is: here in the middle of its input.
func TestSignalsEndAnalyzeAndCompareAtOnce(t *testing.T) {
	run := record(t, "run", 1)
	for name, args := range map[string][]string{
		"analyze": {"analyze"},
		"compare": {"compare"},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				g := NewWithT(t)
				// The file is a pipe that nobody writes more to: it waits there as it would compute.
				dir := t.TempDir()
				pipe := filepath.Join(dir, "capture.pcapng")
				args := append(args, pipe)
				if name == "compare" {
					other := filepath.Join(dir, "run")
					g.Expect(os.MkdirAll(filepath.Join(other, "suite", "scenario"), 0o755)).To(Succeed())
					pipe = filepath.Join(other, "suite", "scenario", "record.json")
					args = []string{"compare", run, other}
				}
				g.Expect(syscall.Mkfifo(pipe, 0o600)).To(Succeed())
				command := process(args...)
				g.Expect(command.Start()).To(Succeed())
				writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when it is open for reading, too
				g.Expect(err).NotTo(HaveOccurred())
				defer writer.Close()
				g.Expect(command.Process.Signal(sig)).To(Succeed())
				g.Expect(command.Wait()).To(MatchError("signal: " + sig.String()))
			})
		}
	}
}

// What has something to clean up does so, and ends with the status that a shell expects. After SIGKILL the next one does.
// What was started ends in any case, here a go command with what it has started itself.
func TestSignalsLeaveNothing(t *testing.T) {
	for sig, status := range map[syscall.Signal]int{
		syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129, syscall.SIGPIPE: 141, syscall.SIGKILL: -1,
	} {
		t.Run(sig.String(), func(t *testing.T) {
			g := NewWithT(t)
			bin, temporary := t.TempDir(), t.TempDir()
			pipe := filepath.Join(bin, "pipe")
			g.Expect(syscall.Mkfifo(pipe, 0o600)).To(Succeed())
			script := "#!/bin/sh\nexec 9>" + pipe + "\nsetsid sleep 1000 &\necho started >&9\nsleep 1000\n"
			g.Expect(os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755)).To(Succeed())
			list := func() *exec.Cmd {
				command := process("list", "../../scenarios/handshake")
				command.Env = append(command.Env, "TMPDIR="+temporary, "PATH="+bin+":"+os.Getenv("PATH"))
				return command
			}
			command := list()
			var complaint bytes.Buffer
			command.Stderr = &complaint
			g.Expect(command.Start()).To(Succeed())
			started, err := os.Open(pipe)
			g.Expect(err).NotTo(HaveOccurred())
			defer started.Close()
			lines := bufio.NewReader(started)
			g.Expect(lines.ReadString('\n')).To(Equal("started\n"))
			g.Expect(os.ReadDir(temporary)).To(HaveLen(1))

			g.Expect(command.Process.Signal(sig)).To(Succeed())
			g.Expect(command.Wait()).To(HaveOccurred())
			g.Expect(command.ProcessState.ExitCode()).To(Equal(status))
			g.Expect(io.ReadAll(lines)).To(BeEmpty(), "the end of the pipe is that of all that have it")
			switch sig {
			case syscall.SIGKILL:
				g.Expect(os.ReadDir(temporary)).To(HaveLen(1))
				g.Expect(os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\nexit 1\n"), 0o755)).To(Succeed())
				g.Expect(list().Run()).To(MatchError("exit status 2"))
			case syscall.SIGPIPE:
				g.Expect(complaint.String()).To(BeEmpty())
			default:
				g.Expect(complaint.String()).To(Equal("tcplab: interrupted\n"))
			}
			g.Expect(os.ReadDir(temporary)).To(BeEmpty())
		})
	}
}

// nohup has SIGHUP ignored, and then it is.
func TestNohup(t *testing.T) {
	g := NewWithT(t)
	var i interruption
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(endings...)
	ctx := i.until(t.Context())
	g.Expect(signal.Ignored(syscall.SIGHUP)).To(BeTrue())
	g.Expect(syscall.Kill(os.Getpid(), syscall.SIGTERM)).To(Succeed())
	<-ctx.Done()
	status, yes := i.status(context.Canceled)
	g.Expect(yes).To(BeTrue())
	g.Expect(status).To(Equal(143))
}

// What was done before the signal came is done.
func TestStatusOfWhatHadEnded(t *testing.T) {
	g := NewWithT(t)
	var none, asked, unread interruption
	asked.caught.Store(int32(syscall.SIGINT))
	unread.caught.Store(int32(syscall.SIGPIPE))
	for _, c := range []struct {
		of      *interruption
		err     error
		status  int
		message string
	}{
		{&none, errFailed, 0, ""},
		{&asked, nil, 0, ""},
		{&asked, errFailed, 130, ""},
		{&asked, context.Canceled, 130, "interrupted"},
		{&asked, errors.New("no room"), 130, "interrupted: no room"},
		{&unread, nil, 141, ""},
		{&unread, context.Canceled, 141, ""},
	} {
		status, yes := c.of.status(c.err)
		g.Expect(status).To(Equal(c.status))
		g.Expect(yes).To(Equal(c.status != 0))
		g.Expect(c.of.message(c.err)).To(Equal(c.message))
	}
}
