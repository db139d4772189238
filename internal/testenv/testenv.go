// Package testenv is what tests of several packages need of the machine that they run on.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// Missing skips the test for want of something, or fails it where nothing may be missing: in a guest, which has all.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TCPLAB_REQUIRE") == "1" {
		t.Fatalf("TCPLAB_REQUIRE=1, but %s", what)
	}
	t.Skip(what)
}

// Patience is how long to wait for what should come at once. It ends tests that would wait for ever, and says nothing
// about speed: a machine with other things to do can be a hundred times slower.
const Patience = 5 * time.Minute

// Context ends when what the test has begun later is cleaned up, or when the patience does.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

const isolatedVariable = "TCPLAB_TEST_ISOLATED"

// Isolated runs the calling test once more, in a process that is root of user and network namespaces of its own: the
// count of network namespaces that the kernel keeps for their user is then this test's alone. It returns true in that
// process, and false when the test is over. Where it works, it works without root. It is not for subtests.
func Isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedVariable) != "" {
		return true
	}
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(this, "-test.run=^"+t.Name()+"$", "-test.v")
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	cmd.Env = append(os.Environ(), isolatedVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = subprocess.Run(cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		Missing(t, "needs user namespaces: "+err.Error())
	}
	t.Logf("in user and network namespaces of its own:\n%s", output.Bytes())
	switch {
	case err != nil:
		t.Fatal(err)
	case bytes.Contains(output.Bytes(), []byte("--- SKIP: "+t.Name()+" ")):
		t.Skip("skipped there")
	case !bytes.Contains(output.Bytes(), []byte("--- PASS: "+t.Name()+" ")):
		t.Fatal("it did not run there")
	}
	return false
}
