package subprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the processes that the tests start: this variable says which.
const roleVariable = "TCPLAB_SUBPROCESS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "idle": // until its standard input ends
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "parent": // of an idle one, until it is killed
		cmd := self("idle")
		cmd.Stdout = os.Stdout
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = Run(cmd)
		}
		fmt.Println("not killed:", err, stdin)
	case "tree": // with a family, until it is killed
		cmd := exec.Command("sh", "-c", family+"echo ready; wait")
		cmd.Stdout = os.Stdout
		fmt.Println("not killed:", RunTree(context.Background(), cmd, 0, 0))
	default:
		runtime.LockOSThread() // see onThreadThatEnds
		os.Exit(m.Run())
	}
}

// self is this binary in a role.
func self(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

// onThreadThatEnds calls f on a thread, and returns when that thread is gone. It is not the main thread, which does
// not end before the process does: TestMain has that.
func onThreadThatEnds(t *testing.T, f func() error) {
	t.Helper()
	thread := make(chan int, 1)
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		result <- f()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	task := filepath.Join("/proc/self/task", strconv.Itoa(<-thread))
	for pause := time.Millisecond; ; pause *= 2 {
		if _, err := os.Stat(task); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if pause > 10*time.Second {
			t.Fatalf("%s: a goroutine that was locked to this thread has ended, and the thread has not", task)
		}
		time.Sleep(pause)
	}
}

// TestChildOutlivesTheThread starts a process on a thread that ends at once. Bound to that thread it is killed, which
// shows that the thread does end; started by Start it lives until it is told to end.
func TestChildOutlivesTheThread(t *testing.T) {
	starts := map[string]struct {
		start  func(*exec.Cmd) (func() error, error)
		killed bool
	}{
		"Start": {Start, false},
		"Bind": {func(cmd *exec.Cmd) (func() error, error) {
			Bind(cmd)
			return cmd.Wait, cmd.Start()
		}, true},
	}
	for name, how := range starts {
		t.Run(name, func(t *testing.T) {
			cmd := self("idle")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var wait func() error
			onThreadThatEnds(t, func() (err error) {
				wait, err = how.start(cmd)
				return err
			})
			// A signal that was sent when the thread ended is delivered before the end of standard input is.
			stdin.Close()
			err = wait()
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if killed != how.killed || !killed && err != nil {
				t.Errorf("it ended with %v, killed: %v; expected killed: %v", err, killed, how.killed)
			}
		})
	}
}

// TestChildEndsWithTheProcess kills a process that has a child of its own. The child has the pipe that ends when all
// who could write into it are gone.
func TestChildEndsWithTheProcess(t *testing.T) {
	parent := self("parent")
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	wait, err := Start(parent)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "ready\n" || err != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	// Not even that the child's standard input ends may be what ends it.
	if err := parent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if len(rest) != 0 || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
	if err := wait(); err == nil {
		t.Error("a process that was killed ended well")
	}
}

func TestStart(t *testing.T) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = attr
	wait, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := wait(); err != nil {
			t.Error(err)
		}
	}
	if attr.Pdeathsig != 0 || !cmd.SysProcAttr.Setpgid {
		t.Errorf("attributes that were given: %+v, that were used: %+v", attr, cmd.SysProcAttr)
	}

	if err := Run(exec.Command("/no/such/program")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a program that does not exist: %v", err)
	}
	var exit *exec.ExitError
	if err := Run(exec.Command("/proc/self/exe", "-no-such-flag")); !errors.As(err, &exit) {
		t.Errorf("of a program that fails: %v", err)
	}
}

// TestNobodyElseSetsPdeathsig looks at all of the module's source: the signal without a thread that is kept kills a
// child now and then.
func TestNobodyElseSetsPdeathsig(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("the source is not here: ", err)
	}
	here := filepath.Join(root, "internal", "subprocess")
	var seen bool
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "testdata" || len(name) > 1 && name[0] == '.' && name != "..") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("Pdeathsig")) {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if name, ok := node.(*ast.Ident); ok && name.Name == "Pdeathsig" {
				if filepath.Dir(path) != here {
					t.Errorf("%s: start the process with package internal/subprocess", files.Position(name.Pos()))
				}
				seen = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seen {
		t.Error("not even here is it set: this test looks at the wrong files")
	}
}
