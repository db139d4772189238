package kernel

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"golang.org/x/sys/unix"
)

// readHex reads lines of hexadecimal digits.
func readHex(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines [][]byte
	s := bufio.NewScanner(f)
	for s.Scan() {
		b, err := hex.DecodeString(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, b)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestParseSocketFixtures(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    []string // local, remote, state, timer, congestion
	}{
		{"6.1", []string{
			"inet [10.0.1.1:56520 10.0.2.2:4000] TIME-WAIT {timewait 59.988s 0} ",
			"inet [10.0.1.1:56534 10.0.2.2:4000] FIN-WAIT-2 {timewait 59.996s 0} ",
			"inet6 [[fd00:1::1]:34492 [fd00:2::2]:4000] ESTAB {off 0s 0} vegas",
			"inet6 [[fd00:1::1]:34478 [fd00:2::2]:4000] ESTAB {off 0s 0} bbr",
			"inet6 [[fd00:1::1]:34494 [fd00:2::2]:4000] ESTAB {off 0s 0} dctcp-reno",
			"inet [10.0.2.2:4000 0.0.0.0:0] LISTEN {off 0s 0} cubic",
			"inet [10.0.2.2:4000 10.0.1.1:56534] CLOSE-WAIT {off 0s 0} cubic",
			"inet6 [[fd00:2::2]:4000 [::]:0] LISTEN {off 0s 0} cubic",
			"inet6 [[fd00:2::2]:4000 [fd00:1::1]:34492] ESTAB {off 0s 0} cubic",
			"inet6 [[fd00:2::2]:4000 [fd00:1::1]:34494] ESTAB {off 0s 0} cubic",
			"inet6 [[fd00:2::2]:4000 [fd00:1::1]:34478] ESTAB {off 0s 0} cubic",
		}},
		{"6.12", []string{
			"inet [10.0.1.1:45894 10.0.2.2:4000] TIME-WAIT {timewait 59.992s 0} ",
			"inet [10.0.1.1:45908 10.0.2.2:4000] FIN-WAIT-2 {timewait 1m0s 0} ",
		}},
	} {
		t.Run(tt.version, func(t *testing.T) {
			var seen []string
			var bbr, vegas, dctcp, unread int
			for _, b := range readHex(t, "linux-"+tt.version+"-sockets") {
				s, err := parseSocket(b)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, fmt.Sprintf("%v %v %v %v %s", s.Family, []netip.AddrPort{s.Local, s.Remote}, s.State, s.Timer, s.Congestion))
				whole := s.Timer.Kind != TimerTimeWait
				if (s.TCPInfo != nil) != whole || (s.Memory != nil) != whole {
					t.Errorf("%s: TCPInfo %v, memory %v", seen[len(seen)-1], s.TCPInfo, s.Memory)
				}
				if whole && (State(s.TCPInfo.State) != s.State || s.TCPInfo.Has("snd_wnd") == false) {
					t.Errorf("TCPInfo.State is %d", s.TCPInfo.State)
				}
				if s.BBR != nil {
					bbr++
					// The link delays by 1 ms, and startup has a gain of 2/ln(2).
					if s.BBR.MinRTT < 1000 || s.BBR.MinRTT > 1200 || s.BBR.PacingGain != 739./256 || s.BBR.Bandwidth < 1e6 {
						t.Errorf("BBR %+v", *s.BBR)
					}
				}
				if s.Vegas != nil {
					vegas++
					if s.Vegas.Enabled != 1 || s.Vegas.MinRTT < 1000 {
						t.Errorf("Vegas %+v", *s.Vegas)
					}
				}
				if s.DCTCP != nil {
					dctcp++
				}
				if s.ReceiveQueue == 5 && s.Memory.ReceiveLimit == 40000 && s.TCPInfo.Snd_wscale == 5 && s.TCPInfo.Rcv_wscale == 0 {
					unread++
				}
				if s.State == Listen && s.SendQueue != 4096 {
					t.Errorf("backlog %d", s.SendQueue)
				}
			}
			if bbr != 1 || vegas != 1 || dctcp != 1 {
				t.Errorf("%d of BBR, %d of Vegas, %d of DCTCP; want one each", bbr, vegas, dctcp)
			}
			if len(seen) != 11 || !slices.Equal(seen[:len(tt.want)], tt.want) {
				t.Errorf("sockets\n%s", strings.Join(seen, "\n"))
			}
		})
	}
}

func TestParseSocketErrors(t *testing.T) {
	good := readHex(t, "linux-6.1-sockets")[2]
	if _, err := parseSocket(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(b []byte) []byte
		want   string
	}{
		{"empty", func(b []byte) []byte { return nil }, "0 bytes"},
		{"cut off", func(b []byte) []byte { return b[:71] }, "71 bytes"},
		{"family", func(b []byte) []byte { b[0] = 1; return b }, "family 1"},
		{"state 0", func(b []byte) []byte { b[1] = 0; return b }, "state 0"},
		{"state 13", func(b []byte) []byte { b[1] = 13; return b }, "state 13"},
		{"attribute cut off", func(b []byte) []byte { return b[:len(b)-1] }, "attribute"},
		{"attribute without end", func(b []byte) []byte { binary.NativeEndian.PutUint16(b[72:], 3); return b }, "of 3 bytes"},
		{"short BBR", func(b []byte) []byte {
			return append(b[:72], 8, 0, attrBBR, 0, 1, 2, 3, 4)
		}, "attribute 16 has 4 bytes: want at least 20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseSocket(tt.change(slices.Clone(good))); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A kernel that is newer than this package may have more timers, and no such socket is a reason to list none.
func TestTimersOfNewKernels(t *testing.T) {
	b := readHex(t, "linux-6.1-sockets")[2]
	for number, want := range map[byte]TimerKind{4: TimerPersist, 5: TimerDelayedACK, 6: "timer 6"} {
		b[2] = number
		if s, err := parseSocket(b); err != nil || s.Timer.Kind != want {
			t.Errorf("timer %d is %q, %v; want %q", number, s.Timer.Kind, err, want)
		}
	}
}

// TestSocketReader: what comes one by one is what a listing has, and the next reading begins anew.
func TestSocketReader(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	host := topology.Server()
	listen(t, host, host.IPv4(), options{})
	client, server := pair(t, topology, host.IPv6(), options{}, options{})
	transfer(t, client, server, 1000)
	for _, filter := range []SocketFilter{{}, {States: []State{Listen}}, {Port: 4000}, {Port: 1}} {
		want, err := ReadSockets(host, filter)
		if err != nil {
			t.Fatal(err)
		}
		r, err := OpenSockets(host, filter)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 2 {
			var seen []uint64
			if err := r.Each(func(s *Socket) { seen = append(seen, s.Cookie) }); err != nil {
				t.Fatal(err)
			}
			var cookies []uint64
			for _, s := range want {
				cookies = append(cookies, s.Cookie)
			}
			slices.Sort(seen)
			slices.Sort(cookies)
			if !slices.Equal(seen, cookies) {
				t.Errorf("%v: read %d, listed %d", filter, seen, cookies)
			}
		}
	}
}

func TestCutMessage(t *testing.T) {
	message := func(length uint32, bytes int) []byte {
		b := make([]byte, bytes)
		binary.NativeEndian.PutUint32(b, length)
		return b
	}
	header, body, rest, err := cutMessage(message(18, 24))
	if err != nil || header.Len != 18 || len(body) != 2 || len(rest) != 4 {
		t.Errorf("%+v, %d bytes, %d left, %v", header, len(body), len(rest), err)
	}
	if _, body, rest, err := cutMessage(message(18, 18)); err != nil || len(body) != 2 || len(rest) != 0 {
		t.Errorf("without padding at the end: %d bytes, %d left, %v", len(body), len(rest), err)
	}
	for _, b := range [][]byte{message(0, 4), message(15, 16), message(17, 16), message(1<<31, 64)} {
		if _, _, _, err := cutMessage(b); err == nil {
			t.Errorf("% x is a message", b)
		}
	}
}

func TestStateText(t *testing.T) {
	for s := State(0); s <= NewSynRecv; s++ {
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(text), s.String()} {
			if s == 0 && text != "" {
				continue
			}
			var back State
			if err := back.UnmarshalText([]byte(text)); err != nil || back != s {
				t.Errorf("%q is %v, %v; want %v", text, back, err, s)
			}
		}
	}
	if _, err := State(13).MarshalText(); err == nil {
		t.Error("state 13 has a name")
	}
	if err := new(State).UnmarshalText([]byte("OPEN")); err == nil {
		t.Error("OPEN is a state")
	}
	if s := FinWait1.String() + " " + State(13).String(); s != "FIN-WAIT-1 state 13" {
		t.Error(s)
	}
}

func FuzzParseSocket(f *testing.F) {
	for _, version := range []string{"6.1", "6.12"} {
		for _, b := range readHex(f, "linux-"+version+"-sockets") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSocket(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Socket
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(text) {
			t.Errorf("%s\nbecame %s, %v", text, again, err)
		}
	})
}

// one is the socket with that local and remote address.
func one(t testing.TB, host Runner, c *net.TCPConn) Socket {
	t.Helper()
	sockets, err := ReadSockets(host, SocketFilter{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(sockets, func(s Socket) bool { return s.Local == local(c) && s.Remote == remote(c) })
	if i < 0 {
		t.Fatalf("no socket %v-%v among%s", local(c), remote(c), summary(sockets))
	}
	return sockets[i]
}

func TestReadSocketsIsWhatGetsockoptSays(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	transfer(t, client, server, 50000)
	transfer(t, server, client, 3000)
	// Until nothing moves any more: the last acknowledgement has been sent.
	quiet := func(s []Socket) bool {
		return len(s) == 1 && s[0].Timer.Kind == TimerOff && s[0].TCPInfo.Unacked == 0 && s[0].SendQueue == 0
	}
	for _, end := range []struct {
		host *netns.Host
		c    *net.TCPConn
	}{{topology.Client(), client}, {topology.Server(), server}} {
		t.Run(end.host.Name(), func(t *testing.T) {
			if _, err := AwaitSockets(testenv.Context(t), end.host, SocketFilter{States: []State{Established}}, quiet); err != nil {
				t.Fatal(err)
			}
			raw, err := end.c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			// A delayed acknowledgement may still come: what is the same before and
			// after was so in between.
			for range 100 {
				before := getsockopt(t, raw)
				s := one(t, end.host, end.c)
				if differences(before, getsockopt(t, raw)) != nil {
					continue
				}
				if d := differences(before, &s.TCPInfo.TCPInfo); d != nil {
					t.Errorf("getsockopt and sock_diag differ in %v", d)
				}
				if s.TCPInfo.Segs_out == 0 || s.TCPInfo.Rtt == 0 || s.TCPInfo.Snd_wnd == 0 {
					t.Errorf("nothing seems to have happened: %+v", s.TCPInfo)
				}
				if s.Inode == 0 || s.Cookie == 0 || s.UID != uint32(os.Getuid()) || s.Congestion == "" || s.Family != IPv4 {
					t.Errorf("socket %+v", s)
				}
				if s.Memory == nil || s.Memory.ReceiveLimit == 0 || s.Memory.SendLimit == 0 {
					t.Errorf("memory %+v", s.Memory)
				}
				return
			}
			t.Error("the connection never came to rest")
		})
	}
}

func getsockopt(t testing.TB, raw interface{ Control(func(uintptr)) error }) *unix.TCPInfo {
	t.Helper()
	var info *unix.TCPInfo
	var err error
	if outer := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); outer != nil || err != nil {
		t.Fatal(outer, err)
	}
	return info
}

// differences names the fields in which two structs differ, but for the ages.
func differences(a, b *unix.TCPInfo) []string {
	var names []string
	for f := range reflect.TypeFor[unix.TCPInfo]().Fields() {
		if f.Name == "_" || strings.HasPrefix(f.Name, "Last_") {
			continue
		}
		x, y := reflect.ValueOf(a).Elem().FieldByIndex(f.Index), reflect.ValueOf(b).Elem().FieldByIndex(f.Index)
		if x.Uint() != y.Uint() {
			names = append(names, fmt.Sprintf("%s: %d and %d", f.Name, x.Uint(), y.Uint()))
		}
	}
	return names
}

// The scale is the smallest at which the receive buffer's share of 65535 * 2^scale
// is the whole buffer (tcp_select_initial_window), and net.core.rmem_max limits
// what SO_RCVBUF sets.
func TestWindowScales(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	client, server := pair(t, topology, topology.Server().IPv6(), options{receive: 4096}, options{receive: 4 << 20})
	ofClient, ofServer := one(t, topology.Client(), client).TCPInfo, one(t, topology.Server(), server).TCPInfo
	if ofClient.Rcv_wscale != 0 || ofServer.Rcv_wscale == 0 {
		t.Errorf("announced are %d by the client with the small buffer and %d by the server with the large one",
			ofClient.Rcv_wscale, ofServer.Rcv_wscale)
	}
	if ofClient.Snd_wscale != ofServer.Rcv_wscale || ofServer.Snd_wscale != ofClient.Rcv_wscale {
		t.Errorf("one's rcv_wscale is not the other's snd_wscale: client %d,%d; server %d,%d",
			ofClient.Snd_wscale, ofClient.Rcv_wscale, ofServer.Snd_wscale, ofServer.Rcv_wscale)
	}
	if ofClient.Options&4 == 0 { // TCPI_OPT_WSCALE
		t.Errorf("options %#x: no window scale", ofClient.Options)
	}
}

func TestReadSocketsOfAHost(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	server := topology.Server()
	// An IPv6 socket that takes IPv4, too.
	l := listen(t, server, netip.IPv6Unspecified(), options{})
	to := &net.TCPAddr{IP: server.IPv4().AsSlice(), Port: 4000}
	client := dial(t, topology.Client(), to, options{})
	list := func(host *netns.Host, f SocketFilter) []string {
		t.Helper()
		sockets, err := ReadSockets(host, f)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, s := range sockets {
			lines = append(lines, fmt.Sprintf("%v %v-%v %v %d %d", s.Family, s.Local, s.Remote, s.State, s.ReceiveQueue, s.SendQueue))
		}
		return lines
	}
	accept(t, l)
	from := local(client)
	for _, tt := range []struct {
		name   string
		host   *netns.Host
		filter SocketFilter
		want   []string
	}{
		{"the client's", topology.Client(), SocketFilter{}, []string{"inet " + from.String() + "-10.0.2.2:4000 ESTAB 0 0"}},
		{"the router's", topology.Routers[0], SocketFilter{}, nil},
		{"the server's", server, SocketFilter{States: []State{Established}}, []string{"inet6 10.0.2.2:4000-" + from.String() + " ESTAB 0 0"}},
		{"by the local port", server, SocketFilter{States: []State{Established}, Port: 4000}, []string{"inet6 10.0.2.2:4000-" + from.String() + " ESTAB 0 0"}},
		{"by the remote port", server, SocketFilter{Port: from.Port()}, []string{"inet6 10.0.2.2:4000-" + from.String() + " ESTAB 0 0"}},
		{"by another port", server, SocketFilter{Port: 1}, nil},
		{"in another state", server, SocketFilter{States: []State{TimeWait, Closing, SynRecv}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := list(tt.host, tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("sockets %q, want %q", got, tt.want)
			}
		})
	}
	// The listener: one connection waits, which nobody accepts.
	waiting := dial(t, topology.Client(), to, options{})
	sockets, err := AwaitSockets(testenv.Context(t), server, SocketFilter{States: []State{Listen}}, func(s []Socket) bool { return len(s) == 1 && s[0].ReceiveQueue == 1 })
	if err != nil {
		t.Fatal(err)
	}
	if s := sockets[0]; s.Family != IPv6 || s.Local.String() != "[::]:4000" || s.Remote.String() != "[::]:0" || s.SendQueue == 0 || s.TCPInfo.Unacked != 1 {
		t.Errorf("listener %+v", s)
	}
	if n := len(list(server, SocketFilter{})); n != 3 {
		t.Errorf("%d sockets, want 3", n)
	}
	waiting.Close()
}

// A reader that does not read: the window closes, and is probed.
func TestQueuesAndPersistTimer(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{receive: 8192})
	const more = 200000
	written := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, more))
		written <- err
	}()
	established := SocketFilter{States: []State{Established}}
	sockets, err := AwaitSockets(testenv.Context(t), topology.Client(), established, func(s []Socket) bool {
		return len(s) == 1 && s[0].Timer.Kind == TimerPersist
	})
	if err != nil {
		t.Fatal(err)
	}
	sender, receiver := sockets[0], one(t, topology.Server(), server)
	if sender.SendQueue == 0 || receiver.ReceiveQueue == 0 || uint64(receiver.ReceiveQueue) != receiver.TCPInfo.Bytes_received {
		t.Errorf("queues %d and %d, of %d bytes received", sender.SendQueue, receiver.ReceiveQueue, receiver.TCPInfo.Bytes_received)
	}
	if sender.Timer.Expires <= 0 || sender.TCPInfo.Unacked != 0 {
		t.Errorf("timer %v, %d segments on their way", sender.Timer, sender.TCPInfo.Unacked)
	}
	client.Close()
	server.Close()
	<-written
}

func TestBBR(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	l := listen(t, topology.Server(), topology.Server().IPv4(), options{congestion: "reno"})
	client, err := tryDial(t.Context(), topology.Client(), l.Addr(), options{congestion: "bbr"})
	if errors.Is(err, unix.ENOENT) {
		testenv.Missing(t, "needs the module tcp_bbr: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := accept(t, l)
	transfer(t, client, server, 100000)
	s, other := one(t, topology.Client(), client), one(t, topology.Server(), server)
	if s.Congestion != "bbr" || s.BBR == nil || other.BBR != nil {
		t.Fatalf("%s has %v, %s has %v", s.Congestion, s.BBR, other.Congestion, other.BBR)
	}
	var cc *unix.TCPBBRInfo
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if outer := raw.Control(func(fd uintptr) {
		cc, err = unix.GetsockoptTCPCCBBRInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CC_INFO)
	}); outer != nil || err != nil {
		t.Fatal(outer, err)
	}
	s = one(t, topology.Client(), client)
	want := BBRInfo{
		Bandwidth: uint64(cc.Bw_hi)<<32 | uint64(cc.Bw_lo), MinRTT: cc.Min_rtt,
		PacingGain: float64(cc.Pacing_gain) / 256, CwndGain: float64(cc.Cwnd_gain) / 256,
	}
	// The last acknowledgements may come between the two.
	if s.BBR.CwndGain != want.CwndGain || s.BBR.MinRTT > want.MinRTT || s.BBR.Bandwidth < 1000 || s.BBR.CwndGain < 1 || s.BBR.CwndGain > 3 {
		t.Errorf("BBR %+v, getsockopt says %+v", *s.BBR, want)
	}
}

func TestTimeWait(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	from := local(client)
	closing := time.Now()
	closeInOrder(t, client, server)
	sockets, err := AwaitSockets(testenv.Context(t), topology.Client(), SocketFilter{}, func(s []Socket) bool {
		return len(s) == 1 && s[0].State == TimeWait
	})
	if err != nil {
		t.Fatal(err)
	}
	s := sockets[0]
	if s.Local != from || s.Inode != 0 || s.TCPInfo != nil || s.Memory != nil || s.Congestion != "" {
		t.Errorf("socket %+v", s)
	}
	// TCP_TIMEWAIT_LEN (include/net/tcp.h), in ticks, and a listing rounds down to one.
	const length, ticks = 60 * time.Second, 2 * 10 * time.Millisecond
	if least := length - time.Since(closing) - ticks; s.Timer.Kind != TimerTimeWait || s.Timer.Expires < least || s.Timer.Expires > length {
		t.Errorf("timer %+v, expected %v to %v", s.Timer, least, length)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"state":"TCP_TIME_WAIT"`; !strings.Contains(string(text), want) || strings.Contains(string(text), "tcp_info") {
		t.Errorf("%s: want %s and no tcp_info", text, want)
	}
}

func TestAwaitSocketsTellsWhatItSaw(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	listen(t, topology.Server(), topology.Server().IPv4(), options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	filter := SocketFilter{States: []State{Listen, CloseWait}, Port: 4000}
	sockets, err := AwaitSockets(ctx, topology.Server(), filter, func([]Socket) bool { return false })
	if !errors.Is(err, context.DeadlineExceeded) || len(sockets) != 1 {
		t.Errorf("%d sockets, %v", len(sockets), err)
	}
	for _, part := range []string{"(LISTEN or CLOSE-WAIT, port 4000): after ", "ms the last of the listings has 10.0.2.2:4000-0.0.0.0:0 LISTEN"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

func TestSocketFilterString(t *testing.T) {
	for _, c := range []struct {
		filter SocketFilter
		want   string
	}{
		{SocketFilter{}, "any"},
		{SocketFilter{Port: 80}, "port 80"},
		{SocketFilter{States: []State{TimeWait}}, "TIME-WAIT"},
	} {
		if got := c.filter.String(); got != c.want {
			t.Errorf("%q, expected %q", got, c.want)
		}
	}
}

func TestSampling(t *testing.T) {
	needSockDiag(t)
	topology := routed(t, netns.Config{})
	for _, period := range []time.Duration{-1, 0, time.Millisecond - 1} {
		if _, err := StartSampling(topology.Client(), period, SocketFilter{}); err == nil {
			t.Errorf("a period of %v is taken", period)
		}
	}
	const period = 2 * time.Millisecond
	sampler, err := StartSampling(topology.Client(), period, SocketFilter{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	for range 10 {
		transfer(t, client, server, 10000)
		time.Sleep(period)
	}
	samples, err := sampler.Stop()
	if err != nil {
		t.Fatal(err)
	}
	first, last := samples[0], samples[len(samples)-1]
	if len(samples) < 4 || len(first.Sockets) != 0 || len(last.Sockets) != 1 {
		t.Fatalf("%d samples, from %v to %v", len(samples), first, last)
	}
	// On a busy machine a timer may send something again: tcpi_bytes_sent counts that, too (RFC 4898,
	// tcpEStatsPerfHCDataOctetsOut).
	if info := last.Sockets[0].TCPInfo; info.Bytes_sent-info.Bytes_retrans != 100000 {
		t.Errorf("%d bytes sent, %d of them again", info.Bytes_sent, info.Bytes_retrans)
	}
	var at time.Duration
	var acked uint64
	for _, s := range samples {
		if s.At <= at {
			t.Errorf("%v after %v", s.At, at)
		}
		if at = s.At; len(s.Sockets) == 1 {
			if now := s.Sockets[0].TCPInfo.Bytes_acked; now < acked {
				t.Errorf("%d bytes acknowledged after %d", now, acked)
			} else {
				acked = now
			}
		}
	}
}

func TestSocketFilterErrors(t *testing.T) {
	for _, s := range []State{0, 13} {
		if _, err := ReadSockets(nil, SocketFilter{States: []State{s}}); err == nil || !strings.Contains(err.Error(), "want one of ESTAB to NEW-SYN-RECV") {
			t.Errorf("state %d: error %v", s, err)
		}
	}
	refused := errors.New("refused")
	if _, err := ReadSockets(failingRunner{refused}, SocketFilter{}); !errors.Is(err, refused) {
		t.Errorf("error %v, want the runner's", err)
	}
}

func ExampleReadSockets() {
	sockets, err := ReadSockets(nil, SocketFilter{States: []State{Listen}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range sockets {
		fmt.Printf("%v waits for connections, %d of at most %d are to be accepted\n", s.Local, s.ReceiveQueue, s.SendQueue)
	}
}

func BenchmarkReadSockets(b *testing.B) {
	needSockDiag(b)
	for b.Loop() {
		if _, err := ReadSockets(nil, SocketFilter{}); err != nil {
			b.Fatal(err)
		}
	}
}
