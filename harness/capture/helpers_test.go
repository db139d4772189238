package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// The main thread outlives every goroutine, and would stay in the namespace of a test that got it.
func init() { runtime.LockOSThread() }

func needRoot(t testing.TB) {
	t.Helper()
	testenv.Root(t, "network namespaces and packet sockets")
}

// space is a network namespace that lives as long as its thread.
type space struct {
	work chan func()
	fd   int // of the namespace

	address  net.IP // of eth0, in a pair
	hardware net.HardwareAddr
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		ready <- func() (err error) {
			if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
				s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			}
			return err
		}()
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		testenv.Missing(t, "needs network namespaces: "+err.Error())
	}
	t.Cleanup(func() {
		close(s.work)
		if err := unix.Close(s.fd); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *space) device(name string) netdev.Device { return netdev.Device{NetNS: s.fd, Name: name} }

func (s *space) Do(f func() error) error {
	done := make(chan error)
	s.work <- func() { done <- f() }
	return <-done
}

// must runs f in the namespace.
func (s *space) must(t testing.TB, f func() error) {
	t.Helper()
	if err := s.Do(f); err != nil {
		t.Fatal(err)
	}
}

// pair is two namespaces joined by veth devices, both called eth0, with the
// addresses 192.0.2.1 and 192.0.2.2. There is no IPv6, and both neighbours are
// known for good, so there are no packets but those that a test causes: no ARP,
// whose probes would come some seconds later on a busy machine. The stack hands
// single segments to the devices.
func pair(t testing.TB) (a, b *space) {
	t.Helper()
	needRoot(t)
	a, b = newSpace(t), newSpace(t)
	var target *os.File
	b.must(t, func() (err error) {
		target, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	defer target.Close()
	for _, s := range []*space{a, b} {
		s.must(t, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		})
	}
	a.must(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		// The kernel notices a veth's carrier at once only if both ends differ in
		// their index (linkwatch_urgent_event); it can take 1 s otherwise.
		attrs.Index = 100
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(target.Fd())})
	})
	done := make(chan struct{})
	defer close(done)
	var updates []chan netlink.LinkUpdate
	for i, s := range []*space{a, b} {
		ch := make(chan netlink.LinkUpdate, 16)
		updates = append(updates, ch)
		s.must(t, func() error {
			if err := netlink.LinkSubscribe(ch, done); err != nil {
				return err
			}
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(fmt.Sprintf("192.0.2.%d/24", i+1))
			if err != nil {
				return err
			}
			s.address = addr.IP
			s.hardware = link.Attrs().HardwareAddr
			return errors.Join(
				netlink.LinkSetGSOMaxSegs(link, 1),
				netlink.AddrAdd(link, addr),
				netlink.LinkSetUp(link),
			)
		})
	}
	a.knows(t, b)
	b.knows(t, a)
	// A device loses its packets until the kernel has noticed its carrier.
	for _, ch := range updates {
		for u := range ch {
			if u.Attrs().Name == "eth0" && u.Attrs().OperState == netlink.OperUp {
				break
			}
		}
	}
	return a, b
}

// knows makes the other end a permanent neighbour, until the device goes down.
func (s *space) knows(t testing.TB, other *space) {
	t.Helper()
	s.must(t, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
			IP: other.address, HardwareAddr: other.hardware,
		})
	})
}

func (s *space) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var l net.Listener
	s.must(t, func() (err error) {
		var c net.ListenConfig
		c.SetMultipathTCP(false)
		l, err = c.Listen(context.Background(), "tcp4", address)
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func (s *space) dial(t testing.TB, network, address string) net.Conn {
	t.Helper()
	var conn net.Conn
	s.must(t, func() (err error) {
		conn, err = net.Dial(network, address)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// frame is a packet as the file has it.
type frame struct {
	gopacket.CaptureInfo
	flags    pcapgo.NgEpbFlags
	comments []string
	data     []byte
}

func (f frame) tcp() *layers.TCP {
	tcp, _ := gopacket.NewPacket(f.data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
	return tcp
}

// contents is all of a file.
type contents struct {
	interfaces []pcapgo.NgInterface
	section    pcapgo.NgSectionInfo
	frames     []frame
}

func readFile(t testing.TB, path string) contents {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return readFrames(t, f)
}

func readFrames(t testing.TB, in io.Reader) contents {
	t.Helper()
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	c := contents{section: r.SectionInfo()}
	for {
		data, ci, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if options.Flags == nil {
			t.Fatalf("packet %d has no flags", len(c.frames)+1)
		}
		c.frames = append(c.frames, frame{ci, *options.Flags, options.Comments, data})
	}
	for i := range r.NInterfaces() {
		intf, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		c.interfaces = append(c.interfaces, intf)
	}
	return c
}
