package netns

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
)

// usage is what a process holds.
type usage struct {
	fds, threads, links, mounts, inodes int
}

func use(t *testing.T) usage {
	t.Helper()
	var u usage
	inodes := map[string]bool{}
	for dir, n := range map[string]*int{"/proc/self/fd": &u.fds, "/proc/self/task": &u.threads} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		*n = len(entries)
		for _, e := range entries {
			path := dir + "/" + e.Name()
			if dir == "/proc/self/task" {
				path += "/ns/net"
			}
			if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, "net:") {
				inodes[target] = true
			}
		}
	}
	u.inodes = len(inodes)
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	u.links = len(links)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	u.mounts = strings.Count(string(mounts), " - nsfs ")
	return u
}

// eventually asks until the answer is yes. The kernel removes namespaces in the background and tells nobody
// (cleanup_net, net/core/net_namespace.c). The pauses grow: asking can itself leave namespaces to clean up.
func eventually(t *testing.T, what func() (ok bool, seen any)) {
	t.Helper()
	deadline := time.Now().Add(testenv.Patience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ok, seen := what()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %+v", testenv.Patience, seen)
		}
		time.Sleep(pause)
	}
}

// room returns how many namespaces can be created, up to n. They are gone some time after it returns.
func room(t *testing.T, n int) int {
	t.Helper()
	for i := range n {
		h, err := NewHost("room" + strconv.Itoa(i))
		if errors.Is(err, unix.ENOSPC) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
	}
	return n
}

// assertNoNamespaceLeft has the kernel allow no more than a few namespaces, and fails unless all but this process's
// own can be created: what has leaked would count too.
func assertNoNamespaceLeft(t *testing.T) {
	t.Helper()
	const limit = 8
	if err := os.WriteFile("/proc/sys/user/max_net_namespaces", []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, any) {
		n := room(t, limit)
		return n == limit-1, "namespaces that can be created of a limit of " + strconv.Itoa(limit) + ": " + strconv.Itoa(n)
	})
}

func TestThousandRoundsLeakNothing(t *testing.T) {
	if !testenv.Isolated(t) {
		return
	}
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	round := func() {
		topology, err := Direct(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := topology.Close(); err != nil {
			t.Fatal(err)
		}
	}
	round() // whatever Go opens once and keeps
	var before usage
	eventually(t, func() (bool, any) { before = use(t); return before.inodes == 1, before })
	start := time.Now()
	for range rounds {
		round()
	}
	t.Logf("%d rounds took %v", rounds, time.Since(start))
	eventually(t, func() (bool, any) {
		now := use(t)
		// Go keeps threads for reuse and starts a few more as it likes: bounded, where a leak would have 1,000.
		threads := now.threads - before.threads
		now.threads = before.threads
		return now == before && threads < 10, []any{"before", before, "now", now, "more threads", threads}
	})
	assertNoNamespaceLeft(t)
}

func TestFailedConstructionLeavesNothing(t *testing.T) {
	if !testenv.Isolated(t) {
		return
	}
	if _, err := Direct(Config{}); err != nil { // never closed: the finder of leaks must find it
		t.Fatal(err)
	}
	eventually(t, func() (bool, any) { u := use(t); return u.inodes == 3, u })
	before := use(t)
	for _, c := range []Config{
		{ServerSysctls: []Setting{{"net.ipv4.no_such_thing", "1"}}},             // at the third host
		{RouterSysctls: []Setting{{"net.ipv6.conf.default.disable_ipv6", "1"}}}, // at the first IPv6 address
		{ServerSysctls: []Setting{{"net.ipv4.conf.eth7.rp_filter", "1"}}},       // after the links
	} {
		topology, err := Routed(c)
		if err == nil || topology != nil {
			t.Fatalf("%+v: got %v, %v", c, topology, err)
		}
		t.Log(err)
	}
	eventually(t, func() (bool, any) {
		now := use(t)
		now.threads = before.threads
		return now == before, []any{before, now}
	})
}

func TestNothingStaysAfterSIGKILL(t *testing.T) {
	if !testenv.Isolated(t) {
		return
	}
	held, heldByLab, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	lab := self("lab")
	lab.ExtraFiles = []*os.File{heldByLab}
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Process.Kill() })
	heldByLab.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the lab says %q (%v)", line, err)
	}
	before := use(t)
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The pipe's other end is held by the lab and by the process in its host. It ends when both have.
	if err := held.SetReadDeadline(time.Now().Add(testenv.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the process in the host lives on: %v", err)
	}
	_ = lab.Wait()
	after := use(t)
	if after.links != before.links || after.mounts != before.mounts {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	assertNoNamespaceLeft(t)
}
