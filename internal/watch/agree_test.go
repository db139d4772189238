package watch

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// host is a network namespace of its own, in which nothing moves but what the test does.
func host(t testing.TB) *netns.Host {
	t.Helper()
	h, err := netns.NewHost("host")
	if errors.Is(err, netns.ErrNotPermitted) || errors.Is(err, netns.ErrNotSupported) {
		testenv.Missing(t, "needs root and network namespaces: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// A scene makes sockets in a host.
type scene struct {
	t    testing.TB
	host *netns.Host
}

func (s scene) do(f func() error) {
	s.t.Helper()
	if err := s.host.Do(f); err != nil {
		s.t.Fatal(err)
	}
}

// listen makes a listener with room for so many connections, and one more.
func (s scene) listen(address string, backlog int) netip.AddrPort {
	s.t.Helper()
	var bound netip.AddrPort
	s.do(func() error {
		to := netip.MustParseAddrPort(address)
		family := unix.AF_INET
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { unix.Close(fd) })
		err = errors.Join(unix.Bind(fd, sockaddr(to)), unix.Listen(fd, backlog))
		if err != nil {
			return err
		}
		bound = to
		return nil
	})
	return bound
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func (s scene) dial(to netip.AddrPort) *net.TCPConn {
	s.t.Helper()
	var c net.Conn
	s.do(func() (err error) {
		d := net.Dialer{KeepAlive: -1}
		d.SetMultipathTCP(false)
		c, err = d.DialContext(s.t.Context(), "tcp", to.String())
		return err
	})
	s.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// pair is a connection over the loopback interface.
func (s scene) pair(address string) (client, server *net.TCPConn) {
	s.t.Helper()
	var l net.Listener
	s.do(func() (err error) {
		c := net.ListenConfig{KeepAlive: -1}
		c.SetMultipathTCP(false)
		l, err = c.Listen(s.t.Context(), "tcp", address)
		return err
	})
	defer l.Close()
	client = s.dial(l.Addr().(*net.TCPAddr).AddrPort())
	accepted, err := l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { accepted.Close() })
	return client, accepted.(*net.TCPConn)
}

// connect begins a connection that nobody answers.
func (s scene) connect(to netip.AddrPort) {
	s.t.Helper()
	s.do(func() error {
		family := unix.AF_INET
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
}

// everything makes sockets in as many states as there are at rest, in both families, with something in their queues.
func (s scene) everything() {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	for _, loopback := range []string{"127.0.0.1", "[::1]"} {
		s.listen(loopback+":4000", 5)
		full := s.listen(loopback+":4001", 0)
		for range 3 { // one is in its queue; the SYNs of the others are dropped
			s.connect(full)
		}
		client, server := s.pair(loopback + ":0")
		_, err := client.Write(make([]byte, 12345)) // which is not read
		must(err)
		forgotten, _ := s.pair(loopback + ":0")
		must(forgotten.CloseWrite())
		orphan, _ := s.pair(loopback + ":0")
		must(orphan.Close())
		ended, other := s.pair(loopback + ":0")
		must(errors.Join(ended.CloseWrite(), other.CloseWrite()))
		_, _ = ended.Read(make([]byte, 1))
		must(errors.Join(ended.Close(), other.Close()))
		stuck, _ := s.pair(loopback + ":0")
		must(stuck.SetWriteBuffer(100_000))
		must(fill(stuck))
		_ = server
	}
	s.listen("[::]:4002", 7)
	s.listen("0.0.0.0:4003", 9)
}

// fill writes what nobody reads, until the peer has closed its window, however long this machine takes.
func fill(connection *net.TCPConn) error {
	raw, err := connection.SyscallConn()
	if err != nil {
		return err
	}
	for block := make([]byte, 1<<20); ; time.Sleep(10 * time.Millisecond) {
		var wrong error
		var info *tcpinfo.Info
		err := raw.Control(func(fd uintptr) {
			for wrong == nil {
				_, wrong = unix.Write(int(fd), block)
			}
			if errors.Is(wrong, unix.EAGAIN) {
				info, wrong = tcpinfo.Get(int(fd))
			}
		})
		if err = errors.Join(err, wrong); err != nil || info.Snd_wnd == 0 && info.Notsent_bytes > 0 {
			return err
		}
	}
}

// seen is what a tool says of a socket.
type seen struct {
	state          string
	local, remote  string
	received, sent uint64 // queues
}

// command runs a program in the host.
func (s scene) command(name string, args ...string) string {
	s.t.Helper()
	return s.run(exec.Command(name, args...), "LC_ALL=C")
}

// run runs a command in the host, with variables of its environment set, and returns what it prints.
func (s scene) run(cmd *exec.Cmd, variables ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, append(os.Environ(), variables...)
	wait, err := s.host.Start(cmd)
	if err == nil {
		err = wait()
	}
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", cmd, err, out.Bytes())
	}
	return out.String()
}

// address is one way to write the addresses of all tools: "127.0.0.1:4000", "[::1]:4000", "*:4002".
func address(s string) string {
	colon := strings.LastIndexByte(s, ':')
	host, port := strings.Trim(s[:colon], "[]"), s[colon+1:]
	if port == "*" {
		port = "0"
	}
	if host == "*" || host == "0.0.0.0" || host == "::" {
		return "*:" + port
	}
	return netip.MustParseAddr(host).Unmap().String() + " port " + port
}

func count(list []seen) map[seen]int {
	counts := map[seen]int{}
	for _, s := range list {
		counts[s]++
	}
	return counts
}

// ofReading is what a reading says, of connections and listeners.
func ofReading(r *Reading) (list []seen) {
	for _, c := range r.Connections {
		list = append(list, seen{c.State.String(), address(c.Local.String()), address(c.Remote.String()), uint64(c.ReceiveQueue), uint64(c.SendQueue)})
	}
	for _, l := range r.Listeners {
		list = append(list, seen{"LISTEN", address(l.Local.String()), "*:0", uint64(l.Waiting), uint64(l.Backlog)})
	}
	return list
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAgreesWithSSAndNetstat compares readings with what other programs say of the same sockets: in a namespace where nothing moves, a
// reading before them and one after are the same.
func TestAgreesWithSSAndNetstat(t *testing.T) {
	s := scene{t, host(t)}
	testenv.Program(t, "ss", "to compare with")
	s.everything()
	time.Sleep(300 * time.Millisecond) // ACKs that were delayed are sent

	read := func() (r *Reading) {
		s.do(func() error {
			w, err := New(nil, Options{})
			if err != nil {
				return err
			}
			defer w.Close()
			r, err = w.Read(Query{Order: Addresses, Listed: 1000})
			return err
		})
		return r
	}
	for _, tt := range []struct {
		name string
		ask  func(t *testing.T) []seen
	}{
		{"ss", func(t *testing.T) (list []seen) {
			for line := range strings.Lines(s.command("ss", "-Htan")) {
				f := strings.Fields(line)
				list = append(list, seen{f[0], address(f[3]), address(f[4]), number(t, f[1]), number(t, f[2])})
			}
			return list
		}},
		{"netstat", func(t *testing.T) (list []seen) {
			testenv.Program(t, "netstat", "to compare with")
			names := map[string]string{"ESTABLISHED": "ESTAB", "FIN_WAIT1": "FIN-WAIT-1", "FIN_WAIT2": "FIN-WAIT-2"}
			for line := range strings.Lines(s.command("netstat", "-tanW")) {
				f := strings.Fields(line)
				if !strings.HasPrefix(f[0], "tcp") {
					continue
				}
				state := strings.ReplaceAll(f[5], "_", "-")
				if name, other := names[f[5]]; other {
					state = name
				}
				list = append(list, seen{state, address(f[3]), address(f[4]), number(t, f[1]), number(t, f[2])})
			}
			return list
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			var ours, after, theirs []seen
			for try := 0; ; try++ { // a retransmit can come in between: then once more
				before := read()
				theirs = tt.ask(t)
				ours, after = ofReading(before), ofReading(read())
				if try == 9 || maps.Equal(count(ours), count(after)) {
					break
				}
			}
			if tt.name == "netstat" { // /proc/net/tcp has no backlog
				for i := range ours {
					if ours[i].state == "LISTEN" {
						ours[i].sent = 0
					}
				}
			}
			g.Expect(count(theirs)).To(Equal(count(ours)))
			states := map[string]int{}
			for _, x := range theirs {
				states[x.state]++
			}
			t.Log(states)
			g.Expect(slices.Sorted(maps.Keys(states))).To(Equal([]string{"CLOSE-WAIT", "ESTAB", "FIN-WAIT-2", "LISTEN", "SYN-SENT", "TIME-WAIT"}))
			for _, state := range read().States {
				g.Expect(states[state.State.String()]).To(Equal(state.Count), "%v", state.State)
			}
		})
	}
	t.Run("ss: TCP_INFO, inode, cookie and timers", func(t *testing.T) { compareDetails(t, s, read()) })
}

// compareDetails compares what ss prints beside the queues, for each socket by its cookie.
func compareDetails(t *testing.T, s scene, r *Reading) {
	g := NewWithT(t)
	lines := map[string]string{}
	for line := range strings.Lines(s.command("ss", "-Htanieo", "-O")) {
		if _, after, found := strings.Cut(line, " sk:"); found {
			cookie, _, _ := strings.Cut(after, " ")
			lines[cookie] = line
		}
	}
	of := func(line, name string) string { // "" if it is not there
		for word := range strings.FieldsSeq(line) {
			if value, found := strings.CutPrefix(word, name+":"); found {
				return value
			}
		}
		return ""
	}
	compared := 0
	for _, c := range r.Connections {
		line := lines[fmt.Sprintf("%x", c.Cookie)]
		if line == "" || c.State == kernel.SynSent { // whose retransmits move its figures
			continue
		}
		compared++
		g.Expect(of(line, "cwnd")).To(BeElementOf(fmt.Sprint(c.Cwnd), ""), line)
		g.Expect(of(line, "ino")).To(BeElementOf(fmt.Sprint(c.Inode), ""), line)
		rtt, _, _ := strings.Cut(of(line, "rtt"), "/")
		if rtt != "" {
			ms, err := strconv.ParseFloat(rtt, 64)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.RTT.Seconds()*1000).To(BeNumerically("~", ms, ms/100+.001), line)
		}
		if c.Cwnd > 0 {
			g.Expect(rtt).NotTo(BeEmpty(), line)
		}
		_, total, _ := strings.Cut(of(line, "retrans"), "/")
		if c.State != kernel.SynSent && total != "" {
			g.Expect(total).To(Equal(fmt.Sprint(c.Retransmits)), line)
		}
	}
	g.Expect(compared).To(BeNumerically(">=", 10))
}

// TestReadsFullQueuesAndClosedWindows: what is wrong in such a namespace is named, with its owner: this process.
func TestReadsFullQueuesAndClosedWindows(t *testing.T) {
	g := NewWithT(t)
	s := scene{t, host(t)}
	s.everything()
	var r *Reading
	var dropped []Moved // in a reading, if listeners dropped something then
	s.do(func() error {
		w, err := New(nil, Options{Long: time.Nanosecond})
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := w.Read(Query{}); err != nil { // what was before the first reading is not recent
			return err
		}
		// Until the SYNs of either family were retransmitted, all of them, and dropped, and owners were found: a search ends in time.
		for dropping, backedOff := 0, 0; dropping < 2 || backedOff < 4 || r.Searching; {
			time.Sleep(200 * time.Millisecond)
			if r, err = w.Read(Query{Most: 100}); err != nil {
				return err
			}
			dropping, backedOff = 0, 0
			if slices.ContainsFunc(r.Moved, func(m Moved) bool { return m.Name == "TcpExtListenDrops" && m.By > 0 }) {
				dropped = r.Moved
			}
			for _, l := range r.Listeners {
				dropping += min(1, int(l.RecentDrops))
			}
			for _, c := range r.Sickest {
				if slices.ContainsFunc(c.Troubles, func(t Trouble) bool { return t.Kind == BackedOff && c.State == kernel.SynSent }) {
					backedOff++
				}
			}
		}
		return nil
	})
	kinds := map[string]int{}
	for _, c := range r.Sickest {
		for _, trouble := range c.Troubles {
			kinds[c.State.String()+" "+string(trouble.Kind)]++
		}
		if c.Inode != 0 {
			g.Expect(c.Owner).To(HaveField("PID", os.Getpid()), "%+v", c)
		}
	}
	g.Expect(kinds).To(And(HaveKeyWithValue("SYN-SENT backed-off", 4), HaveKeyWithValue("ESTAB zero-window", 2), HaveKeyWithValue("CLOSE-WAIT close-wait", 4),
		HaveKeyWithValue("FIN-WAIT-2 fin-wait", 4), HaveKeyWithValue("ESTAB unread", 4)))
	g.Expect(slices.IsSortedFunc(r.Sickest, func(a, b Connection) int { return Sick.less(&a, &b) })).To(BeTrue())
	g.Expect(r.Sickest[0].State).To(Equal(kernel.SynSent))
	full := 0
	for _, l := range r.Listeners {
		if l.Local.Port() == 4001 {
			full++
			g.Expect(l.Troubles).To(ConsistOf(HaveField("Kind", BacklogFull), HaveField("Kind", Drops)), "%+v", l)
			g.Expect(l.Drops-l.RecentDrops).To(BeNumerically(">=", 2), "two SYNs, at first")
		} else {
			g.Expect(l.Troubles).To(BeEmpty(), "%+v", l)
		}
	}
	g.Expect(full).To(Equal(2))
	g.Expect(dropped).NotTo(BeEmpty())
	g.Expect(dropped[0].Meaning).NotTo(BeEmpty())

	// And nothing is wrong with what is named.
	var text bytes.Buffer
	g.Expect(r.Text(&text)).To(Succeed())
	g.Expect(text.String()).To(MatchRegexp(`(?m)^\d\d:\d\d:\d\d sick     SYN-SENT .*! SYN is not answered: retransmitted (once|\d times), RTO `))
	g.Expect(text.String()).To(MatchRegexp(`listen   127.0.0.1:4001  1 of 0 wait, 0 half open, \d+ dropped  .*! backlog full`))
}

// TestNamespaceOfAnotherProcess: a process's sockets are read in its own namespace.
func TestNamespaceOfAnotherProcess(t *testing.T) {
	g := NewWithT(t)
	s := scene{t, host(t)}
	pid := s.having(1)
	n, err := OpenNamespace(strconv.Itoa(pid))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).NotTo(BeNil())
	defer n.Close()
	g.Expect(n.String()).To(Equal(fmt.Sprintf("process %d's network namespace", pid)))
	w, err := New(n, Options{})
	g.Expect(err).NotTo(HaveOccurred())
	defer w.Close()
	r, err := w.Read(Query{})
	for err == nil && r.Searching { // a search ends in time
		r, err = w.Read(Query{})
	}
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Sockets).To(Equal(3))
	g.Expect(r.Listeners).To(ConsistOf(HaveField("Owner.PID", pid)))
	for filter, want := range map[Filter][]int{{PID: pid}: {3, 0}, {PID: os.Getpid()}: {0, 3}} {
		r, err = w.Read(Query{Filter: filter})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([]int{r.Sockets, r.Others}).To(Equal(want))
	}
}
