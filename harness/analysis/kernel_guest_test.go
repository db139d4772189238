//go:build linux

package analysis_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// tracepoints are those that say something about retransmissions, and how their text
// gives the addresses.
var tracepoints = map[string]analysis.KernelEventKind{
	"tcp_retransmit_skb": analysis.KernelRetransmit,
	"tcp_probe":          analysis.KernelReceive,
	"tcp_cong_state_set": analysis.KernelCongestionState,
}

// startTrace records them in an instance of its own, as text. stop returns the events.
func startTrace(t *testing.T) (stop func() []analysis.KernelEvent) {
	t.Helper()
	const root = "/sys/kernel/tracing"
	instance := filepath.Join(root, "instances", fmt.Sprintf("analysis-%d", os.Getpid()))
	if err := os.Mkdir(instance, 0o700); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		testenv.Missing(t, "needs tracefs and root: "+err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Rmdir(instance); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(root + "/events/tcp/tcp_cong_state_set"); err != nil {
		testenv.Missing(t, "needs Linux 5.19: "+err.Error())
	}
	set := func(file, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(instance, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	set("trace_clock", "mono")
	set("buffer_size_kb", "8192")
	for name := range tracepoints {
		set("events/tcp/"+name+"/enable", "1")
	}
	return func() []analysis.KernelEvent {
		t.Helper()
		set("tracing_on", "0")
		for name := range tracepoints {
			set("events/tcp/"+name+"/enable", "0")
		}
		text, err := os.Open(filepath.Join(instance, "trace"))
		if err != nil {
			t.Fatal(err)
		}
		defer text.Close()
		return parseTrace(t, text, wallOffset(t))
	}
}

// wallOffset is CLOCK_REALTIME less CLOCK_MONOTONIC.
func wallOffset(t *testing.T) time.Duration {
	t.Helper()
	var wall, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &wall), unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)); err != nil {
		t.Fatal(err)
	}
	return time.Duration(wall.Nano() - mono.Nano())
}

var (
	traceLine  = regexp.MustCompile(`^.*\] \S+ +(\d+)\.(\d{6}): (\w+): (.*)$`)
	traceValue = regexp.MustCompile(`(\w+)=(\S+)`)
)

func parseTrace(t *testing.T, r io.Reader, offset time.Duration) (events []analysis.KernelEvent) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := traceLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		s, _ := strconv.ParseInt(m[1], 10, 64)
		us, _ := strconv.ParseInt(m[2], 10, 64)
		v := make(map[string]string)
		for _, x := range traceValue.FindAllStringSubmatch(m[4], -1) {
			v[x[1]] = x[2]
		}
		e := analysis.KernelEvent{Kind: tracepoints[m[3]], Time: time.Unix(s, us*1000).Add(offset).UTC()}
		if e.Kind == analysis.KernelReceive {
			e.Local, e.Remote = netip.MustParseAddrPort(v["src"]), netip.MustParseAddrPort(v["dest"])
			window, _ := strconv.Atoi(v["snd_cwnd"])
			e.Window = uint32(window)
		} else {
			e.Local, e.Remote = netip.MustParseAddrPort(v["saddr"]+":"+v["sport"]), netip.MustParseAddrPort(v["daddr"]+":"+v["dport"])
		}
		e.Established = v["state"] == "TCP_ESTABLISHED"
		if state, err := strconv.Atoi(v["cong_state"]); err == nil {
			e.State = tcpinfo.CongestionState(state)
		} else if e.Kind == analysis.KernelCongestionState {
			t.Fatalf("no state: %s", lines.Text())
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// TestKernelTellsCauses loses segments in several ways, and compares what the kernel's
// events say about each retransmission with the kernel's own counters; and what the
// capture alone says with both.
func TestKernelTellsCauses(t *testing.T) {
	if err := impair.Probe(); err != nil {
		testenv.Missing(t, "needs root and netem: "+err.Error())
	}
	for _, tt := range []struct {
		name string
		loss impair.Loss
		// drive sends, and changes what is lost.
		drive func(t *testing.T, client *net.TCPConn, lose func(impair.Loss))
		want  []analysis.Cause // at least one of each
	}{
		{"random loss", impair.RandomLoss{Percent: 3}, func(t *testing.T, client *net.TCPConn, lose func(impair.Loss)) {
			send(t, client, 3<<20)
			for unacknowledged(t, client) > 200_000 {
				time.Sleep(time.Millisecond)
			}
			lose(nil) // a probe for the very last segment comes when its timeout is due, and nothing tells them apart
		}, []analysis.Cause{analysis.CauseFast}},
		{"one segment, lost for two seconds", nil, func(t *testing.T, client *net.TCPConn, lose func(impair.Loss)) {
			send(t, client, 100)
			time.Sleep(100 * time.Millisecond)
			lose(everything)
			send(t, client, 100)
			time.Sleep(2 * time.Second)
			lose(nil)
		}, []analysis.Cause{analysis.CauseTLP, analysis.CauseRTO}},
		{"a lost tail", nil, func(t *testing.T, client *net.TCPConn, lose func(impair.Loss)) {
			send(t, client, 100)
			time.Sleep(100 * time.Millisecond)
			lose(everything)
			send(t, client, 3000)
			time.Sleep(25 * time.Millisecond) // less than a probe's time
			lose(nil)
			time.Sleep(time.Second)
		}, []analysis.Cause{analysis.CauseTLP}},
		{"a window lost, for one second", nil, func(t *testing.T, client *net.TCPConn, lose func(impair.Loss)) {
			send(t, client, 100)
			time.Sleep(100 * time.Millisecond)
			lose(everything)
			send(t, client, 10000)
			time.Sleep(time.Second)
			lose(nil)
			time.Sleep(3 * time.Second)
		}, []analysis.Cause{analysis.CauseRTO, analysis.CauseRecovery}},
		{"a window and what repaired it", nil, func(t *testing.T, client *net.TCPConn, lose func(impair.Loss)) {
			send(t, client, 100)
			time.Sleep(100 * time.Millisecond)
			lose(everything)
			send(t, client, 10000)
			time.Sleep(time.Second)
			lose(nil)
			// The FIN at once after it may show that retransmissions were lost (RACK).
		}, []analysis.Cause{analysis.CauseTLP, analysis.CauseRTO}},
	} {
		t.Run(tt.name, func(t *testing.T) { testKernelTellsCauses(t, tt.loss, tt.drive, tt.want) })
	}
}

var everything = impair.RandomLoss{Percent: 100}

// unacknowledged is how many bytes a connection still has to bring over.
func unacknowledged(t *testing.T, c *net.TCPConn) (bytes int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err2 := raw.Control(func(fd uintptr) { bytes, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return bytes
}

func send(t *testing.T, c *net.TCPConn, n int) {
	t.Helper()
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Error(err)
	}
}

func testKernelTellsCauses(t *testing.T, loss impair.Loss, drive func(*testing.T, *net.TCPConn, func(impair.Loss)), want []analysis.Cause) {
	topology, err := netns.Routed(netns.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := topology.Close(); err != nil {
			t.Error(err)
		}
	})
	impaired := func(apply func(netdev.Device, impair.Netem) (impair.Applied, error), end *netns.End, l impair.Loss) {
		t.Helper()
		if _, err := apply(end.Device(), impair.Netem{Delay: 10 * time.Millisecond, Loss: l}); err != nil {
			t.Fatal(err)
		}
	}
	impaired(impair.Apply, topology.ToServer, loss)
	impaired(impair.Apply, topology.ToClient, nil)
	stop := startTrace(t)
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	near := topology.Client().Ends()[0]
	wire, err := capture.Start(file, capture.Config{SnapLength: 128}, capture.Interface{Name: near.String(), Device: near.Device()})
	if err != nil {
		t.Fatal(err)
	}
	before, err := kernel.ReadCounters(topology.Client())
	if err != nil {
		t.Fatal(err)
	}

	local := talk(t, topology, func(c *net.TCPConn) {
		drive(t, c, func(l impair.Loss) { impaired(impair.Change, topology.ToServer, l) }) // Apply would lose what is queued
	})

	after, err := kernel.ReadCounters(topology.Client())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Stop(); err != nil {
		t.Fatal(err)
	}
	all := stop()
	events := slices.DeleteFunc(slices.Clone(all), func(e analysis.KernelEvent) bool { return e.Local != local })
	withoutStates := slices.DeleteFunc(slices.Clone(events), func(e analysis.KernelEvent) bool { return e.Kind == analysis.KernelCongestionState })

	byStates, byWindows, byWire := causes(t, file, local, events), causes(t, file, local, withoutStates), causes(t, file, local, nil)
	grown := after.Since(before)
	t.Logf("kernel: %v; by states %v; by windows %v; by the capture alone %v", grownBy(grown,
		"TcpRetransSegs", "TcpExtTCPTimeouts", "TcpExtTCPLossProbes", "TcpExtTCPFastRetrans", "TcpExtTCPSlowStartRetrans", "TcpExtTCPLostRetransmit"),
		total(byStates), total(byWindows), total(byWire))
	if byStates.KernelKnows != int(grown["TcpRetransSegs"]) {
		t.Errorf("the events tell about %d retransmissions of %d", byStates.KernelKnows, grown["TcpRetransSegs"])
	}
	for cause, counter := range map[analysis.Cause]string{
		analysis.CauseRTO: "TcpExtTCPTimeouts", analysis.CauseFast: "TcpExtTCPFastRetrans", analysis.CauseRecovery: "TcpExtTCPSlowStartRetrans",
	} {
		got := byStates.Causes[cause].Count
		if cause == analysis.CauseRTO {
			got += byStates.Causes[analysis.CauseSYN].Count // timeouts as well
		}
		if got != int(grown[counter]) {
			t.Errorf("%v: %d, %s has %d", cause, got, counter, grown[counter])
		}
	}
	// A probe may also send new data.
	if got := byStates.Causes[analysis.CauseTLP].Count; got > int(grown["TcpExtTCPLossProbes"]) {
		t.Errorf("%d tail loss probes, TcpExtTCPLossProbes has %d", got, grown["TcpExtTCPLossProbes"])
	}
	for _, cause := range want {
		if byStates.Causes[cause].Count == 0 {
			t.Errorf("no retransmission by %v: this tests nothing", cause)
		}
	}
	compareCauses(t, "by windows", byStates, byWindows)
	compareCauses(t, "by the capture alone", byStates, byWire)
}

// talk runs a client against a server that reads all, and returns the client's
// address when both have closed.
func talk(t *testing.T, topology *netns.Topology, drive func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	var l net.Listener
	var c net.Conn
	dial := func() error {
		return topology.Client().Do(func() (err error) {
			d := net.Dialer{KeepAlive: -1}
			d.SetMultipathTCP(false)
			c, err = d.DialContext(t.Context(), "tcp4", l.Addr().String())
			return err
		})
	}
	if err := topology.Server().Do(func() (err error) {
		config := net.ListenConfig{KeepAlive: -1}
		config.SetMultipathTCP(false)
		l, err = config.Listen(t.Context(), "tcp4", netip.AddrPortFrom(topology.Server().IPv4(), 4000).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The SYN may be lost too; Linux sends it again.
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, server)
		read <- errors.Join(err, server.Close())
	}()
	client := c.(*net.TCPConn)
	drive(client)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %d, %v", n, err)
	}
	local := client.LocalAddr().(*net.TCPAddr).AddrPort()
	client.Close()
	return local
}

// causes analyzes a file with events, and returns the side with that address.
func causes(t *testing.T, file string, local netip.AddrPort, events []analysis.KernelEvent) analysis.Side {
	t.Helper()
	r, err := analysis.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report := analysis.Analyze(r, events...)
	for _, c := range report.Conversations {
		if c.Client.Addr == local {
			return c.Client
		}
	}
	t.Fatalf("%v is not in the capture: %+v", local, report)
	return analysis.Side{}
}

func total(d analysis.Side) string {
	var parts []string
	for i, f := range d.Causes {
		if f.Count > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", analysis.Cause(i), f.Count))
		}
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func grownBy(c kernel.Counters, names ...string) (grown []string) {
	for _, name := range names {
		grown = append(grown, fmt.Sprintf("%s %d", name, c[name]))
	}
	return grown
}

// compareCauses: what is told in another way must be the same, or unknown.
func compareCauses(t *testing.T, how string, want, got analysis.Side) {
	t.Helper()
	of := func(d analysis.Side) map[int]analysis.Cause {
		m := make(map[int]analysis.Cause)
		for cause, f := range d.Causes {
			for _, frame := range f.First {
				m[frame] = analysis.Cause(cause)
			}
		}
		return m
	}
	truth := of(want)
	for frame, cause := range of(got) {
		if told, ok := truth[frame]; ok && told != cause && cause != analysis.CauseUnknown && cause != analysis.CauseSpurious {
			t.Errorf("frame %d %s: %v, in truth %v", frame, how, cause, told)
		}
	}
}
