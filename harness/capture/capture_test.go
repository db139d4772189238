package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns/netdev"
)

func start(t testing.TB, c Config, ends ...Interface) *Capture {
	t.Helper()
	capture, err := Start(filepath.Join(t.TempDir(), "test.pcapng"), c, ends...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = capture.Stop() })
	return capture
}

func stop(t testing.TB, c *Capture) Summary {
	t.Helper()
	s, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// transfer opens a TCP connection, sends payload one way, and returns when both
// sides have seen its end.
func transfer(t testing.TB, client, server *space, payload []byte) {
	t.Helper()
	listener := server.listen(t, "192.0.2.2:8080")
	defer listener.Close()
	received := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- err
			return
		}
		defer conn.Close()
		n, err := io.Copy(io.Discard, conn)
		if err == nil && n != int64(len(payload)) {
			err = fmt.Errorf("received %d bytes, want %d", n, len(payload))
		}
		received <- err
	}()
	conn := client.dial(t, "tcp4", "192.0.2.2:8080")
	if _, err := conn.Write(payload); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	// The server's FIN: nothing is under way after it but its ACK.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
}

func TestTCPConnectionOnBothEnds(t *testing.T) {
	client, server := pair(t)
	c := start(t, Config{},
		Interface{Name: "client/eth0", Device: client.device("eth0")},
		Interface{Name: "server/eth0", Device: server.device("eth0")})
	payload := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	transfer(t, client, server, payload)
	summary := stop(t, c)

	if info, err := os.Stat(summary.Path); err != nil || info.Size() != summary.Bytes || info.Mode().Perm() != 0o644 {
		t.Errorf("file: %v, %v; want %d bytes, mode 0644", info, err, summary.Bytes)
	}
	got := readFile(t, summary.Path)
	if want := (pcapgo.NgSectionInfo{Application: "tcplab"}); got.section != want {
		t.Errorf("section header %+v, want %+v", got.section, want)
	}
	if len(got.interfaces) != 2 || got.interfaces[0].Name != "client/eth0" || got.interfaces[1].Name != "server/eth0" {
		t.Fatalf("interfaces %+v", got.interfaces)
	}
	if summary.Dropped() != 0 || summary.Packets() != uint64(len(got.frames)) {
		t.Errorf("summary %+v, file has %d packets", summary, len(got.frames))
	}

	if !slices.IsSortedFunc(got.frames, func(a, b frame) int { return a.Timestamp.Compare(b.Timestamp) }) {
		t.Error("packets are not in order of time")
	}
	// The client's payload by sequence number, as seen on each end: on a busy
	// machine some of it is retransmitted.
	sent := [2]map[uint32]int{{}, {}}
	var flags []string
	for _, f := range got.frames {
		tcp := f.tcp()
		if tcp == nil {
			t.Errorf("not TCP: %x", f.data)
			continue
		}
		fromClient := tcp.DstPort == 8080
		want := pcapgo.NgEpbFlagDirectionInbound
		if fromClient == (f.InterfaceIndex == 0) {
			want = pcapgo.NgEpbFlagDirectionOutbound
		}
		if f.flags.Direction != want {
			t.Errorf("end %d, from client %v: direction %d, want %d", f.InterfaceIndex, fromClient, f.flags.Direction, want)
		}
		if f.flags.Direction == pcapgo.NgEpbFlagDirectionInbound && f.flags.Reception != pcapgo.NgEpbFlagReceptionTypeUnicast {
			t.Errorf("inbound: reception %d, want unicast", f.flags.Reception)
		}
		if fromClient {
			sent[f.InterfaceIndex][tcp.Seq] = len(tcp.Payload)
		}
		if len(flags) < 6 {
			flags = append(flags, fmt.Sprintf("%d:syn=%v,ack=%v", f.InterfaceIndex, tcp.SYN, tcp.ACK))
		}
	}
	for i, segments := range sent {
		seen := 0
		for _, n := range segments {
			seen += n
		}
		if seen != len(payload) {
			t.Errorf("end %d: %d bytes of payload, want %d", i, seen, len(payload))
		}
	}
	if want := []string{
		"0:syn=true,ack=false", "1:syn=true,ack=false",
		"1:syn=true,ack=true", "0:syn=true,ack=true",
		"0:syn=false,ack=true", "1:syn=false,ack=true",
	}; !slices.Equal(flags, want) {
		t.Errorf("handshake on the merged timeline: %v, want %v", flags, want)
	}
	for i, intf := range got.interfaces {
		s := intf.Statistics
		if s.PacketsReceived != summary.Interfaces[i].Packets || s.PacketsDropped != 0 {
			t.Errorf("statistics of %s: %+v, want %+v", intf.Name, s, summary.Interfaces[i])
		}
		var times []time.Time
		for _, f := range got.frames {
			if f.InterfaceIndex == i {
				times = append(times, f.Timestamp)
			}
		}
		if !s.StartTime.Equal(times[0]) || !s.EndTime.Equal(times[len(times)-1]) || !s.LastUpdate.Equal(s.EndTime) {
			t.Errorf("statistics of %s: times %v, %v, %v, want those of the first and last packet", intf.Name, s.StartTime, s.EndTime, s.LastUpdate)
		}
	}
}

// blast sends n numbered UDP packets of size bytes.
func blast(t testing.TB, conn net.Conn, n, size int) {
	t.Helper()
	b := make([]byte, size)
	for i := range n {
		copy(b, fmt.Sprintf("%08d", i))
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
}

// sink takes UDP packets, so that nothing answers them with an ICMP error.
func (s *space) sink(t testing.TB) {
	t.Helper()
	s.must(t, func() error {
		conn, err := net.ListenPacket("udp4", "192.0.2.2:9")
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
}

func TestStopKeepsWhatWasSentBefore(t *testing.T) {
	client, server := pair(t)
	server.sink(t)
	conn := client.dial(t, "udp4", "192.0.2.2:9")
	for _, n := range []int{0, 1, 2, 500} {
		c := start(t, Config{}, Interface{Name: "client", Device: client.device("eth0")})
		blast(t, conn, n, 64)
		if s := stop(t, c); s.Packets() != uint64(n) || s.Dropped() != 0 {
			t.Errorf("sent %d packets right before Stop, captured %+v", n, s)
		}
		blast(t, conn, 1, 64) // after Stop
		if s := stop(t, c); s.Packets() != uint64(n) {
			t.Errorf("second Stop: %+v, want the same as the first", s)
		}
	}
}

func TestCopyWhileItRuns(t *testing.T) {
	client, server := pair(t)
	server.sink(t)
	conn := client.dial(t, "udp4", "192.0.2.2:9")
	c := start(t, Config{}, Interface{Name: "client", Device: client.device("eth0")}, Interface{Name: "server", Device: server.device("eth0")})
	for round := range 3 {
		var copied bytes.Buffer
		if err := c.CopyTo(&copied); err != nil {
			t.Fatal(err)
		}
		// All that was sent right before, on both ends, and what a copy has read stays for the next one.
		if got := readFrames(t, &copied); len(got.frames) != 2*10*round {
			t.Errorf("copy %d: %d packets, want %d", round, len(got.frames), 2*10*round)
		}
		blast(t, conn, 10, 64)
	}
	if s := stop(t, c); s.Packets() != 2*30 || s.Dropped() != 0 {
		t.Errorf("summary %+v, want %d packets", s, 2*30)
	}
	if err := c.CopyTo(io.Discard); err == nil {
		t.Error("copied after Stop")
	}
}

func TestDropsAreCounted(t *testing.T) {
	client, server := pair(t)
	server.sink(t)
	conn := client.dial(t, "udp4", "192.0.2.2:9")

	config, err := Config{RingBytes: minRingBytes}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e, err := openEnd(Interface{Name: "client", Device: client.device("eth0")}, config, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &Capture{path: filepath.Join(dir, "drops.pcapng"), config: config, ends: []*end{e}}
	if err := errors.Join(e.setRing(), e.bind()); err != nil {
		c.close()
		t.Fatal(err)
	}
	// Nobody reads yet, and 2000 packets of 1 KB do not fit into 512 KB.
	const n = 2000
	blast(t, conn, n, 1000)
	e.start()
	summary := stop(t, c)
	if d := summary.Dropped(); d < n/2 || d+summary.Packets() != n {
		t.Errorf("captured %d packets, dropped %d, want %d together and more than half dropped", summary.Packets(), d, n)
	}
	got := readFile(t, summary.Path)
	if s := got.interfaces[0].Statistics; s.PacketsReceived != n || s.PacketsDropped != summary.Dropped() {
		t.Errorf("statistics in the file: %+v, want %d received, %d dropped", s, n, summary.Dropped())
	}
}

func TestSnapLengthAndFilter(t *testing.T) {
	client, server := pair(t)
	server.sink(t)
	conn := client.dial(t, "udp4", "192.0.2.2:9")

	// Keep packets of more than 500 bytes; return the whole length.
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 500, SkipFalse: 1},
		bpf.RetA{},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	constant, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 70}})
	if err != nil {
		t.Fatal(err)
	}
	const udpHeaders = 14 + 20 + 8
	for _, tt := range []struct {
		name   string
		config Config
		want   []int // captured lengths of packets with 100 and 1000 bytes of payload
	}{
		{"all", Config{}, []int{100 + udpHeaders, 1000 + udpHeaders}},
		{"snap", Config{SnapLength: 60}, []int{60, 60}},
		{"filter", Config{Filter: filter}, []int{1000 + udpHeaders}},
		{"filter and snap", Config{Filter: filter, SnapLength: 60}, []int{60}},
		{"filter that cuts", Config{Filter: constant}, []int{70, 70}},
		{"filter that cuts and snap", Config{Filter: constant, SnapLength: 60}, []int{60, 60}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, tt.config, Interface{Name: "client", Device: client.device("eth0")})
			blast(t, conn, 1, 100)
			blast(t, conn, 1, 1000)
			got := readFile(t, stop(t, c).Path)
			if snap := int(got.interfaces[0].SnapLength); snap != tt.config.SnapLength {
				t.Errorf("snap length in the file: %d, want %d", snap, tt.config.SnapLength)
			}
			var lengths []int
			for _, f := range got.frames {
				lengths = append(lengths, len(f.data))
				if f.Length != 100+udpHeaders && f.Length != 1000+udpHeaders {
					t.Errorf("original length %d", f.Length)
				}
			}
			if !slices.Equal(lengths, tt.want) {
				t.Errorf("captured lengths %v, want %v", lengths, tt.want)
			}
		})
	}
}

// rawSend puts a frame on the wire as it is.
func (s *space) rawSend(t testing.TB, device string, frame []byte) {
	t.Helper()
	s.must(t, func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index})
	})
}

func TestVLANTagsArePutBack(t *testing.T) {
	client, server := pair(t)
	// The receiving side takes the outer tag out before packet sockets see the
	// packet (skb_vlan_untag), whether or not the module 8021q is there.
	addresses := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	payload := bytes.Repeat([]byte{0xab}, 60)
	for _, tt := range []struct {
		name string
		tag  []byte // from the outer tag to the EtherType
	}{
		{"802.1Q", []byte{0x81, 0x00, 0x60, 0x2a, 0x88, 0xb5}},
		{"802.1ad and 802.1Q", []byte{0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x2a, 0x88, 0xb5}},
	} {
		want := slices.Concat(addresses, tt.tag, payload)
		for _, snap := range []int{0, 14, 40} {
			t.Run(fmt.Sprintf("%s, snap length %d", tt.name, snap), func(t *testing.T) {
				c := start(t, Config{SnapLength: snap},
					Interface{Name: "client", Device: client.device("eth0")},
					Interface{Name: "server", Device: server.device("eth0")})
				client.rawSend(t, "eth0", want)
				got := readFile(t, stop(t, c).Path)
				if len(got.frames) != 2 {
					t.Fatalf("captured %d packets, want 2", len(got.frames))
				}
				for i, f := range got.frames {
					cut := want
					if snap != 0 {
						cut = want[:snap]
					}
					if !bytes.Equal(f.data, cut) || f.Length != len(want) {
						t.Errorf("end %d: length %d\n%x, want %d\n%x", i, f.Length, f.data, len(want), cut)
					}
				}
			})
		}
	}
}

func TestLinkThatGoesDownUpAndAway(t *testing.T) {
	client, server := pair(t)
	server.sink(t)
	conn := client.dial(t, "udp4", "192.0.2.2:9")
	link := func(f func(netlink.Link) error) {
		t.Helper()
		client.must(t, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	link(netlink.LinkSetDown)
	c := start(t, Config{}, Interface{Name: "client", Device: client.device("eth0")})
	for range 3 {
		link(netlink.LinkSetUp)
		client.knows(t, server) // forgotten while it was down
		blast(t, conn, 5, 64)
		link(netlink.LinkSetDown)
	}
	link(netlink.LinkDel)
	got := readFile(t, stop(t, c).Path)
	udp := 0
	for _, f := range got.frames {
		if f.Length == 14+20+8+64 {
			udp++
		}
	}
	if udp != 15 {
		t.Errorf("captured %d packets, want 15", udp)
	}
}

func TestManyRoundsLeakNothing(t *testing.T) {
	client, server := pair(t)
	ends := []Interface{{Name: "a", Device: client.device("eth0")}, {Name: "b", Device: server.device("eth0")}}
	dir := t.TempDir()
	round := func() {
		c, err := Start(filepath.Join(dir, "x.pcapng"), Config{BlockTimeout: time.Millisecond}, ends...)
		if err != nil {
			t.Fatal(err)
		}
		stop(t, c)
		if _, err := Start(filepath.Join(dir, "y.pcapng"), Config{}, ends[0], Interface{Name: "b", Device: server.device("none")}); !errors.Is(err, netdev.ErrNoDevice) {
			t.Fatalf("error %v, want netdev.ErrNoDevice", err)
		}
	}
	usage := func() (int, int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds), runtime.NumGoroutine()
	}
	round()
	fds, goroutines := usage()
	const rounds = 10
	for range rounds {
		round()
	}
	f, g := usage()
	// A goroutine that has done its last act may still be counted for a moment.
	for deadline := time.Now().Add(testenv.Patience); g > goroutines && time.Now().Before(deadline); f, g = usage() {
		time.Sleep(time.Millisecond)
	}
	if f > fds || g > goroutines {
		t.Errorf("%d file descriptors and %d goroutines after %d rounds, before %d and %d", f, g, rounds, fds, goroutines)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestBadInput(t *testing.T) {
	ok := Interface{Name: "a", Device: netdev.Device{Name: "lo"}}
	for _, tt := range []struct {
		name   string
		path   string
		config Config
		ends   []Interface
		want   string
	}{
		{"no path", "", Config{}, []Interface{ok}, "path: must not be empty"},
		{"no end", "x", Config{}, nil, "interfaces: at least one"},
		{"no name", "x", Config{}, []Interface{{Device: netdev.Device{Name: "lo"}}}, "name must not be empty"},
		{"same name", "x", Config{}, []Interface{ok, ok}, `name "a" is given twice`},
		{"no device", "x", Config{}, []Interface{{Name: "a"}}, "Device.Name: \"\" is not allowed"},
		{"bad index", "x", Config{}, []Interface{{Name: "a", Device: netdev.Device{Index: -1}}}, "Device.Index: -1 is not allowed"},
		{"long device", "x", Config{}, []Interface{{Name: "a", Device: netdev.Device{Name: "abcdefghijklmnop"}}}, "a name of 1 to 15 bytes"},
		{"snap", "x", Config{SnapLength: 5}, []Interface{ok}, "snap length 5: allowed are 14 to 262144"},
		{"ring", "x", Config{RingBytes: 1}, []Interface{ok}, "ring of 1 bytes"},
		{"timeout", "x", Config{BlockTimeout: time.Minute}, []Interface{ok}, "block timeout 1m0s"},
		{"filter", "x", Config{Filter: []bpf.RawInstruction{}}, []Interface{ok}, "filter of 0 instructions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(tt.path, tt.config, tt.ends...)
			var e *Error
			if !errors.As(err, &e) || e.Op != "check configuration" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestErrorsOfTheKernel(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	path := filepath.Join(t.TempDir(), "x.pcapng")
	lo := Interface{Name: "host/lo", Device: s.device("lo")}
	for _, tt := range []struct {
		name   string
		path   string
		config Config
		end    Interface
		want   error
	}{
		{"no such device", path, Config{}, Interface{Name: "a", Device: s.device("eth9")}, netdev.ErrNoDevice},
		{"no such index", path, Config{}, Interface{Name: "a", Device: netdev.Device{NetNS: s.fd, Index: 99}}, netdev.ErrNoDevice},
		{"no such folder", filepath.Join(path, "y"), Config{}, lo, fs.ErrNotExist},
		{"bad filter", path, Config{Filter: []bpf.RawInstruction{{Op: 0xffff}}}, lo, unix.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(tt.path, tt.config, tt.end)
			var e *Error
			if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Interface != tt.end.Name {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOrdinaryUserIsRefused(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user, this is root")
	}
	_, err := Start(filepath.Join(t.TempDir(), "x.pcapng"), Config{}, Interface{Name: "a", Device: netdev.Device{Name: "lo"}})
	if !errors.Is(err, ErrPermission) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want ErrPermission", err)
	}
}

func TestStopReportsAFileThatCannotBeWritten(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := Start(filepath.Join(dir, "x.pcapng"), Config{}, Interface{Name: "a", Device: newSpace(t).device("lo")})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stop(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}

// TestWiresharkReadsTheFile is the judge that shares no code with us.
func TestWiresharkReadsTheFile(t *testing.T) {
	for _, program := range []string{"tshark", "capinfos"} {
		testenv.Program(t, program, "to read the capture (Debian package tshark)")
	}
	client, server := pair(t)
	c := start(t, Config{},
		Interface{Name: "client/eth0", Device: client.device("eth0")},
		Interface{Name: "server/eth0", Device: server.device("eth0")})
	transfer(t, client, server, make([]byte, 10000))
	summary := stop(t, c)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+t.TempDir())
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
		}
		for line := range strings.Lines(stderr.String()) {
			// tshark dislikes root, which says nothing about the file.
			if !strings.HasPrefix(line, "Running as user") {
				t.Errorf("%v warns: %s", cmd.Args, line)
			}
		}
		return stdout.String()
	}
	out := run("tshark", "-r", summary.Path, "-Y", "tcp.flags.syn==1", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "tcp.flags.ack")
	for line := range strings.Lines(out) {
		t.Log(strings.TrimSpace(line))
	}
	norm := strings.NewReplacer("0x00000001", "1", "0x00000002", "2", "True", "1", "False", "0").Replace(out)
	if want := "client/eth0\t2\t0\nserver/eth0\t1\t0\nserver/eth0\t2\t1\nclient/eth0\t1\t1\n"; norm != want {
		t.Errorf("tshark shows\n%swant\n%s", norm, want)
	}
	if bad := run("tshark", "-r", summary.Path, "-Y", "_ws.malformed || _ws.expert.severity == error"); bad != "" {
		t.Errorf("tshark complains about packets:\n%s", bad)
	}
	infos := run("capinfos", "-M", summary.Path)
	t.Log(infos)
	for _, want := range []string{"pcapng", "Capture application: tcplab", "Strict time order:   True", "Name = client/eth0", "Name = server/eth0", "Number of stat entries = 1", fmt.Sprintf("Number of packets:   %d", summary.Packets())} {
		if !strings.Contains(infos, want) {
			t.Errorf("capinfos does not show %q", want)
		}
	}
	if strings.Contains(infos, "Capture hardware") || strings.Contains(infos, "Capture oper-sys") {
		t.Error("the section header names the machine")
	}
}
