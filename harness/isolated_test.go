package harness

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns"
)

const isolatedVariable = "TCPLAB_HARNESS_ISOLATED"

// isolated runs the calling test once more, in a process that is root of user and network namespaces of its own: the
// count of network namespaces that the kernel keeps for their user is then this test's alone. It returns true in
// that process, and false when the test is over.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedVariable) != "" {
		return true
	}
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(this, "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), isolatedVariable+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		missing(t, "needs user namespaces: "+err.Error())
	}
	t.Logf("in user and network namespaces of its own:\n%s", output)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// assertNoNamespaceLeft has the kernel allow no more than a few namespaces, and fails unless all but this process's
// own can be created: what is left would count too. The kernel removes a namespace in the background and tells
// nobody when it is done, so this asks again for a while.
func assertNoNamespaceLeft(t *testing.T) {
	t.Helper()
	const limit = 6
	if err := os.WriteFile("/proc/sys/user/max_net_namespaces", []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("1000"), 0)
	deadline := time.Now().Add(patience)
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		free := freeNamespaces(t, limit)
		if free == limit-1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %d network namespaces %d can be created, expected all but this process's", limit, free)
		}
		time.Sleep(pause)
	}
}

func freeNamespaces(t *testing.T, limit int) int {
	t.Helper()
	for i := range limit {
		host, err := netns.NewHost("free" + strconv.Itoa(i))
		if errors.Is(err, unix.ENOSPC) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
	}
	return limit
}
