package peers_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	peers.Main()
	if os.Getenv("TCPLAB_TEST_PARENT") != "" {
		beParent()
	}
	if os.Getenv("TCPLAB_TEST_COMMAND") != "" {
		beCommand()
	}
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // for the processes that are no peers
	}
	if err := loopbackUp(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The main thread outlives every goroutine, and would stay in the namespace of a test that got it.
	runtime.LockOSThread()
	os.Exit(m.Run())
}

// loopbackUp brings the loopback interface up if it is down, as in a guest that has nothing but this test.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read the flags of lo: %w", err)
	}
	if ifr.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
