package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/thread"
)

func newHost(t testing.TB, name string, settings ...Setting) *Host {
	t.Helper()
	h, err := NewHost(name, settings...)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, h)
	return h
}

func TestBadInputIsRefused(t *testing.T) {
	long := strings.Repeat("x", 16)
	// Hosts without a namespace: the kernel would have something else to say about them.
	a, b := &Host{name: "a", serial: 1, fd: -1}, &Host{name: "b", serial: 2, fd: -1}
	a.ends = []*End{{host: a, plan: EndPlan{Name: "eth0"}, number: 1}}
	route := func(dst, via string) error {
		d, _ := netip.ParsePrefix(dst)
		v, _ := netip.ParseAddr(via)
		return a.AddRoute(d, v)
	}
	connect := func(c LinkConfig) error { _, err := Connect(a, b, c); return err }
	host := func(name string, s ...Setting) error { _, err := NewHost(name, s...); return err }
	topology := func(_ *Topology, err error) error { return err }
	for _, c := range []struct {
		err  error
		want string
	}{
		{host(""), "1 to 64 letters"},
		{host("a/b"), "1 to 64 letters"},
		{host(".."), "starting with none of"},
		{host("-v"), "starting with none of"},
		{host("a b"), "1 to 64 letters"},
		{host(strings.Repeat("x", 65)), "1 to 64"},
		{host("a", Setting{"kernel.pid_max", "1"}), "below net"},
		{host("a", Setting{"net.ipv4.tcp_sack", "1\n0"}), "single line"},
		{connect(LinkConfig{NameA: long}), "1 to 15"},
		{connect(LinkConfig{NameB: "a/b"}), "without /"},
		{connect(LinkConfig{NameB: "eth%d"}), "without /"},
		{connect(LinkConfig{NameA: "a b"}), "visible"},
		{connect(LinkConfig{NameA: "lo"}), "not . .. lo"},
		{connect(LinkConfig{NameA: "all"}), "all"},
		{connect(LinkConfig{NameA: "eth0"}), "host a has one of this name"},
		{connect(LinkConfig{MTU: 67}), "68 to 65535"},
		{connect(LinkConfig{MTU: -1}), "68 to 65535"},
		{connect(LinkConfig{MTU: 65536}), "68 to 65535"},
		{connect(LinkConfig{Number: -1}), "1 to 255"},
		{connect(LinkConfig{Number: 256}), "1 to 255"},
		{connect(LinkConfig{Number: 1}), "host a has it at eth0"},
		{func() error { _, err := Connect(a, nil, LinkConfig{}); return err }(), "nil"},
		{func() error { _, err := Connect(a, a, LinkConfig{}); return err }(), "itself"},
		{func() error { _, err := Connect(a, &Host{name: "a"}, LinkConfig{}); return err }(), "both called a"},
		{route("10.0.0.1/24", "10.0.1.1"), "host bits are zero"},
		{route("", "10.0.1.1"), "host bits are zero"},
		{route("10.0.0.0/24", ""), "router's address"},
		{route("10.0.0.0/24", "fd00::1"), "same family"},
		{route("fd00::/64", "fe80::1%eth0"), "without zone"},
		{topology(Dumbbell(0, Config{})), "1 to 99"},
		{topology(Dumbbell(-1, Config{})), "1 to 99"},
		{topology(Dumbbell(100, Config{})), "1 to 99"},
		{topology(Direct(Config{MTU: 67})), "68 to 65535"},
		{topology(Routed(Config{MTU: 65536})), "68 to 65535"},
		{topology(Dumbbell(1, Config{BottleneckMTU: 67})), "BottleneckMTU: MTU 67"},
		{topology(Routed(Config{BottleneckMTU: 1400})), "dumbbell topology only"},
		{topology(Routed(Config{RouterSysctls: []Setting{{"vm.swappiness", "1"}}})), "RouterSysctls: sysctl key \"vm.swappiness\""},
		{func() error { _, err := a.Start(nil); return err }(), "nil"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v, want something with %q", c.err, c.want)
		}
	}
}

func TestDoRunsInTheHost(t *testing.T) {
	needNamespaces(t)
	here := func() string {
		ns, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
		}
		return ns
	}
	h := newHost(t, "a")
	outside := here()
	var inside string
	sentinel := errors.New("of f")
	if err := h.Do(func() error { inside = here(); return sentinel }); err != sentinel {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(h.FD(), &stat); err != nil {
		t.Fatal(err)
	}
	if inside == outside || inside != fmt.Sprintf("net:[%d]", stat.Ino) {
		t.Fatalf("outside %s, inside %s, the descriptor's inode %d", outside, inside, stat.Ino)
	}
	if main, err := os.Readlink("/proc/self/ns/net"); err != nil || main != outside {
		t.Fatalf("the main thread is in %s (%v), the test in %s", main, err, outside)
	}
}

// Without care, every so often a goroutine that is never unlocked gets the main thread, and takes it away.
func TestMainThreadIsLeftAlone(t *testing.T) {
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			_ = thread.Run(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("runs on the main thread")
				}
				return nil
			})
		})
	}
	wg.Wait()
}

func TestPanicInDoGoesOnInTheCaller(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	value := errors.New("some value")
	defer func() {
		if got := recover(); got != value {
			t.Fatalf("recovered %v", got)
		}
		if err := h.Do(func() error { return nil }); err != nil {
			t.Fatalf("after the panic: %v", err)
		}
	}()
	_ = h.Do(func() error { panic(value) })
	t.Fatal("Do returned")
}

func TestGoexitInDoGoesOnInTheCaller(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Do(func() error { runtime.Goexit(); return nil })
		returned = true
	}()
	<-done
	if returned {
		t.Fatal("Do returned")
	}
}

func TestClosedHost(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	other := newHost(t, "b")
	for range 2 {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, startErr := h.Start(exec.Command("/bin/true"))
	_, connectErr := Connect(other, h, LinkConfig{})
	for _, err := range []error{
		h.Do(func() error { return nil }),
		h.SetSysctl("net.ipv4.tcp_sack", "1"),
		h.AddRoute(anyIPv4, netip.MustParseAddr("10.0.1.1")),
		startErr, connectErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	// A closed netlink.Handle would ask the machine's own namespace.
	if links, err := h.Netlink().LinkList(); err == nil {
		t.Errorf("listed %d links", len(links))
	}
}

func TestWithoutPrivileges(t *testing.T) {
	err := thread.Run(func() error {
		var none [2]unix.CapUserData
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &none[0]); err != nil { // of this thread
			return err
		}
		_, err := createHost("a", nil)
		return err
	})
	if !errors.Is(err, ErrNotPermitted) || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "tcplab run") {
		t.Fatalf("got %v", err)
	}
}

func TestStartedProcessIsInTheHost(t *testing.T) {
	needNamespaces(t)
	topology, err := Direct(Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, topology)
	cmd := self("interfaces")
	var out bytes.Buffer
	cmd.Stdout = &out
	wait, err := topology.Server().Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	var inside string
	if err := topology.Server().Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(out.String())
	if want := []string{inside, "eth0"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestStartErrors(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	if _, err := h.Start(exec.Command("/no/such/program")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "host a") {
		t.Fatalf("got %v", err)
	}
	if _, err := h.Start(exec.Command("no-such-program")); !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestCloseKillsWhatRuns(t *testing.T) {
	needNamespaces(t)
	h := newHost(t, "a")
	cmd := self("idle")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	wait, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var results []error
	for range 2 {
		results = append(results, wait())
	}
	var exit *exec.ExitError
	if !errors.As(results[0], &exit) || exit.ProcessState.String() != "signal: killed" || results[0] != results[1] {
		t.Fatalf("got %v", results)
	}
}

// A daemon has no parent but init, a session of its own, and no signal for when its parent ends.
func TestCloseKillsDaemons(t *testing.T) {
	needNamespaces(t)
	h, other := newHost(t, "a"), newHost(t, "b")
	held, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	cmd := self("daemonize")
	cmd.Stdout = theirs
	wait, err := h.Start(cmd)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Read(make([]byte, 1)); err != nil { // the daemon runs
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	left, err := h.Processes()
	if err != nil || len(left) != 1 || left[0] == cmd.Process.Pid {
		t.Fatalf("left are %v, %v, expected the daemon", left, err)
	}
	defer unix.Kill(left[0], unix.SIGKILL) // a test that fails must not leave it behind
	if elsewhere, err := other.Processes(); err != nil || len(elsewhere) != 0 {
		t.Errorf("in another host there are %v, %v", elsewhere, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(left[0], 0); err != nil {
		t.Errorf("the daemon does not run any more when another host was closed: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := held.SetReadDeadline(time.Now().Add(testenv.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, held); err != nil { // ends with the last that holds it
		t.Errorf("the daemon %d lives on: %v", left[0], err)
	}
	if _, err := h.Processes(); !errors.Is(err, ErrClosed) {
		t.Errorf("processes of a closed host: %v", err)
	}
}
