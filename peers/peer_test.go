package peers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

func TestKill(t *testing.T) {
	never := peers.Accept{Listen: loopback, Never: true}
	for _, x := range []struct {
		name    string
		program peers.Program
		kill    func(p *peers.Peer, cancel func())
		killed  bool
		parts   []string
	}{
		{"Kill", never, func(p *peers.Peer, _ func()) { p.Kill() }, true, []string{"peer p (accept, pid ", "killed before it had a result"}},
		{"context", never, func(_ *peers.Peer, cancel func()) { cancel() }, true, []string{"killed: context canceled before it had a result"}},
		{"Signal", never, func(p *peers.Peer, _ func()) { p.Signal(unix.SIGKILL) }, false, []string{"ended by SIGKILL before it had a result"}},
		{"Kill while stopped", never, func(p *peers.Peer, _ func()) { p.Signal(unix.SIGSTOP); p.Kill() }, true, []string{"killed"}},
		{"Kill of a command", command("sleep"), func(p *peers.Peer, _ func()) { p.Kill() }, true, []string{"peer p (command, pid ", "killed"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			p := start(t, ctx, "p", x.program)
			if _, err := p.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			x.kill(p, cancel)
			_, err := p.Wait(testContext(t))
			contains(t, err, x.parts...)
			var exit *peers.ExitError
			if !errors.As(err, &exit) || exit.Signal != "SIGKILL" || exit.ExitCode != -1 {
				t.Errorf("%#v", exit)
			}
			if errors.Is(err, peers.ErrKilled) != x.killed {
				t.Errorf("errors.Is(%v, ErrKilled) is not %v", err, x.killed)
			}
			if _, err := p.Started(testContext(t)); err == nil && x.name != "Kill of a command" {
				t.Error("started")
			}
			p.Kill() // once more does nothing
			<-p.Done()
		})
	}
}

func TestWaitKeepsTheResultOfAPeerThatHadEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	p := start(t, ctx, "p", peers.Dial{Connect: closedPort(t)})
	<-p.Done()
	cancel()
	p.Kill()
	if r := wait(t, testContext(t), p); len(r.Connections) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCrash(t *testing.T) {
	ctx := testContext(t)
	p := startOn(t, ctx, asCommand("crash"), "p", peers.Accept{Listen: loopback})
	_, err := p.Wait(ctx)
	contains(t, err, "peer p (accept, pid ", "exited with status 2 and no result", "its last lines on stderr", "first\nsecond\npanic: third")
	var exit *peers.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 2 || exit.Cause != nil {
		t.Errorf("%#v", exit)
	}
	if !strings.Contains(string(p.Output()), "second") {
		t.Errorf("output %q", p.Output())
	}
}

// An end that nobody asked for is a fault, and what follows from a signal of ours is none.
func TestFault(t *testing.T) {
	accept := peers.Accept{Listen: loopback, Never: true}
	kill := func(p *peers.Peer, sig unix.Signal) { unix.Kill(p.PID(), sig) } // as if somebody else did
	for _, x := range []struct {
		name    string
		on      peers.Starter
		program peers.Program
		act     func(*peers.Peer)
		parts   []string // of the fault; none: it is none
	}{
		{"panic", asCommand("crash"), accept, nil, []string{"peer p (accept, pid ", "exited with status 2 and no result", "panic: third"}},
		{"crash", nil, accept, func(p *peers.Peer) { kill(p, unix.SIGBUS) }, []string{"exited with status 2 and no result", "SIGBUS"}},
		{"OOM killer", nil, accept, func(p *peers.Peer) { kill(p, unix.SIGKILL) },
			[]string{"ended by SIGKILL before it had a result", "OOM killer"}},
		{"no result", asCommand("cut"), accept, nil, []string{"exited with status 0 and no result"}},
		{"breach of protocol", asCommand("garbage"), accept, nil, []string{"does not speak the protocol"}},
		{"status after the result", asCommand("late"), accept, nil, []string{"exited with status 66 after its result", "DATA RACE"}},
		{"status of a command", nil, command("hello"), nil, []string{"peer p (command, pid ", "exited with status 7; its last lines on stderr:\nerr"}},
		{"status that is not listed", nil, status(0, peers.Command{ExitStatuses: []int{3, 4}}), nil,
			[]string{"exited with status 0 (accepted are [3 4]); its last lines on stderr:\nno configuration"}},
		{"end before it is ready", nil, status(0, peers.Command{Ready: peers.Readiness{End: true}, ExitStatuses: []int{1}}), nil,
			[]string{"exited with status 0 (accepted are [1])"}},
		{"signal to a command", nil, command("sleep"), func(p *peers.Peer) { kill(p, unix.SIGKILL) },
			[]string{"ended by SIGKILL, which was not sent from here"}},
		{"another signal than ours", nil, command("sleep"), func(p *peers.Peer) { p.Signal(unix.SIGWINCH); kill(p, unix.SIGTERM) },
			[]string{"ended by SIGTERM"}},
		{"status after a signal that ends nothing", nil, command("hello"), func(p *peers.Peer) { p.Signal(unix.SIGCONT) },
			[]string{"exited with status 7"}},

		{"error that it reports", nil, peers.BulkClient{Connect: closedPort(t), Bytes: 1}, nil, nil},
		{"status 0", nil, command("flood"), nil, nil},
		{"status that is listed", nil, status(4, peers.Command{ExitStatuses: []int{3, 4}}), nil, nil},
		{"Kill", nil, accept, (*peers.Peer).Kill, nil},
		{"Kill of a command", nil, command("sleep"), (*peers.Peer).Kill, nil},
		{"Signal", nil, accept, func(p *peers.Peer) { p.Signal(unix.SIGKILL) }, nil},
		{"Signal to a command", nil, command("sleep"), func(p *peers.Peer) { p.Signal(unix.SIGTERM) }, nil},
		{"status that follows from a signal", nil, command("trap"), func(p *peers.Peer) {
			for !strings.Contains(string(p.Output()), "armed") {
				time.Sleep(time.Millisecond)
			}
			p.Signal(unix.SIGTERM)
		}, nil},
		{"Stop", nil, accept, func(p *peers.Peer) { p.Stop(t.Context()) }, nil},
		{"Stop of a command", nil, command("sleep"), func(p *peers.Peer) { p.Stop(t.Context()) }, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			p := startOn(t, ctx, x.on, "p", x.program)
			if x.act != nil {
				if _, err := p.Ready(ctx); err != nil {
					t.Fatal(err)
				}
				x.act(p)
			}
			if strings.HasPrefix(x.name, "breach") { // which it is killed for
				<-p.Done()
			}
			result, waited := p.Wait(ctx)
			fault := p.Fault()
			if len(x.parts) == 0 {
				if fault != nil {
					t.Error(fault)
				}
				return
			}
			contains(t, fault, x.parts...)
			// What has no result of its own says so in the one that is made up for it.
			if waited != nil && result.Command == nil && result.Err == nil {
				t.Errorf("%+v has no error, with %v", result, waited)
			}
		})
	}
}

func TestFaultOfARunningPeer(t *testing.T) {
	if err := start(t, testContext(t), "p", command("sleep")).Fault(); err != nil {
		t.Error(err)
	}
}

func TestBreachOfProtocol(t *testing.T) {
	for _, x := range []struct{ role, part string }{
		{"garbage", `in the line "PASS"`},
		{"future", "version 2 of the protocol, this program speaks version 1"},
		{"unready", "result before ready"},
		{"twice", "ready twice"},
		{"after", "started after the end"},
		{"empty", "ready without its content"},
		{"long", "a line longer than 33554432 bytes"},
	} {
		t.Run(x.role, func(t *testing.T) {
			ctx := testContext(t)
			p := startOn(t, ctx, asCommand(x.role), "p", peers.Accept{Listen: loopback})
			_, err := p.Wait(ctx)
			contains(t, err, "does not speak the protocol of package peers", x.part)
		})
	}
	t.Run("cut", func(t *testing.T) {
		ctx := testContext(t)
		_, err := startOn(t, ctx, asCommand("cut"), "p", peers.Accept{Listen: loopback}).Wait(ctx)
		contains(t, err, "exited with status 0 and no result")
	})
}

// self starts this program with one more variable in its environment, by hand. It is killed when the test ends.
func self(t *testing.T, variable string) (process *os.Process, stdin io.Writer, stdout io.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), variable)
	stdin, err := cmd.StdinPipe() // stays open until Wait
	if err != nil {
		t.Fatal(err)
	}
	stdout, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process, stdin, stdout
}

// child starts this program as a peer, and returns its last answer to these lines.
func child(t *testing.T, lines string) string {
	t.Helper()
	_, stdin, stdout := self(t, "TCPLAB_PEER=1")
	if _, err := stdin.Write([]byte(lines)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewScanner(stdout)
	last := ""
	for r.Scan() {
		last = r.Text()
	}
	return last
}

func TestChildRefuses(t *testing.T) {
	for _, x := range []struct{ name, lines, part string }{
		{"garbage", "hello\n", "invalid character"},
		{"start first", `{"type":"start"}` + "\n", "expected is config"},
		{"other version", `{"type":"config","version":2,"news":1}` + "\n", "version 2 of the protocol, this program speaks version 1"},
		{"unknown program", `{"type":"config","version":1,"program":"x","config":{}}` + "\n", `unknown program \"x\"`},
		{"unknown field", `{"type":"config","version":1,"program":"dial","config":{"x":1}}` + "\n", `unknown field \"x\"`},
		{"unknown field of a step", `{"type":"config","version":1,"program":"script","config":{"connect":"127.0.0.1:1","steps":[{"do":"write","text":"x"}]}}` + "\n", `unknown field \"text\"`},
		{"data that are no bytes", `{"type":"config","version":1,"program":"script","config":{"connect":"127.0.0.1:1","steps":[{"do":"write","data":"?"}]}}` + "\n", "illegal base64"},
		{"data of another step", `{"type":"config","version":1,"program":"script","config":{"connect":"127.0.0.1:1","steps":[{"do":"close","data":"eA=="}]}}` + "\n", "belongs to another step"},
		{"bad field", `{"type":"config","version":1,"program":"dial","config":{"connect":"127.0.0.1:1","count":-1}}` + "\n", "dial field Count: -1 is not allowed: want 0 to 4096"},
		{"no program", `{"type":"config","version":1}` + "\n", "config without program"},
		{"long line", strings.Repeat(" ", 32<<10), "token too long"},
		{"unknown command", `{"type":"config","version":1,"program":"accept","config":{"listen":"127.0.0.1:0"}}` + "\n" + `{"type":"jump"}` + "\n", `unknown type \"jump\"`},
		{"second config", strings.Repeat(`{"type":"config","version":1,"program":"accept","config":{"listen":"127.0.0.1:0"}}`+"\n", 2), "a second config"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := child(t, x.lines)
			if !strings.HasPrefix(got, `{"type":"error","version":1,`) || !strings.Contains(got, x.part) {
				t.Errorf("answer %s, expected an error with %s", got, x.part)
			}
		})
	}
}

func TestPeerDoesNotOutliveItsParent(t *testing.T) {
	for _, kind := range []string{"local", "unguarded", "command"} {
		t.Run(kind, func(t *testing.T) {
			parent, _, stdout := self(t, "TCPLAB_TEST_PARENT="+kind)
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(line)
			}
			pidfd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pidfd)
			if err := parent.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			awaitExit(t, pidfd)
		})
	}
}

func TestCommand(t *testing.T) {
	ctx := testContext(t)
	c := command("hello")
	c.Args, c.Env = []string{"a", "b c"}, append(c.Env, "COLOUR=blue")
	p := start(t, ctx, "p", c)
	if err := p.Begin(); err != nil { // nothing to do
		t.Error(err)
	}
	if _, err := p.Started(ctx); err != nil {
		t.Error(err)
	}
	got := wait(t, ctx, p)
	want := peers.CommandResult{ExitCode: 7, Stdout: "out blue [a b c]\n", Stderr: "err\n"}
	if *got.Command != want || string(p.Output()) != "err\n" {
		t.Errorf("%+v, expected %+v", *got.Command, want)
	}
}

func TestCommandOutputIsBounded(t *testing.T) {
	ctx := testContext(t)
	c := command("flood")
	c.MaxOutput = 1000
	r := wait(t, ctx, start(t, ctx, "p", c)).Command
	if len(r.Stdout) > 1000 || !strings.HasSuffix(r.Stdout, "line 99998\nline 99999\n") {
		t.Errorf("kept %d bytes: ...%q", len(r.Stdout), r.Stdout[max(0, len(r.Stdout)-30):])
	}
	const all = 10*(len("line 0\n")) + 90*len("line 10\n") + 900*len("line 100\n") + 9000*len("line 1000\n") + 90000*len("line 10000\n")
	if got := int(r.StdoutDropped) + len(r.Stdout); got != all {
		t.Errorf("kept and dropped %d bytes, expected %d", got, all)
	}
}

func TestCommandStops(t *testing.T) {
	ctx := testContext(t)
	r, err := start(t, ctx, "p", command("sleep")).Stop(ctx)
	if err != nil || r.Command.Signal != "SIGTERM" || r.Command.ExitCode != -1 {
		t.Errorf("%+v, %v", r.Command, err)
	}
}

func TestCommandLeavesNothingBehind(t *testing.T) {
	ctx := testContext(t)
	r := wait(t, ctx, start(t, ctx, "p", command("orphan")))
	var pid int
	if _, err := fmt.Sscanf(r.Command.Stdout, "left %d", &pid); err != nil {
		t.Fatalf("%q: %v", r.Command.Stdout, err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	awaitExit(t, pidfd)
}

func TestCommandThatDoesNotExist(t *testing.T) {
	for _, path := range []string{"/nonexistent/program", "no-such-program"} {
		_, err := peers.Start(testContext(t), nil, "p", peers.Command{Path: path})
		contains(t, err, "start peer p: ", path)
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
			t.Error(err)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	connect := netip.MustParseAddrPort("127.0.0.1:9")
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, x := range []struct {
		name, peer string
		ctx        context.Context
		program    peers.Program
		parts      []string
	}{
		{"no name", "", nil, peers.Accept{Listen: loopback}, []string{`name ""`}},
		{"blank name", "a b", nil, peers.Accept{Listen: loopback}, []string{`name "a b"`, "1 to 64 bytes"}},
		{"no program", "p", nil, nil, []string{"no program"}},
		{"context is over", "p", over, peers.Accept{Listen: loopback}, []string{"context canceled"}},
		{"no address", "p", nil, peers.BulkServer{}, []string{"start peer p: bulk-server field Listen is not set"}},
		{"no port", "p", nil, peers.BulkClient{Connect: loopback, Bytes: 1}, []string{"Connect: 127.0.0.1:0 is not allowed: needs a port"}},
		{"any address", "p", nil, peers.Dial{Connect: netip.MustParseAddrPort("0.0.0.0:1")}, []string{"Connect: 0.0.0.0:1 is not allowed"}},
		{"mapped address", "p", nil, peers.Dial{Connect: netip.MustParseAddrPort("[::ffff:127.0.0.1]:1")}, []string{"use the IPv4 address"}},
		{"neither time nor size", "p", nil, peers.BulkClient{Connect: connect}, []string{"one of Duration and Bytes must be set"}},
		{"both time and size", "p", nil, peers.BulkClient{Connect: connect, Bytes: 1, Duration: 1}, []string{"only one of"}},
		{"negative size", "p", nil, peers.BulkClient{Connect: connect, Bytes: -1}, []string{"Bytes: -1 is not allowed"}},
		{"negative time", "p", nil, peers.BulkClient{Connect: connect, Duration: -1}, []string{"Duration: -1ns is not allowed"}},
		{"small MSS", "p", nil, peers.BulkClient{Connect: connect, Bytes: 1, Socket: peers.Socket{MSS: 87}}, []string{"MSS: 87 is not allowed: want 88 to 32767"}},
		{"large MSS", "p", nil, peers.Accept{Listen: loopback, Socket: peers.Socket{MSS: 32768}}, []string{"MSS: 32768 is not allowed"}},
		{"negative buffer", "p", nil, peers.EchoServer{Listen: loopback, Socket: peers.Socket{SendBuffer: -1}}, []string{"SendBuffer: -1 is not allowed"}},
		{"long congestion control", "p", nil, peers.EchoServer{Listen: loopback, Socket: peers.Socket{Congestion: "0123456789abcdef"}}, []string{"Congestion"}},
		{"short progress", "p", nil, peers.BulkServer{Listen: loopback, ProgressInterval: 1}, []string{"ProgressInterval: 1ns is not allowed"}},
		{"many connections", "p", nil, peers.BulkServer{Listen: loopback, Connections: 5000}, []string{"want 0 to 4096"}},
		{"negative backlog", "p", nil, peers.Accept{Listen: loopback, Backlog: -1}, []string{"Backlog: -1 is not allowed"}},
		{"never and count", "p", nil, peers.Accept{Listen: loopback, Never: true, Count: 1}, []string{"Count: 1 is not allowed: must be 0 with Never"}},
		{"never and hold", "p", nil, peers.Accept{Listen: loopback, Never: true, Hold: 1}, []string{"Hold: 1ns is not allowed: must be 0 with Never"}},
		{"hold and close", "p", nil, peers.Dial{Connect: connect, CloseImmediately: true, Hold: 1}, []string{"Hold"}},
		{"many SYNs", "p", nil, peers.Dial{Connect: connect, Socket: peers.Socket{SYNRetries: 128}}, []string{"SYNRetries: 128 is not allowed"}},
		{"large request", "p", nil, peers.EchoClient{Connect: connect, Size: 1<<20 + 1}, []string{"Size"}},
		{"many requests", "p", nil, peers.EchoClient{Connect: connect, Requests: 1_000_001}, []string{"Requests"}},
		{"no path", "p", nil, peers.Command{}, []string{"command field Path is not set"}},
		{"NUL", "p", nil, peers.Command{Path: "x", Args: []string{"a\x00"}}, []string{"NUL"}},
		{"file with NUL", "p", nil, peers.Command{Path: "x", StdinFile: "a\x00"}, []string{"StdinFile", "NUL"}},
		{"much input", "p", nil, peers.Command{Path: "x", Stdin: make([]byte, 1<<20+1)}, []string{"Stdin: 1048577 bytes is not allowed: want 1048576 at most: use StdinFile"}},
		{"two inputs", "p", nil, peers.Command{Path: "x", Stdin: []byte("x"), StdinFile: "x"}, []string{"only one of Stdin and StdinFile"}},
		{"user", "p", nil, peers.Command{Path: "x", User: "a b"}, []string{`User: "a b" is not allowed: want a name without blanks`}},
		{"uid", "p", nil, peers.Command{Path: "x", User: "nobody:1"}, []string{"User: nobody:1 is not allowed: want the name of a user, or uid:gid"}},
		{"gid", "p", nil, peers.Command{Path: "x", User: "1:"}, []string{"User: 1: is not allowed"}},
		{"uid of nobody", "p", nil, peers.Command{Path: "x", User: "4294967295:1"}, []string{"User: 4294967295:1 is not allowed"}},
		{"unknown user", "p", nil, peers.Command{Path: "/bin/sh", User: "no-such-user"}, []string{"user no-such-user", "it takes one of /etc/passwd, or uid:gid"}},
		{"no folder", "p", nil, peers.Command{Path: "x", Dir: "/no/such/folder"}, []string{"the folder to start in: ", "/no/such/folder"}},
		{"file as a folder", "p", nil, peers.Command{Path: "x", Dir: "/dev/null"}, []string{"the folder to start in: /dev/null is none"}},
		{"no input", "p", nil, peers.Command{Path: "/proc/self/exe", Dir: "/proc", StdinFile: "no-such-file"}, []string{"standard input: ", "/proc/no-such-file: no such file"}},
		{"folder as input", "p", nil, peers.Command{Path: "/proc/self/exe", StdinFile: "/dev"}, []string{"standard input: /dev is no file"}},
		{"negative status", "p", nil, peers.Command{Path: "x", ExitStatuses: []int{0, -1}}, []string{"ExitStatuses: -1 is not allowed: want 0 to 255"}},
		{"large status", "p", nil, peers.Command{Path: "x", ExitStatuses: []int{256}}, []string{"ExitStatuses: 256 is not allowed"}},
		{"large port", "p", nil, peers.Command{Path: "x", Ready: peers.Readiness{Port: 65536}}, []string{"Ready.Port: 65536 is not allowed: want 0 to 65535"}},
		{"line", "p", nil, peers.Command{Path: "x", Ready: peers.Readiness{Line: "("}}, []string{"Ready.Line: ( is not allowed: want a regular expression"}},
		{"two readinesses", "p", nil, peers.Command{Path: "x", Ready: peers.Readiness{Port: 80, End: true}}, []string{"only one of Port, Line and End"}},
		{"nobody sees the port", "p", nil, peers.Command{Path: "/proc/self/exe", Ready: peers.Readiness{Port: 80}},
			[]string{"Ready.Port: 80 is not allowed: needs a host of a harness.Lab", "Use Ready.Line"}},
		{"environment", "p", nil, peers.Command{Path: "x", Env: []string{"X"}}, []string{"Env: X is not allowed: must be NAME=value"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := x.ctx
			if ctx == nil {
				ctx = testContext(t)
			}
			_, err := peers.Start(ctx, asCommand("nothing is started"), x.peer, x.program)
			contains(t, err, append(x.parts, "start peer")...)
		})
	}
}

func TestStarterThatFails(t *testing.T) {
	_, err := peers.Start(testContext(t), failing{}, "p", peers.Accept{Listen: loopback})
	contains(t, err, "start peer p: no such host")
}

type failing struct{}

func (failing) Start(*exec.Cmd) (func() error, error) { return nil, errors.New("no such host") }

func TestNothingLeaks(t *testing.T) {
	ctx := testContext(t)
	round := func() {
		server := start(t, ctx, "server", peers.BulkServer{Listen: loopback})
		client := start(t, ctx, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Bytes: 1000})
		wait(t, ctx, client)
		wait(t, ctx, server)
		start(t, ctx, "killed", peers.Accept{Listen: loopback}).Kill()
		wait(t, ctx, start(t, ctx, "command", command("hello")))
		wait(t, ctx, start(t, ctx, "orphan", command("orphan")))
		peers.Start(ctx, failing{}, "p", peers.Accept{Listen: loopback})
		startOn(t, ctx, asCommand("garbage"), "garbage", peers.Accept{Listen: loopback}).Kill()
	}
	round() // what is opened once and for all
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 10 {
		round()
	}
	if n := openFiles(t); n > fds {
		t.Errorf("%d files are open, before %d", n, fds)
	}
	// A goroutine that has done its last act may still be counted for a moment.
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), goroutines)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx := testContext(t)
	p := start(t, ctx, "p", peers.Accept{Listen: loopback, Never: true})
	readyAddr(t, ctx, p)
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := p.Wait(over)
	contains(t, err, "wait until peer p is done: after ", " it has its sockets and no connection yet: context canceled")
	if _, err := p.Stop(ctx); err != nil { // it goes on
		t.Error(err)
	}
}

func TestSignalStallsAReader(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback})
	addr := readyAddr(t, ctx, server)
	if err := server.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	client := start(t, ctx, "client", peers.BulkClient{Connect: addr, Bytes: 100_000})
	if _, err := client.Started(ctx); err != nil { // the kernel completes the handshake
		t.Fatal(err)
	}
	if err := server.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, client)
	if s := wait(t, ctx, server); s.Bulk.Bytes != 100_000 {
		t.Errorf("received %d", s.Bulk.Bytes)
	}
	err := server.Signal(unix.SIGCONT)
	contains(t, err, "peer server", "process already finished")
}
