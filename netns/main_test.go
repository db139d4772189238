package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the processes that the tests start: this variable says which.
const roleVariable = "TCPLAB_NETNS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "isolated": // one test, see isolated
		os.Exit(m.Run())
	case "idle":
		idle()
	case "lab":
		lab()
	case "interfaces":
		interfaces()
	}
}

// idle says that it runs and does nothing, for as long as nobody kills it.
func idle() {
	fmt.Println("ready")
	wait()
}

// wait is for ever: the runtime takes a bare select for a deadlock.
func wait() {
	for {
		time.Sleep(time.Hour)
	}
}

// lab builds a topology with a process in it and waits to be killed. Its file descriptor 3 is handed on.
func lab() {
	t, err := Routed(Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	cmd := self("idle")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "held")}
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := t.Server().Start(cmd); err != nil {
		fmt.Println(err)
		return
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	fmt.Print(line)
	wait()
}

// interfaces lists the namespace that a process started in a host sees, and its Ethernet interfaces. (A kernel with a module for
// tunnels has one of them in each new namespace: sit0, tunl0.)
func interfaces() {
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		fmt.Println(err)
	}
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(ns)
	for _, line := range strings.Split(string(data), "\n") {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if strings.HasPrefix(name, "eth") {
			fmt.Println(name)
		}
	}
}

// self returns the command that runs this binary in a role.
func self(name string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	return cmd
}

// missing skips the test, or fails it where nothing may be missing.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TCPLAB_REQUIRE") == "1" {
		t.Fatalf("TCPLAB_REQUIRE=1, but %s", what)
	}
	t.Skip(what)
}

// needNamespaces skips the test where hosts cannot be had.
func needNamespaces(t testing.TB) {
	t.Helper()
	h, err := NewHost("probe")
	if errors.Is(err, ErrNotPermitted) || errors.Is(err, ErrNotSupported) {
		missing(t, "needs root and network namespaces: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, h)
}

func closeLater(t testing.TB, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// isolated runs the calling test once more, in a process that is root of user and network namespaces of its own: the
// count of network namespaces that the kernel keeps for their user is then this test's alone. It returns true in
// that process, and false when the test is over. Where it works, it works without root.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(roleVariable) == "isolated" {
		return true
	}
	cmd := self("isolated")
	cmd.Args = append(cmd.Args, "-test.run=^"+t.Name()+"$", "-test.v")
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		missing(t, "needs user namespaces: "+err.Error())
	}
	t.Logf("in user and network namespaces of its own:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}
