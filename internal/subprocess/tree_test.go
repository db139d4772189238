package subprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is a shell that has a child, one in a session of its own, and one that has lost its parent. All of them have
// standard output, so that its end is theirs.
const family = `sleep 1000 & setsid sleep 1000 & setsid sh -c 'sleep 1000 & exit'; `

// ends reads a pipe to its end, which is that of all who have it.
func ends(t *testing.T, pipe *os.File) {
	t.Helper()
	if err := pipe.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(pipe); err != nil {
		t.Errorf("somebody lives: %q, %v", rest, err)
	}
}

func needSetsid(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip(err)
	}
}

func TestTreeEndsWithItsFirstProcess(t *testing.T) {
	needSetsid(t)
	var output bytes.Buffer
	cmd := exec.Command("sh", "-c", family+"echo ready; exit 3")
	cmd.Stdout = &output // Wait waits for the end of it
	err := RunTree(t.Context(), cmd, 0, 0)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || output.String() != "ready\n" {
		t.Errorf("%v, %q", err, output.String())
	}
}

func TestTreeEndsWithTheContext(t *testing.T) {
	needSetsid(t)
	for name, c := range map[string]struct {
		sig    syscall.Signal
		grace  time.Duration
		script string
		says   string
	}{
		"at once":        {script: "echo ready; wait"},
		"asked":          {syscall.SIGINT, time.Minute, "trap 'echo asked; exit' INT; echo ready; wait", "asked\n"},
		"does not react": {syscall.SIGINT, time.Second / 10, "trap '' INT; echo ready; wait", ""},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			cmd := exec.Command("sh", "-c", family+c.script)
			cmd.Stdout = theirs
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- RunTree(ctx, cmd, c.sig, c.grace) }()
			lines := bufio.NewReader(ours)
			if line, err := lines.ReadString('\n'); line != "ready\n" || err != nil {
				t.Fatalf("%q, %v", line, err)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			theirs.Close()
			rest, err := io.ReadAll(lines)
			if err != nil || string(rest) != c.says {
				t.Errorf("%q, %v", rest, err)
			}
		})
	}
}

// TestTreeEndsWithThisProcess kills a process that has a tree.
func TestTreeEndsWithThisProcess(t *testing.T) {
	needSetsid(t)
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	parent := self("tree")
	parent.Stdout = theirs
	wait, err := Start(parent)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(ours, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ends(t, ours)
	if err := wait(); err == nil {
		t.Error("a process that was killed ended well")
	}
}

func TestTreeTellsHowItEnded(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSEGV, syscall.SIGPIPE, syscall.SIGQUIT} {
		var output bytes.Buffer
		cmd := exec.Command("sh", "-c", "kill -"+signalNames[sig]+" $$")
		cmd.Stdout, cmd.Stderr = &output, &output
		err := RunTree(t.Context(), cmd, 0, 0)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig || output.Len() > 0 {
			t.Errorf("%v: %v, %s", sig, err, output.String())
		}
	}
	if err := RunTree(t.Context(), exec.Command("true"), 0, 0); err != nil {
		t.Error(err)
	}
	if err := RunTree(t.Context(), exec.Command("no-such-program"), 0, 0); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("of a program that does not exist: %v", err)
	}
	cmd := exec.Command("cat")
	cmd.Stdin = strings.NewReader("text")
	var output bytes.Buffer
	cmd.Stdout, cmd.Dir, cmd.Env = &output, "/", []string{"A=1"}
	if err := RunTree(t.Context(), cmd, 0, 0); err != nil || output.String() != "text" {
		t.Errorf("%q, %v", output.String(), err)
	}
	cmd = exec.Command("sh")
	cmd.Dir = "/no/such/folder"
	if err := RunTree(t.Context(), cmd, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM", syscall.SIGSEGV: "SEGV", syscall.SIGPIPE: "PIPE", syscall.SIGQUIT: "QUIT",
}
