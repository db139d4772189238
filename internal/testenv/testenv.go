// Package testenv is what tests of several packages need of the machine that they run on.
//
// Which tests make privileged runs where follows from what they call. A package whose tests call [BootsGuests] is tested on this
// machine, with leave to boot guests. Any other whose tests call [Missing], [Need], [Root] or [InGuest] is tested inside a
// guest, where nothing is missing. The script packages lists either kind.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// Required reports whether nothing may be missing (TCPLAB_REQUIRE=1): in a guest, which has all.
func Required() bool { return os.Getenv("TCPLAB_REQUIRE") == "1" }

// Missing skips the test because of what is missing, or fails it if [Required]. The text says what the test needs, and why
// that is not there.
func Missing(t testing.TB, what string) {
	t.Helper()
	if Required() {
		t.Fatalf("TCPLAB_REQUIRE=1, but %s", what)
	}
	t.Skip(what)
}

// Need is Missing with the error that says what is missing, and nothing without an error.
func Need(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		Missing(t, err.Error())
	}
}

// Root skips the test, or fails it if [Required], unless it runs as root. The text says what for.
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "needs root: "+what)
	}
}

// Program skips the test where a program is not installed, also if [Required]: a guest has none but those that are packed into it.
// The text says what for.
func Program(t testing.TB, name, what string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s, %s: %v", name, what, err)
	}
}

// InGuest skips the test outside of a guest, also if [Required]: it would change this machine, or take too long in real time.
// The text says which.
func InGuest(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("TCPLAB_CLOCK") != "virtual" {
		t.Skip(why + ": only in a guest (tcplab run PACKAGE --clock virtual -- -test.v)")
	}
}

// BootsGuests skips the test unless it may boot guests (TCPLAB_TEST_GUEST=1), which takes a while.
func BootsGuests(t testing.TB) {
	t.Helper()
	if os.Getenv("TCPLAB_TEST_GUEST") != "1" {
		t.Skip("boots guests: set TCPLAB_TEST_GUEST=1, or make test")
	}
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

// Allocated returns how many bytes a function allocates, freed or not.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
