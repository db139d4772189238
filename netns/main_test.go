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

	"github.com/tcplab/tcplab/internal/testenv"
)

// The test binary is also the processes that the tests start: this variable says which.
const roleVariable = "TCPLAB_NETNS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "idle":
		idle()
	case "daemonize":
		daemonize()
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

// daemonize leaves a process behind in a session of its own, and ends when that runs.
func daemonize() {
	cmd := self("idle")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
	}
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

// needNamespaces skips the test where hosts cannot be had.
func needNamespaces(t testing.TB) {
	t.Helper()
	h, err := NewHost("probe")
	if errors.Is(err, ErrNotPermitted) || errors.Is(err, ErrNotSupported) {
		testenv.Missing(t, "needs root and network namespaces: "+err.Error())
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
