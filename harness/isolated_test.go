package harness

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

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
	deadline := time.Now().Add(testenv.Patience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
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
