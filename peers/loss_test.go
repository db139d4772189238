package peers_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace with its own thread. It is a Starter of processes in it.
type namespace struct{ calls chan func() }

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{make(chan func())}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		entered <- err
		if err != nil {
			return
		}
		for f := range n.calls {
			f()
		}
	}()
	if err := <-entered; err != nil {
		testenv.Missing(t, "needs root: a network namespace: "+err.Error())
	}
	t.Cleanup(func() { close(n.calls) })
	return n
}

// do calls f on the namespace's thread.
func (n *namespace) do(f func() error) error {
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}

func (n *namespace) Start(cmd *exec.Cmd) (wait func() error, err error) {
	err = n.do(func() error { wait, err = unguarded{}.Start(cmd); return err })
	return wait, err
}

// retransSegs reads TcpRetransSegs (RFC 4022, tcpRetransSegs) of the namespace.
func (n *namespace) retransSegs(t *testing.T) uint64 {
	t.Helper()
	var b []byte
	if err := n.do(func() (err error) { b, err = os.ReadFile("/proc/thread-self/net/snmp"); return err }); err != nil {
		t.Fatal(err)
	}
	var names [][]byte
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if string(f[0]) != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if string(name) == "RetransSegs" {
				v, err := strconv.ParseUint(string(f[i]), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
	}
	t.Fatalf("no RetransSegs in %s", b)
	return 0
}

// What both peers say was retransmitted is all that the kernel counted, SYN and FIN included: TCP_INFO is final.
func TestTCPInfoIsFinalUnderLoss(t *testing.T) {
	n := newNamespace(t)
	if err := n.do(func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(netlink.NewNetem(
			netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
			netlink.NetemQdiscAttrs{Latency: 2000, Limit: 10_000, Loss: 10}, // µs, packets, percent
		))
	}); err != nil {
		testenv.Missing(t, "needs sch_netem: "+err.Error())
	}

	ctx := testContext(t)
	const transfers = 10
	var all []*peers.Peer
	for range transfers { // all at once: each waits for some time-outs
		server := startOn(t, ctx, n, "server", peers.BulkServer{Listen: loopback})
		client := startOn(t, ctx, n, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Bytes: 50_000, Socket: peers.Socket{MSS: 1000}})
		all = append(all, server, client)
	}
	var reported uint64
	for _, p := range all {
		reported += uint64(wait(t, ctx, p).Connections[0].TCPInfo.Total_retrans)
	}
	counted := n.retransSegs(t)
	t.Logf("%d retransmissions in %d transfers", counted, transfers)
	if reported != counted || counted == 0 {
		t.Errorf("the peers tell of %d retransmissions, the kernel counted %d", reported, counted)
	}
}
