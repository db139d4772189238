package peers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers"
)

// as returns this program in a role, with what else a Command has.
func as(role string, c peers.Command, args ...string) peers.Command {
	c.Path, c.Env, c.Args = command(role).Path, append(c.Env, command(role).Env...), args
	return c
}

// status is a program that says something and exits.
func status(code int, c peers.Command) peers.Command { return as("status", c, fmt.Sprint(code)) }

// A port is a Starter of which somebody listens when it is told so, by nil or by an error.
type port struct {
	peers.Starter
	listens chan error
	asked   chan uint16
}

func newPort() port {
	return port{peers.Local, make(chan error), make(chan uint16, 1)}
}

func (p port) AwaitListener(ctx context.Context, number uint16) error {
	p.asked <- number
	select {
	case err := <-p.listens:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func isReady(p *peers.Peer) bool {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := p.Ready(over)
	return err == nil
}

func TestCommandIsReadyWhenItListens(t *testing.T) {
	ctx := testContext(t)
	on := newPort()
	p := startOn(t, ctx, on, "p", as("sleep", peers.Command{Ready: peers.Readiness{Port: 80}}))
	if number := <-on.asked; number != 80 {
		t.Errorf("asked about port %d", number)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := p.Ready(over)
	contains(t, err, "wait until peer p is ready: after ", " it runs, and nobody listens at TCP port 80: context canceled")
	on.listens <- nil
	if _, err := p.Ready(ctx); err != nil {
		t.Error(err)
	}
	if _, err := p.Started(ctx); err != nil {
		t.Error(err)
	}
}

// Whoever waits learns at once that there is nothing to wait for, and why.
func TestCommandEndsBeforeItIsReady(t *testing.T) {
	const said = "its last lines on stderr:\nno configuration"
	for _, x := range []struct {
		name  string
		c     peers.Command
		parts []string
	}{
		{"no listener", status(1, peers.Command{Ready: peers.Readiness{Port: 80}}),
			[]string{"exited with status 1 before it was ready (nobody listens at TCP port 80); " + said}},
		{"in order", status(0, peers.Command{Ready: peers.Readiness{Port: 80}}),
			[]string{"exited with status 0 before it was ready (nobody listens at TCP port 80); " + said}},
		{"no line", status(3, peers.Command{Ready: peers.Readiness{Line: "^ready"}, ExitStatuses: []int{3}}),
			[]string{`exited with status 3 before it was ready (no line of its output matches "^ready"); ` + said}},
		{"no end in order", status(3, peers.Command{Ready: peers.Readiness{End: true}}), []string{"exited with status 3; " + said}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			p := startOn(t, ctx, newPort(), "p", x.c)
			_, err := p.Ready(ctx)
			contains(t, err, append(x.parts, "peer p (command, pid ")...)
			var exit *peers.ExitError
			if !errors.As(err, &exit) {
				t.Errorf("%T", err)
			}
			if r := wait(t, ctx, p); r.Command.Stderr != "no configuration\n" { // which has its status, too
				t.Errorf("%+v", r.Command)
			}
			if fault := p.Fault(); fault != nil {
				contains(t, fault, x.parts...)
			} else if exit.ExitCode == 1 {
				t.Error("no fault")
			}
		})
	}
}

func TestCommandOfWhichNobodyKnowsWhetherItListens(t *testing.T) {
	ctx := testContext(t)
	on := newPort()
	p := startOn(t, ctx, on, "p", as("sleep", peers.Command{Ready: peers.Readiness{Port: 80}}))
	none := errors.New("no sock_diag")
	on.listens <- none
	_, err := p.Ready(ctx)
	contains(t, err, "peer p (command, pid ", "nobody can tell when it is ready", "no sock_diag")
	if !errors.Is(err, none) || !errors.Is(err, peers.ErrKilled) {
		t.Error(err)
	}
}

func TestCommandIsReadyAtALine(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for _, x := range []struct {
		name, stderr, stdout, line string
		ready                      bool
	}{
		{"standard output", "", "starting\nready to accept\n", "^ready", true},
		{"standard error", "starting\r\nready\r\n", "", "^ready$", true},
		{"neither", "read", "y\n", "ready", false},
		{"a line without an end", "", "ready", "ready", false},
		{"a long line", "", long + "ready\nready\n", "^x+$", true},
		{"an empty line", "", "\n", "^$", true},
		{"no line at all", "", "", "^$", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			p := start(t, ctx, "p", as("says", peers.Command{Ready: peers.Readiness{Line: x.line}}, x.stderr, x.stdout))
			if !x.ready {
				result, err := p.Stop(ctx)
				if err != nil {
					t.Fatal(err)
				}
				// Once it has ended its last line is one, too.
				if want := strings.HasSuffix(result.Command.Stdout, x.line); isReady(p) != want {
					t.Errorf("ready: %v, of %q and %q", isReady(p), result.Command.Stdout, result.Command.Stderr)
				}
				return
			}
			if _, err := p.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(x.stderr, "starting") && !strings.Contains(string(p.Output()), "ready") {
				t.Errorf("it is ready by a line that is not in its output: %q", p.Output())
			}
		})
	}
}

func TestCommandIsReadyWhenItHasEnded(t *testing.T) {
	ctx := testContext(t)
	p := start(t, ctx, "p", status(2, peers.Command{Ready: peers.Readiness{End: true}, ExitStatuses: []int{0, 2}}))
	if _, err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("it is ready and has not ended")
	}
	p = start(t, ctx, "p", as("sleep", peers.Command{Ready: peers.Readiness{End: true}}))
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := p.Ready(over)
	contains(t, err, "it runs, and it has not ended")
	p.Kill()
	_, err = p.Ready(ctx)
	contains(t, err, "killed")
}

func TestCommandReadsItsInput(t *testing.T) {
	ctx := testContext(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "input"), []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	much := []byte(strings.Repeat("\x00\xff\n", 300_000)) // more than a pipe holds
	for name, x := range map[string]struct {
		c    peers.Command
		want string
	}{
		"bytes":         {peers.Command{Stdin: much}, string(much)},
		"file":          {peers.Command{StdinFile: filepath.Join(dir, "input")}, "from a file"},
		"relative file": {peers.Command{StdinFile: "input", Dir: dir}, "from a file"},
		"device":        {peers.Command{StdinFile: "/dev/null"}, ""},
		"none":          {peers.Command{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wait(t, ctx, start(t, ctx, "p", as("cat", x.c))).Command; got.Stdout != x.want || got.ExitCode != 0 {
				t.Errorf("%d bytes and status %d, expected %d", len(got.Stdout), got.ExitCode, len(x.want))
			}
		})
	}
	_, err := peers.Start(ctx, nil, "p", as("cat", peers.Command{StdinFile: "fifo", Dir: dir}))
	contains(t, err, "fifo is no file")
	// It need not read.
	if r := wait(t, ctx, start(t, ctx, "p", status(0, peers.Command{Stdin: much}))); r.Command.ExitCode != 0 {
		t.Errorf("%+v", r.Command)
	}
	start(t, ctx, "p", as("sleep", peers.Command{Stdin: much})).Kill()
}

func TestCommandRunsAsAUser(t *testing.T) {
	testenv.Root(t, "to start processes of other users")
	ctx := testContext(t)
	dir := t.TempDir() // below a folder that only root may enter
	for name, x := range map[string]struct{ user, want string }{
		"none":       {"", fmt.Sprintf("%d %d ", os.Getuid(), os.Getgid())},
		"numbers":    {"1234:4321", "1234 4321 []"},
		"name":       {"nobody", "65534 65534 [65534]"},
		"name, root": {"root", "0 0 "},
	} {
		t.Run(name, func(t *testing.T) {
			// The program of a test lies where others may not look.
			c := as("whoami", peers.Command{User: x.user, Dir: "/"})
			c.Path = "/proc/self/exe"
			r := wait(t, ctx, start(t, ctx, "p", c)).Command
			if !strings.HasPrefix(r.Stdout, x.want) || !strings.HasSuffix(r.Stdout, " /\n") {
				t.Errorf("%+v, expected %q", r, x.want)
			}
		})
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := as("whoami", peers.Command{User: "1234:1234", Dir: dir})
	_, err := peers.Start(ctx, nil, "p", c)
	contains(t, err, "permission denied: as user 1234:1234: that needs root, and a program and folders that the user may use")
}

// A Command is in the record of a run as it was.
func TestCommandInJSON(t *testing.T) {
	c := peers.Command{
		Path: "nginx", Args: []string{"-e", "stderr"}, User: "nobody", Stdin: []byte{0, 0xff}, Ready: peers.Readiness{Port: 80}, ExitStatuses: []int{0, 1},
	}
	const want = `{"path":"nginx","args":["-e","stderr"],"user":"nobody","stdin":"AP8=","ready":{"port":80},"exit_statuses":[0,1]}`
	if got, err := json.Marshal(c); err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}
