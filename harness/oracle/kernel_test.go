package oracle_test

import (
	"bufio"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/kernelversion"
	. "github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// wakeUp is what a program may take to see what has happened: it runs on a machine that has little else to do.
const wakeUp = 5 * time.Millisecond

// A world is two hosts, and the oracle of the client's kernel.
type world struct {
	*netns.Topology
	g      *WithT
	client Kernel
}

// newWorld builds the hosts in a guest, whose time costs nothing. Elsewhere the test is skipped.
func newWorld(t *testing.T, sysctls ...string) world {
	t.Helper()
	testenv.InGuest(t, "takes minutes of the kernel's time")
	g := NewWithT(t)
	var config netns.Config
	for _, s := range sysctls {
		key, value, _ := strings.Cut(s, "=")
		config.Sysctls = append(config.Sysctls, netns.Setting{Key: "net.ipv4." + key, Value: value})
	}
	topology, err := netns.Direct(config)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(topology.Close()).To(Succeed()) })

	version, err := kernelversion.Running()
	g.Expect(err).NotTo(HaveOccurred())
	hz, err := RunningHZ()
	g.Expect(err).NotTo(HaveOccurred())
	k, err := Read(topology.Client(), version, hz)
	g.Expect(err).NotTo(HaveOccurred())
	return world{Topology: topology, g: g, client: k}
}

// socket makes a TCP socket in a host, with options of level IPPROTO_TCP.
func (w world) socket(host *netns.Host, options map[int]int) int {
	var fd int
	w.g.Expect(host.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})).To(Succeed())
	for option, value := range options {
		w.g.Expect(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value)).To(Succeed())
	}
	return fd
}

func address(ip netip.Addr, port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: ip.As4(), Port: port}
}

// connected returns both ends of a connection.
func (w world) connected(options map[int]int) (client, server int) {
	listener := w.socket(w.Server(), nil)
	defer unix.Close(listener)
	w.g.Expect(unix.Bind(listener, address(w.Server().IPv4(), 80))).To(Succeed())
	w.g.Expect(unix.Listen(listener, 1)).To(Succeed())
	client = w.socket(w.Client(), options)
	w.g.Expect(unix.Connect(client, address(w.Server().IPv4(), 80))).To(Succeed())
	server, _, err := unix.Accept(listener)
	w.g.Expect(err).NotTo(HaveOccurred())
	return client, server
}

// hush makes a host deaf: it no longer has the address that segments are sent to.
func (w world) hush(host *netns.Host) {
	handle := host.Netlink()
	link, err := handle.LinkByName(host.Ends()[0].Name())
	w.g.Expect(err).NotTo(HaveOccurred())
	addresses, err := handle.AddrList(link, unix.AF_INET)
	w.g.Expect(err).NotTo(HaveOccurred())
	for i := range addresses {
		w.g.Expect(handle.AddrDel(link, &addresses[i])).To(Succeed())
	}
}

// timesOut waits for the socket's end and returns when that was.
func (w world) timesOut(fd int) time.Duration {
	begun := time.Now()
	_, err := unix.Read(fd, make([]byte, 1))
	w.g.Expect(err).To(MatchError(unix.ETIMEDOUT))
	return time.Since(begun)
}

// flow is what TCP_INFO says of a connection.
func (w world) flow(fd int) Flow {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	w.g.Expect(err).NotTo(HaveOccurred())
	return Flow{
		RTT: Exactly(time.Duration(info.Rtt) * time.Microsecond),
		RTO: time.Duration(info.Rto) * time.Microsecond,
	}
}

// count is a counter of a host.
func (w world) count(host *netns.Host, name string) int {
	counters, err := kernel.ReadCounters(host)
	w.g.Expect(err).NotTo(HaveOccurred())
	value, err := counters.Get(name)
	w.g.Expect(err).NotTo(HaveOccurred())
	return int(value)
}

// states counts a host's sockets by state, as /proc/net/tcp numbers them.
func (w world) states(host *netns.Host) map[int]int {
	found := map[int]int{}
	w.g.Expect(host.Do(func() error {
		file, err := os.Open("/proc/thread-self/net/tcp")
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[0] != "sl" {
				state, err := strconv.ParseInt(fields[3], 16, 0)
				if err != nil {
					return err
				}
				found[int(state)]++
			}
		}
		return lines.Err()
	})).To(Succeed())
	return found
}

// poll is how often a state is looked at, and so how late its end can be seen.
const poll = 20 * time.Millisecond

// lasts returns how long a host has a socket in a state.
func (w world) lasts(host *netns.Host, state int) time.Duration {
	begun := time.Now()
	for w.states(host)[state] > 0 {
		time.Sleep(poll)
	}
	return time.Since(begun)
}

func TestKernelConnect(t *testing.T) {
	for _, c := range []struct {
		name string
		ConnectOptions
		sysctls []string
	}{
		{name: "default"},
		{name: "one", ConnectOptions: ConnectOptions{SYNCount: 1}},
		{name: "two", ConnectOptions: ConnectOptions{SYNCount: 2}},
		{name: "three", ConnectOptions: ConnectOptions{SYNCount: 3}},
		{name: "user time-out", ConnectOptions: ConnectOptions{UserTimeout: 2500 * time.Millisecond}},
		{name: "short time-out", ConnectOptions: ConnectOptions{UserTimeout: 500 * time.Millisecond}},
		{name: "sysctl", sysctls: []string{"tcp_syn_retries=4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.sysctls...)
			w.hush(w.Server())
			options := map[int]int{}
			if c.SYNCount != 0 {
				options[unix.TCP_SYNCNT] = c.SYNCount
			}
			if c.UserTimeout != 0 {
				options[unix.TCP_USER_TIMEOUT] = int(c.UserTimeout.Milliseconds())
			}
			fd := w.socket(w.Client(), options)
			defer unix.Close(fd)
			begun := time.Now()
			err := unix.Connect(fd, address(w.Server().Ends()[0].IPv4().Addr(), 80))
			took := time.Since(begun)

			expected := w.client.Connect(c.ConnectOptions)
			w.g.Expect(errors.Is(err, unix.ETIMEDOUT)).To(BeTrue(), "%v", err)
			w.g.Expect(took).To(expected.End.LateBy(wakeUp))
			w.g.Expect(w.count(w.Client(), "TcpExtTCPSynRetrans")).To(And(BeNumerically(">=", expected.Fewest), BeNumerically("<=", expected.Most)))
			least, most := Timeouts(expected)
			w.g.Expect(w.count(w.Client(), "TcpExtTCPTimeouts")).To(And(BeNumerically(">=", least), BeNumerically("<=", most)))
			t.Logf("%v; expected %v, %d to %d SYNs again", took, expected.End, expected.Fewest, expected.Most)
		})
	}
}

func TestKernelBlackhole(t *testing.T) {
	for _, c := range []struct {
		name    string
		user    time.Duration
		sysctls []string
	}{
		{name: "default"},
		{name: "retries2 3", sysctls: []string{"tcp_retries2=3"}},
		{name: "retries2 8", sysctls: []string{"tcp_retries2=8"}},
		{name: "no probe", sysctls: []string{"tcp_retries2=5", "tcp_early_retrans=0"}},
		{name: "thin", sysctls: []string{"tcp_retries2=5", "tcp_thin_linear_timeouts=1"}},
		{name: "user time-out 1s", user: time.Second},
		{name: "user time-out 5s", user: 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.sysctls...)
			client, server := w.connected(nil)
			defer unix.Close(client)
			defer unix.Close(server)
			if c.user != 0 {
				w.g.Expect(unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(c.user.Milliseconds()))).To(Succeed())
			}
			flow := w.flow(client)
			flow.UserTimeout = c.user
			w.hush(w.Server())
			_, err := unix.Write(client, []byte("x"))
			w.g.Expect(err).NotTo(HaveOccurred())
			took := w.timesOut(client)

			expected := w.client.Blackhole(flow)
			w.g.Expect(took).To(expected.End.LateBy(wakeUp))
			w.g.Expect(w.count(w.Client(), "TcpRetransSegs")).To(And(BeNumerically(">=", expected.Fewest), BeNumerically("<=", expected.Most)))
			w.g.Expect(w.count(w.Client(), "TcpExtTCPLossProbes")).To(Equal(expected.Probes))
			least, most := Timeouts(expected)
			w.g.Expect(w.count(w.Client(), "TcpExtTCPTimeouts")).To(And(BeNumerically(">=", least), BeNumerically("<=", most)))
			t.Logf("%v; expected %v, %d to %d again; RTO %v", took, expected.End, expected.Fewest, expected.Most, flow.RTO)
		})
	}
}

func TestKernelOrphan(t *testing.T) {
	for _, retries := range []string{"0", "3"} {
		t.Run(retries, func(t *testing.T) {
			w := newWorld(t, "tcp_orphan_retries="+retries)
			client, server := w.connected(nil)
			defer unix.Close(server)
			flow := w.flow(client)
			flow.Orphan = true
			w.hush(w.Server())
			begun := time.Now()
			unix.Close(client)
			const finWait1 = 4
			w.g.Expect(w.states(w.Client())[finWait1]).To(Equal(1))
			w.lasts(w.Client(), finWait1)
			took := time.Since(begun)

			expected := w.client.Blackhole(flow)
			w.g.Expect(took).To(expected.End.LateBy(2 * poll))
			w.g.Expect(w.count(w.Client(), "TcpRetransSegs")).To(And(BeNumerically(">=", expected.Fewest), BeNumerically("<=", expected.Most)))
			w.g.Expect(w.count(w.Client(), "TcpExtTCPAbortOnTimeout")).To(Equal(1))
			t.Logf("%v; expected %v", took, expected.End)
		})
	}
}

func TestKernelKeepalive(t *testing.T) {
	for _, c := range []struct {
		name    string
		keeping KeepaliveOptions
	}{
		{"three probes", KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 3}},
		{"user time-out", KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 9, UserTimeout: 5500 * time.Millisecond}},
		{"user time-out on a tick", KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 9, UserTimeout: 5 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, keeping := newWorld(t), c.keeping
			client, server := w.connected(map[int]int{
				unix.TCP_KEEPIDLE: int(keeping.Time.Seconds()), unix.TCP_KEEPINTVL: int(keeping.Interval.Seconds()),
				unix.TCP_KEEPCNT: keeping.Probes, unix.TCP_USER_TIMEOUT: int(keeping.UserTimeout.Milliseconds()),
			})
			defer unix.Close(client)
			defer unix.Close(server)
			w.hush(w.Server())
			w.g.Expect(unix.SetsockoptInt(client, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)).To(Succeed())
			took := w.timesOut(client)

			expected := w.client.Keepalive(keeping)
			w.g.Expect(took).To(expected.End.LateBy(wakeUp))
			w.g.Expect(w.count(w.Client(), "TcpExtTCPKeepAlive")).To(And(BeNumerically(">=", expected.Fewest), BeNumerically("<=", expected.Most)))
			t.Logf("%v; expected %v", took, expected.End)
		})
	}
}

func TestKernelFINWait2(t *testing.T) {
	for _, timeout := range []string{"3", "60", "90", "120"} {
		t.Run(timeout, func(t *testing.T) {
			w := newWorld(t, "tcp_fin_timeout="+timeout)
			client, server := w.connected(nil)
			defer unix.Close(server) // it never does, while it matters
			flow := w.flow(client)
			unix.Close(client)
			const finWait2 = 5
			w.g.Eventually(func() int { return w.states(w.Client())[finWait2] }, testenv.Patience).Should(Equal(1)) // once the FIN is acknowledged
			took := w.lasts(w.Client(), finWait2)

			expected, _ := w.client.FINWait2(flow.RTO, 0)
			w.g.Expect(took).To(And(
				BeNumerically(">=", expected.Earliest-poll), BeNumerically("<=", expected.Latest+2*poll)))
			t.Logf("%v; expected %v", took, expected)
		})
	}
}

func TestKernelTimeWait(t *testing.T) {
	w := newWorld(t, "tcp_fin_timeout=3")
	client, server := w.connected(nil)
	unix.Close(client)
	unix.Close(server)
	const timeWait = 6
	w.g.Eventually(func() int { return w.states(w.Client())[timeWait] }, testenv.Patience).Should(Equal(1))
	took := w.lasts(w.Client(), timeWait)
	expected := w.client.TimeWait()
	w.g.Expect(took).To(And(BeNumerically(">=", expected.Earliest-poll), BeNumerically("<=", expected.Latest+2*poll)))
	t.Logf("%v; expected %v", took, expected)
}

func TestKernelAcceptQueue(t *testing.T) {
	w := newWorld(t)
	listener := w.socket(w.Server(), nil)
	defer unix.Close(listener)
	w.g.Expect(unix.Bind(listener, address(w.Server().IPv4(), 80))).To(Succeed())
	w.g.Expect(unix.Listen(listener, 3)).To(Succeed())
	established := 0
	for range 8 {
		fd := w.socket(w.Client(), map[int]int{unix.TCP_SYNCNT: 1})
		defer unix.Close(fd)
		if err := unix.Connect(fd, address(w.Server().IPv4(), 80)); err == nil {
			established++
		}
	}
	w.g.Expect(established).To(Equal(w.client.AcceptQueue(3)))
}

// What was set is what is there, and a kernel that does not have a sysctl does not say a value of it.
func TestGet(t *testing.T) {
	old, err := kernelversion.Parse("6.1.0")
	if err != nil {
		t.Fatal(err)
	}
	k := Defaults(old)
	for key, want := range map[string]string{
		"net.ipv4.tcp_retries2": "15", "net.ipv4.ip_local_port_range": "32768 60999", "net.ipv4.tcp_rto_max_ms": "", "net.ipv4.nonsense": "",
	} {
		if got, ok := k.Get(key); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %v, want %q", key, got, ok, want)
		}
	}
	if err := k.Set("net.ipv4.ip_local_port_range", "1024 2000"); err != nil {
		t.Fatal(err)
	}
	if got, _ := k.Get("net.ipv4.ip_local_port_range"); got != "1024 2000" {
		t.Error(got)
	}
}
