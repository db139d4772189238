package peers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// testContext bounds a test; it is far above what any of them takes.
func testContext(t testing.TB) context.Context {
	return testenv.Context(t)
}

func start(t testing.TB, ctx context.Context, name string, p peers.Program) *peers.Peer {
	t.Helper()
	return startOn(t, ctx, nil, name, p)
}

func startOn(t testing.TB, ctx context.Context, on peers.Starter, name string, p peers.Program) *peers.Peer {
	t.Helper()
	peer, err := peers.Start(ctx, on, name, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Kill)
	return peer
}

func readyAddr(t testing.TB, ctx context.Context, p *peers.Peer) netip.AddrPort {
	t.Helper()
	r, err := p.Ready(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r.Addr
}

func wait(t testing.TB, ctx context.Context, p *peers.Peer) peers.Result {
	t.Helper()
	r, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// closedPort returns an address at which nobody listens, and nobody will before the test ends: the port is taken.
func closedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(loopback.Addr(), uint16(sa.(*unix.SockaddrInet4).Port))
}

// contains fails the test if the error does not say all of that.
func contains(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, expected one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// asCommand starts, instead of a peer, this program in one of the roles of beCommand.
type asCommand string

func (role asCommand) Start(cmd *exec.Cmd) (func() error, error) {
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "TCPLAB_PEER=") })
	cmd.Env = append(cmd.Env, "TCPLAB_TEST_COMMAND="+string(role))
	return peers.Local.Start(cmd)
}

// command returns this program in one of the roles of beCommand, as a Command.
func command(role string) peers.Command {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return peers.Command{Path: exe, Env: []string{"TCPLAB_TEST_COMMAND=" + role}}
}

const readyLine = `{"type":"ready","version":1,"ready":{}}`

// beCommand is what the test binary does as a program that knows nothing of package peers, or breaks its protocol.
func beCommand() {
	role := os.Getenv("TCPLAB_TEST_COMMAND")
	switch role {
	case "hello":
		fmt.Println("out", os.Getenv("COLOUR"), os.Args[1:])
		fmt.Fprintln(os.Stderr, "err")
		os.Exit(7)
	case "crash":
		fmt.Println(readyLine)
		fmt.Fprintln(os.Stderr, "first\nsecond")
		panic("third")
	case "late": // as the race detector ends a program
		fmt.Println(readyLine + "\n" + `{"type":"result","result":{"peer":"","program":""}}`)
		fmt.Fprintln(os.Stderr, "WARNING: DATA RACE")
		os.Exit(66)
	case "trap":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, unix.SIGTERM)
		fmt.Fprintln(os.Stderr, "armed")
		<-signals
		os.Exit(1)
	case "flood":
		for i := range 100_000 {
			fmt.Println("line", i)
		}
		os.Exit(0)
	case "status": // its argument
		fmt.Fprintln(os.Stderr, "no configuration")
		status, _ := strconv.Atoi(os.Args[1])
		os.Exit(status)
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
		os.Exit(0)
	case "whoami":
		groups, _ := os.Getgroups()
		dir, _ := os.Getwd()
		fmt.Println(os.Getuid(), os.Getgid(), groups, dir)
		os.Exit(0)
	case "says": // its first argument on standard error, its second on standard output
		fmt.Fprint(os.Stderr, os.Args[1])
		fmt.Print(os.Args[2])
	case "sleep":
		time.Sleep(time.Hour)
	case "orphan":
		// Leaves a process behind that holds stdout and stderr.
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"TCPLAB_TEST_COMMAND=sleep"}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("left", cmd.Process.Pid)
		os.Exit(0)
	case "garbage":
		fmt.Println("PASS")
	case "future":
		fmt.Println(`{"type":"ready","version":2,"ready":{},"news":1}`)
	case "unready":
		fmt.Println(`{"type":"result","result":{"peer":"","program":""}}`)
	case "twice":
		fmt.Println(readyLine + "\n" + readyLine)
	case "after":
		fmt.Println(readyLine + "\n" + `{"type":"result","result":{"peer":"","program":""}}` + "\n" + `{"type":"started","started":{}}`)
	case "empty":
		fmt.Println(`{"type":"ready","version":1}`)
	case "long":
		fmt.Println(strings.Repeat("x", 32<<20))
	case "cut":
		fmt.Print(readyLine + "\n" + `{"type":"result","resul`)
		os.Exit(0)
	default:
		fmt.Println("unknown role", role)
		os.Exit(1)
	}
	time.Sleep(time.Hour) // it is for the parent to end it
}

// unguarded starts processes without Pdeathsig.
type unguarded struct{}

func (unguarded) Start(cmd *exec.Cmd) (func() error, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	var status error
	go func() { status = cmd.Wait(); close(ended) }()
	return func() error { <-ended; return status }, nil
}

// beParent starts a peer, tells its process id, and waits to be killed.
func beParent() {
	var on peers.Starter
	var p peers.Program = peers.Accept{Listen: loopback, Never: true}
	switch os.Getenv("TCPLAB_TEST_PARENT") {
	case "local":
	case "unguarded":
		on = unguarded{}
	case "command":
		p = command("sleep")
	}
	peer, err := peers.Start(context.Background(), on, "orphan", p)
	if err == nil {
		_, err = peer.Ready(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(peer.PID())
	time.Sleep(time.Hour)
}

// awaitExit waits until a process that need not be our child has ended.
func awaitExit(t testing.TB, pidfd int) {
	t.Helper()
	const bound = 20_000 // ms
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, bound)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("process still runs: %d, %v", n, err)
		}
		return
	}
}
