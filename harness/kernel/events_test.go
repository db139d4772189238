package kernel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// The test binary is also the process that is killed while it records.
const roleVariable = "TCPLAB_KERNEL_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "record" {
		if _, err := StartEvents(EventConfig{}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("ready")
		select {}
	}
	// The main thread outlives every goroutine, and would stay in the namespace of a test that got it.
	runtime.LockOSThread()
	os.Exit(m.Run())
}

// instancesNow lists the tracing instances of a process.
func instancesNow(t testing.TB, pid int) []string {
	t.Helper()
	dir, err := tracefs()
	if err != nil {
		t.Fatal(err)
	}
	m, err := filepath.Glob(fmt.Sprintf("%s/instances/%s%d-*", dir, instancePrefix, pid))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// of returns the events of a kind at one end of a connection.
func of(events []Event, kind EventKind, local, remote netip.AddrPort) []Event {
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool {
		return e.Kind != kind || e.Local != local || e.Remote != remote
	})
}

func TestEventsOfAConnection(t *testing.T) {
	topology := routed(t, netns.Config{})
	names := map[netip.Addr]string{
		topology.Client().IPv4(): "client", topology.Client().IPv6(): "client",
		topology.Server().IPv4(): "server", topology.Server().IPv6(): "server",
	}
	for _, addr := range []netip.Addr{topology.Server().IPv4(), topology.Server().IPv6()} {
		t.Run(fmt.Sprintf("IPv%d", map[bool]int{true: 4, false: 6}[addr.Is4()]), func(t *testing.T) {
			before, err := monotonic()
			if err != nil {
				t.Fatal(err)
			}
			e := needEvents(t, EventConfig{Host: func(a netip.Addr) string { return names[a] }})
			// Reno leaves slow start only after a loss; CUBIC also when the RTT grows.
			reno := options{congestion: "reno"}
			client, server := pair(t, topology, addr, reno, reno)
			here, there := local(client), remote(client)
			transfer(t, client, server, 20000)
			cookie := one(t, topology.Client(), client).Cookie
			closeInOrder(t, client, server)
			if _, err := AwaitSockets(testenv.Context(t), topology.Server(), SocketFilter{States: []State{LastAck}}, func(s []Socket) bool { return len(s) == 0 }); err != nil {
				t.Fatal(err)
			}
			events := stop(t, e)
			after, err := monotonic()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := statesOf(events, here, there), []State{SynSent, Established, FinWait1, FinWait2, TimeWait}; !slices.Equal(got, want) {
				t.Errorf("client's states %v, want %v", got, want)
			}
			if got, want := statesOf(events, there, here), []State{SynRecv, Established, CloseWait, LastAck, Close}; !slices.Equal(got, want) {
				t.Errorf("server's states %v, want %v", got, want)
			}
			at := before
			for _, x := range events {
				if x.At < at || x.At > after {
					t.Errorf("%s at %v: after %v, and %v was the end", x.Kind, x.At, at, after)
				}
				at = x.At
				if x.Local == here && x.Host != "client" || x.Local == there && x.Host != "server" {
					t.Errorf("%v is at host %q", x.Local, x.Host)
				}
			}
			probes := of(events, Probe, here, there)
			if len(probes) == 0 {
				t.Fatal("the client was not probed")
			}
			for _, x := range probes {
				// IW10 (RFC 6928): the least there is without a loss.
				if p := x.Probe; p.SndCwnd < 10 || p.Ssthresh < 1<<31-1 || p.SRTT == 0 || p.SndNxt-p.SndUna > 20000 || x.Cookie != cookie {
					t.Errorf("probe %+v, cookie %d, want %d", *p, x.Cookie, cookie)
				}
			}
			if n := len(of(events, Retransmit, here, there)); n != 0 {
				t.Errorf("%d retransmissions", n)
			}
		})
	}
}

func TestEventsOfALoss(t *testing.T) {
	topology := routed(t, netns.Config{})
	if err := impair.Probe(); errors.Is(err, impair.ErrNoNetem) {
		testenv.Missing(t, "needs netem: "+err.Error())
	}
	e := needEvents(t, EventConfig{})
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	device := topology.ToServer.Device()
	if _, err := impair.Apply(device, impair.Netem{Loss: impair.RandomLoss{Percent: 100}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	// A tail loss probe, and two retransmissions by timeout.
	if _, err := AwaitSockets(testenv.Context(t), topology.Client(), SocketFilter{}, func(s []Socket) bool {
		return len(s) == 1 && s[0].TCPInfo.Total_retrans >= 3
	}); err != nil {
		t.Fatal(err)
	}
	if err := impair.Clear(device); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 10)); n != 4 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if _, err := AwaitSockets(testenv.Context(t), topology.Client(), SocketFilter{}, func(s []Socket) bool { return s[0].TCPInfo.Unacked == 0 }); err != nil {
		t.Fatal(err)
	}
	s := one(t, topology.Client(), client)
	events := stop(t, e)
	here, there := local(client), remote(client)
	sent := of(events, Retransmit, here, there)
	if len(sent) != int(s.TCPInfo.Total_retrans) || len(sent) < 4 {
		t.Errorf("%d retransmissions, TCP_INFO has %d", len(sent), s.TCPInfo.Total_retrans)
	}
	for _, x := range sent {
		if x.State != Established || x.Err != 0 {
			t.Errorf("retransmission %+v", x)
		}
	}
	// The segment and each retransmission but the last were dropped.
	var drops int
	for _, x := range events {
		if x.Kind == Drop && (x.Reason == "QDISC_DROP" || x.Reason == "NOT_SPECIFIED") {
			drops++
		}
	}
	if drops != len(sent) {
		t.Errorf("%d drops, %d retransmissions", drops, len(sent))
	}
}

func TestEventsOfResets(t *testing.T) {
	topology := routed(t, netns.Config{})
	e := needEvents(t, EventConfig{Kinds: []EventKind{ResetSent, ResetReceived, Drop, StateChange}})
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	here, there := local(client), remote(client)
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	closed := netip.AddrPortFrom(topology.Server().IPv4(), 4001)
	if _, err := tryDial(t.Context(), topology.Client(), net.TCPAddrFromAddrPort(closed), options{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	events := stop(t, e)
	if n := len(of(events, ResetSent, here, there)); n != 1 {
		t.Errorf("the client sent %d resets", n)
	}
	if n := len(of(events, ResetReceived, there, here)); n != 1 {
		t.Errorf("the server received %d resets", n)
	}
	refused := slices.IndexFunc(events, func(x Event) bool { return x.Kind == ResetReceived && x.Remote == closed })
	if refused < 0 || events[refused].Local.Addr() != here.Addr() {
		t.Fatalf("no refusal among %+v", events)
	}
	dropped := slices.IndexFunc(events, func(x Event) bool { return x.Kind == Drop && x.Reason == "NO_SOCKET" })
	if dropped < 0 || dropped > refused {
		t.Errorf("the SYN for which there is no socket is dropped as event %d, and the client is refused as event %d", dropped, refused)
	}
	if v, err := kernelversion.Running(); err != nil {
		t.Fatal(err)
	} else if sent := of(events, ResetSent, closed, events[refused].Local); v.AtLeast(6, 10) {
		if len(sent) != 1 || sent[0].Reason != "NO_SOCKET" || events[dropped].Local != closed {
			t.Errorf("resets %+v, drop %+v", sent, events[dropped])
		}
	}
	if got, want := statesOf(events, here, there), []State{SynSent, Established, Close}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
}

// The kernel prints what it recorded, too: the same events with the same values.
func TestEventsAreWhatTheKernelPrints(t *testing.T) {
	topology := routed(t, netns.Config{})
	e := needEvents(t, EventConfig{})
	client, server := pair(t, topology, topology.Server().IPv6(), options{}, options{})
	transfer(t, client, server, 50000)
	if err := client.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if err := e.write("tracing_on", "0"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(e.instance, "trace"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range e.buffers {
		if len(b.pages) > 0 {
			t.Errorf("%s was half full, and has been read before the kernel printed it", b.dir)
		}
	}
	events := stop(t, e)
	line := regexp.MustCompile(`^.*\] \S+ +(\d+)\.(\d{6}): (\w+): (.*)$`)
	values := regexp.MustCompile(`(\w+)(?:=|: )(\S+)`)
	var printed int
	for text := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(strings.TrimSpace(text))
		if m == nil {
			if !strings.HasPrefix(text, "#") {
				t.Errorf("line %q", text)
			}
			continue
		}
		if printed == len(events) {
			t.Fatalf("the kernel prints more than %d events", printed)
		}
		x := events[printed]
		printed++
		have := map[string]string{
			"sport": fmt.Sprint(x.Local.Port()), "dport": fmt.Sprint(x.Remote.Port()),
			"saddrv6": x.Local.Addr().String(), "daddrv6": x.Remote.Addr().String(),
			"src": x.Local.String(), "dest": x.Remote.String(),
			"reason": x.Reason,
		}
		for name, s := range map[string]State{"oldstate": x.Old, "newstate": x.New, "state": x.State} {
			text, _ := s.MarshalText()
			have[name] = string(text)
		}
		if p := x.Probe; p != nil {
			for name, v := range map[string]uint32{"data_len": uint32(p.DataLen), "snd_cwnd": p.SndCwnd, "ssthresh": p.Ssthresh, "snd_wnd": p.SndWnd, "srtt": p.SRTT, "rcv_wnd": p.RcvWnd} {
				have[name] = fmt.Sprint(v)
			}
			have["snd_nxt"], have["snd_una"] = fmt.Sprintf("%#x", p.SndNxt), fmt.Sprintf("%#x", p.SndUna)
			have["sock_cookie"] = fmt.Sprintf("%x", x.Cookie)
		}
		// These addresses are completed by relate.
		early := x.Kind == StateChange && (x.New == SynRecv || x.New == SynSent)
		if at := fmt.Sprintf("%d.%06d", x.At/time.Second, x.At%time.Second/time.Microsecond); at != m[1]+"."+m[2] && x.At%time.Microsecond < 500 {
			t.Errorf("at %s: %s", at, text)
		}
		if !strings.HasSuffix(string(x.Kind), "/"+m[3]) {
			t.Fatalf("%s: %s", x.Kind, text)
		}
		for _, v := range values.FindAllStringSubmatch(m[4], -1) {
			want, ok := have[v[1]]
			if early && (v[1] == "sport" || strings.HasPrefix(v[1], "d")) || x.State == 0 && v[1] == "state" || x.Probe != nil && v[1] == "mark" {
				continue
			}
			if ok && v[2] != want {
				t.Errorf("%s is %s: %s", v[1], want, text)
			}
		}
	}
	if printed != len(events) || printed < 20 {
		t.Errorf("the kernel prints %d events, %d are decoded", printed, len(events))
	}
}

func TestEventsAreWhatWasAskedFor(t *testing.T) {
	topology := routed(t, netns.Config{})
	changes := needEvents(t, EventConfig{Kinds: []EventKind{StateChange}})
	probes := needEvents(t, EventConfig{Kinds: []EventKind{Probe}, BufferKiB: 64})
	if changes.instance == probes.instance {
		t.Errorf("two recordings in %s", changes.instance)
	}
	client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
	transfer(t, client, server, 100)
	for _, tt := range []struct {
		e    *Events
		kind EventKind
	}{{changes, StateChange}, {probes, Probe}} {
		events := stop(t, tt.e)
		if len(events) == 0 {
			t.Errorf("no %s", tt.kind)
		}
		for _, x := range events {
			if x.Kind != tt.kind {
				t.Errorf("%s where %s was asked for", x.Kind, tt.kind)
			}
		}
	}
	if left := instancesNow(t, os.Getpid()); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// More than the buffer holds while it is read: nothing is lost. While it is not
// read: the loss is counted.
func TestEventsThatAreLost(t *testing.T) {
	topology := routed(t, netns.Config{})
	const (
		bytes     = 1 << 20 // 724 segments
		eventSize = 128     // at least, of a probe
	)
	for _, reading := range []bool{true, false} {
		t.Run(fmt.Sprintf("reading=%v", reading), func(t *testing.T) {
			stop(t, needEvents(t, EventConfig{}))
			c := EventConfig{Kinds: []EventKind{Probe}, BufferKiB: 64}
			if reading {
				c.BufferKiB = 512
			}
			e := &Events{config: c, wake: -1, stopped: make(chan struct{})}
			if err := e.start(); err != nil {
				t.Fatal(err)
			}
			if reading {
				go e.collect()
			}
			client, server := pair(t, topology, topology.Server().IPv4(), options{}, options{})
			for range 8 {
				transfer(t, client, server, bytes)
				// The reader, woken when half is used, gets the time to read.
				for reading && mostUnread(t, e) > 256<<10/eventSize {
					time.Sleep(time.Millisecond)
				}
			}
			if err := e.write("tracing_on", "0"); err != nil {
				t.Fatal(err)
			}
			// The kernel's numbers are not of one moment: while events are read, some
			// count twice.
			recorded := recordedSoFar(t, e)
			for again := recordedSoFar(t, e); again != recorded; again = recordedSoFar(t, e) {
				recorded = again
			}
			if !reading {
				go e.collect()
			}
			events, lost, err := e.Stop()
			if err != nil || (lost == 0) != reading {
				t.Errorf("%d events, %d lost, %v", len(events), lost, err)
			}
			if all := uint64(len(events)) + lost; all != recorded || recorded < 1000 {
				t.Errorf("%d events and %d lost, of %d that the kernel recorded", len(events), lost, recorded)
			}
			client.Close()
			server.Close()
		})
	}
}

// recordedSoFar is how many events there have been, by the kernel's account: those
// that are still in the buffers, those that were read, and those that were lost.
func recordedSoFar(t testing.TB, e *Events) uint64 {
	t.Helper()
	var sum uint64
	for _, b := range e.buffers {
		sum += account(t, b, "entries", "read events", "overrun", "commit overrun", "dropped events")
	}
	return sum
}

// mostUnread is how many events are in the buffer that has most.
func mostUnread(t testing.TB, e *Events) uint64 {
	t.Helper()
	var most uint64
	for _, b := range e.buffers {
		most = max(most, account(t, b, "entries"))
	}
	return most
}

// account sums up numbers of a CPU's statistics.
func account(t testing.TB, b *buffer, names ...string) uint64 {
	t.Helper()
	text, err := os.ReadFile(b.dir + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if slices.Contains(names, name) {
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// needPrepared makes the instance that recordings take, if there is none.
func needPrepared(t testing.TB) string {
	t.Helper()
	stop(t, needEvents(t, EventConfig{}))
	dir, err := tracefs()
	if err != nil {
		t.Fatal(err)
	}
	instance := filepath.Join(dir, "instances", PreparedInstance)
	if err := os.Mkdir(instance, 0o700); err == nil {
		t.Cleanup(func() {
			if err := os.Remove(instance); err != nil {
				t.Error(err)
			}
		})
	} else if !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return instance
}

func TestPreparedInstance(t *testing.T) {
	instance := needPrepared(t)
	first := needEvents(t, EventConfig{})
	if n := len(instancesNow(t, os.Getpid())); n != 0 {
		t.Errorf("%d instances were made beside the one that is there", n)
	}
	second := needEvents(t, EventConfig{Kinds: []EventKind{StateChange}})
	if n := len(instancesNow(t, os.Getpid())); n != 1 {
		t.Errorf("%d instances were made while the one that is there was in use", n)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if len(stop(t, first)) == 0 || len(stop(t, second)) == 0 {
		t.Error("no change of state was recorded of a socket that listens")
	}
	for _, kind := range EventKinds() {
		if text, err := os.ReadFile(filepath.Join(instance, "events", string(kind), "enable")); err == nil && string(text) != "0\n" {
			t.Errorf("%s is left at %q", kind, text)
		}
	}
	// What a killed process has left there is not the next one's.
	for file, value := range map[string]string{"events/" + string(StateChange) + "/enable": "1", "tracing_on": "1"} {
		if err := os.WriteFile(filepath.Join(instance, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	another, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	another.Close()
	port := another.Addr().(*net.TCPAddr).Port
	third := needEvents(t, EventConfig{})
	for _, event := range stop(t, third) {
		if int(event.Local.Port()) == port {
			t.Errorf("an event of before the recording: %+v", event)
		}
	}
}

func TestStaleInstanceIsRemoved(t *testing.T) {
	stop(t, needEvents(t, EventConfig{}))
	file, err := os.Open(needPrepared(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil { // so that each recording makes one
		t.Fatal(err)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"=record")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	wait, err := subprocess.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid := cmd.Process.Pid
	if n := len(instancesNow(t, pid)); line != "ready\n" || n != 1 {
		t.Errorf("child says %q, and has %d instances", line, n)
	}
	stop(t, needEvents(t, EventConfig{}))
	if n := len(instancesNow(t, pid)); n != 1 {
		t.Errorf("a process that records has %d instances left, after another one started", n)
	}
	cmd.Process.Kill()
	if err := wait(); err == nil {
		t.Error("a process that was killed ended well")
	}
	if n := len(instancesNow(t, pid)); n != 1 {
		t.Errorf("a killed process leaves %d instances: this test tests nothing", n)
	}
	stop(t, needEvents(t, EventConfig{}))
	if n := len(instancesNow(t, pid)); n != 0 {
		t.Errorf("%d instances of a killed process", n)
	}
}

func TestStartEventsErrors(t *testing.T) {
	for _, tt := range []struct {
		c    EventConfig
		want string
	}{
		{EventConfig{BufferKiB: 63}, "buffer of 63 KiB: want 64 to 1048576"},
		{EventConfig{BufferKiB: -1}, "buffer of -1 KiB"},
		{EventConfig{Kinds: []EventKind{"tcp/nothing"}}, `unknown event "tcp/nothing"`},
	} {
		if _, err := StartEvents(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
		}
	}
	// Where it does not work, it says so in a way that a caller can tell.
	e, err := StartEvents(EventConfig{})
	if err == nil {
		stop(t, e)
		return
	}
	var events *MissingEventsError
	if !errors.Is(err, ErrNoTracefs) && !errors.Is(err, fs.ErrPermission) && !errors.As(err, &events) {
		t.Errorf("error %v", err)
	}
	t.Log(err)
}

func TestEventJSON(t *testing.T) {
	events := decodeAll(t, recorded(t, "6.12"))
	for _, x := range events {
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s became %s", text, again)
		}
	}
	text, err := json.Marshal(events[2])
	want := `{"at_ns":3221413117,"kind":"sock/inet_sock_set_state","local":"[fd00:1::1]:38002","remote":"[fd00:2::2]:4000","oldstate":"TCP_CLOSE","newstate":"TCP_SYN_SENT"}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

// With TCP_LINGER2 below 0 a reset follows the end of FIN-WAIT-2, and there is no TIME-WAIT. A reset for what comes later, to
// a connection that is over, says nothing of it.
func TestStatesOfAnEndInFinWait2(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.0.1.1:40000"), netip.MustParseAddrPort("10.0.2.2:80")
	for _, c := range []struct {
		reset time.Duration // after the end
		last  State
	}{{4 * time.Microsecond, Close}, {time.Second, TimeWait}} {
		events := []Event{
			{At: 1, Kind: StateChange, Local: local, Remote: remote, Old: FinWait1, New: FinWait2},
			{At: 2, Kind: StateChange, Local: local, Remote: remote, Old: FinWait2, New: Close},
			{At: 2 + c.reset, Kind: ResetSent, Local: local, Remote: remote},
		}
		if got, want := statesOf(events, local, remote), []State{FinWait2, c.last}; !slices.Equal(got, want) {
			t.Errorf("reset after %v: %v, expected %v", c.reset, got, want)
		}
	}
}

func ExamplePathOf() {
	local, remote := netip.MustParseAddrPort("10.0.1.1:40000"), netip.MustParseAddrPort("10.0.2.2:80")
	events := []Event{ // as Events.Stop returns them
		{At: 1, Kind: StateChange, Local: local, Remote: remote, Old: Close, New: SynSent},
		{At: 2, Kind: StateChange, Local: local, Remote: remote, Old: SynSent, New: Established},
		{At: 3, Kind: ResetReceived, Local: local, Remote: remote},
		{At: 4, Kind: StateChange, Local: local, Remote: remote, Old: Established, New: Close},
	}
	path := PathOf(events, local, remote)
	fmt.Println(path.States, len(path.Events))
	// Output: [SYN-SENT ESTAB UNCONN] 4
}
