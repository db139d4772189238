package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/results"
)

// A suite is a fixture that runs, or has run.
type suite struct {
	t       *testing.T
	command *exec.Cmd
	output  output
	held    *os.File      // ends when the suite and all that it started have ended
	lines   *bufio.Reader // of held
	dir     string        // of its records
}

// output can be read while it is written to.
type output struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// start starts a fixture. Of this process's variables of tcplab it has none.
func start(t *testing.T, name string, args ...string) *suite {
	t.Helper()
	this, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{t: t, command: exec.Command(this, append([]string{"--ginkgo.no-color", "--ginkgo.seed=7"}, args...)...), dir: t.TempDir()}
	s.command.Env = append(s.cleanEnvironment(), fixtureVariable+"="+name, "TCPLAB_RESULTS="+s.dir)
	return s
}

func (s *suite) cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "TCPLAB_") })
}

func (s *suite) begin() {
	s.t.Helper()
	held, theirs, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { held.Close() })
	s.held = held
	s.command.Stdout, s.command.Stderr = &s.output, &s.output
	s.command.ExtraFiles = []*os.File{theirs}
	err = s.command.Start()
	theirs.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := held.SetReadDeadline(time.Now().Add(testenv.Patience)); err != nil {
		s.t.Fatal(err)
	}
	// A test that fails must not leave it behind.
	s.t.Cleanup(func() { s.command.Process.Kill() })
}

// end waits until the suite has ended, and all that it started; it returns the exit status, or the
// signal that ended it.
func (s *suite) end() (int, syscall.Signal) {
	s.t.Helper()
	bound := time.AfterFunc(testenv.Patience, func() { s.command.Process.Signal(syscall.SIGQUIT) })
	defer bound.Stop()
	err := s.command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s.held); err != nil {
		s.t.Fatalf("a process of the suite lives on: %v\n%s", err, &s.output)
	}
	status := s.command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return -1, status.Signal()
	}
	return status.ExitStatus(), 0
}

// finish is begin and end, for a suite that ends by itself.
func (s *suite) finish(expected int) *suite {
	s.t.Helper()
	s.begin()
	if status, signal := s.end(); status != expected {
		s.t.Fatalf("exit status %d (%v), expected %d\n%s", status, signal, expected, &s.output)
	}
	return s
}

func (s *suite) run() *results.Run {
	s.t.Helper()
	run, err := results.Open(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return run
}

func (s *suite) records() []*results.Record {
	s.t.Helper()
	records, err := s.run().Records()
	if err != nil {
		s.t.Fatal(err)
	}
	return records
}

// record is the only one.
func (s *suite) record() *results.Record {
	s.t.Helper()
	records := s.records()
	if len(records) != 1 {
		s.t.Fatalf("%d records, expected one\n%s", len(records), &s.output)
	}
	return records[0]
}

func TestRecordOfASpec(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	record := start(t, "passes").finish(0).record()

	g.Expect(record.Suite).To(Equal("fixture passes"))
	g.Expect(record.Scenario).To(Equal("a connection is recorded"))
	g.Expect(record.Labels).To(Equal([]string{"quick", "rfc9293"}))
	g.Expect(record.Verdict).To(Equal(results.Passed))
	g.Expect(record.Failure).To(BeNil())
	g.Expect(record.Reason).To(BeEmpty())
	g.Expect(record.Kernel).To(Equal(results.ThisKernel()))
	g.Expect(record.Clock).To(Equal(results.ClockReal))
	g.Expect(record.Seed).To(BeEquivalentTo(7))
	g.Expect(record.Duration).To(BeNumerically(">", 0))
	g.Expect(record.Host).NotTo(BeNil())
	g.Expect(record.Host.Wall).To(Equal(record.Duration))

	g.Expect(record.Topology.Kind).To(Equal("direct"))
	g.Expect(record.Topology.Hosts).To(HaveLen(2))
	server := record.Topology.Hosts[1]
	g.Expect(server.Name).To(Equal("server"))
	g.Expect(server.Addresses).To(Equal([]string{"10.0.1.2/24", "fd00:1::2/64"}))
	g.Expect(server.Sysctls).To(HaveKeyWithValue("net.ipv4.tcp_sack", "0"))
	g.Expect(record.Topology.Links).To(Equal([]results.Link{{Ends: [2]string{"client/eth0", "server/eth0"}, MTU: 1400}}))
	g.Expect(record.Impairments).To(BeEmpty())
	g.Expect(record.Queues).To(BeEmpty())

	g.Expect(record.Peers).To(HaveLen(2))
	for i, expected := range []results.Peer{
		{Name: "server-1", Host: "server", Program: "echo-server"}, {Name: "client-2", Host: "client", Program: "echo-client"},
	} {
		peer := record.Peers[i]
		g.Expect(peer.Config).To(ContainSubstring(`10.0.1.2:7`))
		g.Expect(peer.Result).To(ContainSubstring(`"connections"`))
		peer.Config, peer.Result = nil, nil
		g.Expect(peer).To(Equal(expected))
	}

	g.Expect(record.Counters).To(HaveLen(2))
	g.Expect(record.Counters[0].Host).To(Equal("client"))
	g.Expect(record.Counters[0].Diff).To(HaveKeyWithValue("TcpActiveOpens", int64(1)))
	g.Expect(record.Counters[1].Diff).To(HaveKeyWithValue("TcpPassiveOpens", int64(1)))

	g.Expect(record.Captures).To(HaveLen(2))
	g.Expect(record.Captures[0].File).To(Equal("capture.pcapng"))
	g.Expect(record.Captures[0].Interfaces).To(HaveExactElements(
		And(HaveField("End", "client/eth0"), HaveField("Packets", BeNumerically(">=", 9)), HaveField("Dropped", BeZero())),
		And(HaveField("End", "server/eth0"), HaveField("Packets", BeNumerically(">=", 9)), HaveField("Dropped", BeZero())),
	))
	g.Expect(record.Captures[1]).To(Equal(results.Capture{
		File: "capture-2.pcapng", Interfaces: []results.CaptureInterface{{End: "server/eth0"}},
	}))
	// Of counts, 2 is at the edge of 2 to 5: 1 is the nearest that is not allowed, of a width from 1 to 6.
	g.Expect(record.Metrics).To(Equal([]results.Metric{{
		Name: "requests", Value: 2, Whole: true, Of: 2,
		Bounds: &results.Bounds{Lower: new(2.), Upper: new(5.), Margin: 1, Share: .2, Source: "as asked"},
	}}))
	var artefacts []string
	for _, artefact := range record.Artefacts {
		artefacts = append(artefacts, artefact.Path)
	}
	g.Expect(artefacts).To(Equal([]string{"capture-2.pcapng", "capture.pcapng", "counters.json", "notes/own.txt"}))
}

// In a guest all that depends on the machine outside is left to it.
func TestRecordInAGuest(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	s := start(t, "skips")
	s.command.Env = append(s.command.Env, "TCPLAB_CLOCK=virtual")
	for _, record := range s.finish(0).records() {
		if record.Clock != results.ClockVirtual || record.Host != nil {
			t.Errorf("%s: clock %s, host %v", record.Scenario, record.Clock, record.Host)
		}
	}
}

func TestSpecsThatDoNotPass(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	for _, c := range []struct {
		fixture, scenario string
		verdict           results.Verdict
		message           []string // what it has in it
		want              string   // where
	}{
		{fixture: "fails", scenario: "fails", verdict: results.Failed, want: "failed", message: []string{"Expected\n    <int>: 1\nto equal\n    <int>: 2"}},
		{fixture: "panics", scenario: "panics", verdict: results.Panicked, want: "panicked", message: []string{"out of cheese"}},
		{fixture: "times out", scenario: "times out", verdict: results.TimedOut, want: "timed out",
			message: []string{"A spec timeout occurred", "wait until peer server-1 is done"}},
		{fixture: "first of nothing", scenario: "looks at the first of nothing", verdict: results.Failed, want: "first of nothing",
			message: []string{"there are no segments that close the window"}},
		{fixture: "two labs", scenario: "makes two labs", verdict: results.Failed, want: "two labs", message: []string{"new lab: the spec has one already"}},
		{fixture: "two topologies", scenario: "builds two topologies", verdict: results.Failed, want: "two topologies", message: []string{"build topology: the lab has one"}},
		{fixture: "two configurations", scenario: "has two configurations", verdict: results.Failed, want: "two configurations", message: []string{"2 configurations"}},
		{fixture: "bad topology", scenario: "has a bad topology", verdict: results.Failed, want: "bad topology", message: []string{"MTU 7"}},
		{fixture: "lab of a BeforeEach", scenario: "uses the lab of a BeforeEach", verdict: results.Failed, want: "BeforeEach", message: []string{"new lab: in a BeforeEach"}},
		{fixture: "lab of a BeforeAll", scenario: "ordered is first", verdict: results.Failed, want: "BeforeAll", message: []string{"new lab: in a BeforeAll"}},
		{fixture: "both of a graph", scenario: "impairs both of a graph", verdict: results.Failed, want: "both of a graph", message: []string{"the topology is a graph"}},
		{fixture: "bad graph", scenario: "has a bad graph", verdict: results.Failed, want: "bad graph", message: []string{`there is no host "b"`}},
		{fixture: "infinite metric", scenario: "has an infinite metric", verdict: results.Failed, want: "infinite metric", message: []string{`metric "share": +Inf`}},
		{fixture: "metric outside", scenario: "waits too long", verdict: results.Failed, want: "metric outside",
			message: []string{"probe after 44 ms, expected 39 to 43 ms: RFC 8985, 7.2"}},
		{fixture: "metric without source", scenario: "knows no reason", verdict: results.Failed, want: "metric without source",
			message: []string{`measure "probes"`, "say where its bounds are from"}},
		{fixture: "metric in another unit", scenario: "compares bytes with bits", verdict: results.Failed, want: "metric in another unit",
			message: []string{`metric "sent"`, `"bytes"`, `"bit"`}},
		{fixture: "bad impairment", scenario: "loses more than there is", verdict: results.Failed, want: "bad impairment", message: []string{"client/eth0", "Loss.Percent", "130"}},
		{fixture: "bad peer", scenario: "starts a bad peer", verdict: results.Failed, want: "bad peer", message: []string{"start peer client-1", "Connect"}},
		{fixture: "no such program", scenario: "starts no such program", verdict: results.Failed, want: "no such program", message: []string{"/no/such/program"}},
		{fixture: "peer cannot begin", scenario: "listens twice", verdict: results.Failed, want: "peer cannot begin", message: []string{"server-2", "EADDRINUSE"}},
		{fixture: "peer exits", scenario: "never looks at a peer that exits", verdict: results.Failed, want: "peer exits",
			message: []string{"peer client-1 (command, pid ", "exited with status 3; its last lines on stderr:\nthe configuration makes no sense"}},
		{fixture: "peer exits, waited for", scenario: "waits for a peer that exits", verdict: results.Failed, want: "peer exits, waited for",
			message: []string{"peer client-1 (command, pid ", "exited with status 3; its last lines on stderr:\nthe configuration makes no sense"}},
		{fixture: "peer is killed", scenario: "never looks at a server that somebody kills", verdict: results.Failed, want: "peer is killed",
			message: []string{"peer server-1 (accept, pid ", "ended by SIGKILL before it had a result, which was not sent from here"}},
		{fixture: "server is killed", scenario: "waits for the client of a server that somebody kills", verdict: results.Failed, want: "server is killed",
			message: []string{"wait until peer client-4 is done: after ", "it has its sockets and no connection yet: peer server-1 (accept, pid ", "ended by SIGKILL"}},
		{fixture: "no socket", scenario: "waits for the socket of a server that exits", verdict: results.Failed, want: "no socket",
			message: []string{"wait for 1 sockets of server: await sockets (LISTEN, port 80): after ", "ms the last of the listings has none: peer server-1 (command, pid ",
				"exited with status 3; its last lines on stderr:\nthe configuration"}},
		{fixture: "command is never ready", scenario: "waits for a program to listen that exits", verdict: results.Failed, want: "command is never ready",
			message: []string{"exited with status 0 before it was ready (nobody listens at TCP port 80)", "the configuration makes no sense"}},
		{fixture: "port is taken", scenario: "waits for a program to listen where another one does", verdict: results.Failed, want: "port is taken",
			message: []string{"in server: somebody listens at ", ":80 before it does", "use Ready.Line"}},
		{fixture: "no listener", scenario: "waits for the socket of a server that ends in order", verdict: results.Failed, want: "no listener",
			message: []string{"await sockets (LISTEN): after ", "no program runs in server any more that could listen: ended are server-1"}},
		{fixture: "no socket to be seen", scenario: "looks for the socket of a server that exits", verdict: results.Failed, want: "no socket to be seen",
			message: []string{"read the sockets of server: peer server-1 (command, pid ", "exited with status 3"}},
		{fixture: "no counter", scenario: "looks for what a client counts that exits", verdict: results.Failed, want: "no counter",
			message: []string{"read the counters of client: peer client-1 (command, pid ", "exited with status 3"}},
		{fixture: "endless schedule", scenario: "waits for the end of a schedule that has none", verdict: results.Failed, want: "endless schedule",
			message: []string{"wait for the schedule of client/eth0: it begins again every 1s, for ever: use Stop"}},
		{fixture: "no evidence", scenario: "takes the network away", verdict: results.Failed, want: "no evidence", message: []string{"counters of client", "counters of server", "queue of client/eth0"}},
		{fixture: "capture drops", scenario: "never looks at its capture", verdict: results.Failed, want: "unread capture",
			message: []string{"capture capture.pcapng: 3 packets were dropped by the capture itself"}},
		{fixture: "capture drops", scenario: "reads its capture", verdict: results.Failed, want: "read capture",
			message: []string{"capture capture.pcapng: 3 packets were dropped by the capture itself"}},
		{fixture: "running capture", scenario: "reads a capture that runs", verdict: results.Failed, want: "running capture",
			message: []string{"read capture.pcapng: it still runs: Stop it first"}},
		{fixture: "running samples", scenario: "reads samples that are still taken", verdict: results.Failed, want: "running samples",
			message: []string{"read samples.json: it still runs: Stop it first"}},
		{fixture: "stopped sockets", scenario: "looks once more", verdict: results.Failed, want: "stopped sockets",
			message: []string{"read the sockets of client: they have been stopped"}},
		{fixture: "two filters", scenario: "has two filters", verdict: results.Failed, want: "two filters", message: []string{"2 socket filters"}},
		{fixture: "events of nothing", scenario: "records before it builds", verdict: results.Failed, want: "events of nothing", message: []string{"no topology yet"}},
		{fixture: "bad period", scenario: "samples too fast", verdict: results.Failed, want: "bad period", message: []string{"period 1µs: want at least 1ms"}},
		{fixture: "symbolic link", scenario: "leaves a symbolic link", verdict: results.Failed, want: "symbolic link", message: []string{"hostname: is not a regular file"}},
	} {
		t.Run(c.fixture, func(t *testing.T) {
			g := NewWithT(t)
			s := start(t, c.fixture).finish(1)
			var record *results.Record
			for _, r := range s.records() {
				if r.Scenario == c.scenario {
					record = r
				}
			}
			g.Expect(record).NotTo(BeNil(), s.output.String())
			g.Expect(record.Verdict).To(Equal(c.verdict))
			for _, part := range c.message {
				g.Expect(record.Failure.Message).To(ContainSubstring(part))
			}
			g.Expect(record.Failure.Message).NotTo(ContainSubstring("\n\nand then"), "nothing else follows from it")
			g.Expect(record.Failure.Location).To(HaveSuffix("/" + want(c.want)))
		})
	}
}

// A peer that ended as nobody asked for is told beside another failure, with all that it said.
func TestEvidenceOfADeadPeer(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	record := start(t, "peer exits and spec fails").finish(1).record()
	g.Expect(record.Failure.Message).To(MatchRegexp(
		`(?s)^Expected.*\n\nand then .*peer client-1 \(command, pid \d+\): exited with status 3; its last lines on stderr:\nthe configuration makes no sense$`))
	g.Expect(record.Peers[0].Error).To(ContainSubstring("exited with status 3"))
	for name, part := range map[string]string{
		"failure/summary.txt": "client-1 ended as nobody asked for:\n    peer client-1 (command, pid ",
		"client-1.stderr.txt": "the configuration makes no sense\n",
	} {
		text, err := os.ReadFile(filepath.Join(record.Dir(), name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(text)).To(ContainSubstring(part))
	}
}

// What was asked for is no failure.
func TestPeersThatMayFail(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	record := start(t, "peers may fail").finish(0).record()
	g.Expect(record.Verdict).To(Equal(results.Passed))
	g.Expect(record.Peers[0].Error).To(ContainSubstring("exited with status 3"))
	g.Expect(record.Peers[len(record.Peers)-1].Error).To(Equal("still running when the scenario ended"))
}

// A program of which the spec says when it is ready, and with which status it may end.
func TestCommandsThatAreReady(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	record := start(t, "commands that are ready").finish(0).record()
	g.Expect(record.Peers).To(HaveLen(4))
	g.Expect(record.Peers[0].Error).To(BeEmpty())
	g.Expect(record.Peers[3].Error).To(ContainSubstring("exited with status 3 before it was ready (nobody listens at TCP port 81)"))
}

// A spec that does not pass is recorded with all the evidence that there is.
func TestEvidenceOfAFailure(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	for _, fixture := range []string{"fails", "panics", "no evidence"} {
		t.Run(fixture, func(t *testing.T) {
			g := NewWithT(t)
			record := start(t, fixture).finish(1).records()[0]
			if fixture == "fails" { // its other spec comes first in the order of texts
				record = start(t, fixture, "--ginkgo.focus=fails$").finish(1).record()
			}
			g.Expect(record.Topology).NotTo(BeNil())
			g.Expect(record.Captures).To(HaveLen(1))
			g.Expect(record.Captures[0].Interfaces[0].Packets).To(BeNumerically(">=", 3))
			g.Expect(record.Artefacts).To(ContainElement(HaveField("Path", "capture.pcapng")))
			g.Expect(record.Peers).To(HaveLen(3))
			if fixture == "no evidence" {
				g.Expect(record.Counters).To(BeEmpty())
				g.Expect(record.Metrics).To(HaveLen(1))
			} else {
				g.Expect(record.Counters).To(HaveLen(2))
				g.Expect(record.Peers).To(HaveEach(HaveField("Error", "still running when the scenario ended")))
			}
		})
	}
}

// A failure explains itself: in its message, in what Ginkgo prints behind it, and in the
// artefacts.
func TestFailuresExplainThemselves(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	s := start(t, "explains").finish(1)
	record := s.record()
	// What the matcher says, and the packets around it.
	g.Expect(record.Failure.Location).To(HaveSuffix("/" + want("explained")))
	g.Expect(record.Failure.Message).To(And(
		HavePrefix("Expected to contain resets, 2 of them\nSeen: 0 of "), ContainSubstring("how often: 0, expected 2"),
		ContainSubstring("in capture.pcapng, frames 1 to 10:"), ContainSubstring("[SYN ACK] seq")))
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(record.Dir(), "failure", name))
		g.Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
	summary := read("summary.txt")
	g.Expect(summary).To(And(
		MatchRegexp(`^capture.pcapng: \d+ segments, the last are frames \d+ to \d+\n(    #.*\n){10}client:`),
		ContainSubstring("client:\n    counters: "), ContainSubstring(" TcpActiveOpens 2 "),
		ContainSubstring("server:\n    counters: "), ContainSubstring(" TcpPassiveOpens 2\n"),
		ContainSubstring("    ESTAB recv-q 0 send-q 0 10.0.1.1:"), ContainSubstring(" snd_cwnd:10 "),
		// A program that has ended took its socket with it.
		MatchRegexp(`client-4: connection 10\.0\.1\.1:\d+ 10\.0\.1\.2:80, sent 0, received 0\n    tcp_info state:`)))
	for line := range strings.Lines(summary) {
		g.Expect(s.output.String()).To(ContainSubstring(strings.TrimSpace(line)), "Ginkgo prints the summary")
	}
	for _, host := range []string{"client", "server"} {
		g.Expect(read(host + "-sockets.txt")).To(ContainSubstring("ESTAB recv-q 0 send-q 0 10.0.1."))
		var sockets []kernel.Socket
		g.Expect(json.Unmarshal([]byte(read(host+"-sockets.json")), &sockets)).To(Succeed())
		g.Expect(sockets).To(ContainElement(And(HaveField("State", kernel.Established), HaveField("TCPInfo.Snd_cwnd", BeEquivalentTo(10)))))
		var qdiscs []map[string]any
		g.Expect(json.Unmarshal([]byte(read(host+"-qdiscs.json")), &qdiscs)).To(Succeed())
		g.Expect(qdiscs).To(ContainElement(And(HaveKeyWithValue("device", "eth0"), HaveKeyWithValue("kind", "noqueue"), HaveKey("drops"))))
		g.Expect(read(host + "-routes.txt")).To(And(ContainSubstring("10.0.1.0/24 dev eth0"), ContainSubstring("neighbours:\n    10.0.1.")))
	}
	g.Expect(read("kernel.txt")).NotTo(BeEmpty())
}

// The evidence has all tables, or it would show another way than the one that packets take.
func TestFailureShowsRoutesOfSources(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	dir := start(t, "two routes").finish(1).record().Dir()
	text, err := os.ReadFile(filepath.Join(dir, "failure", "near-routes.txt"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(And(
		MatchRegexp(`(?m)^rules:\n    (?:.*\n)*    1000 from 10\.0\.1\.\d+/32 lookup 1000\n`),
		ContainSubstring("    10.0.4.0/24 via 10.0.2.2 dev eth1\n"),
		MatchRegexp(`    10\.0\.4\.\d+(/32)? via 10\.0\.3\.2 dev eth2 table 1000\n`)))
	g.Expect(string(text)).NotTo(ContainSubstring("table 255"))
}

func TestKmsg(t *testing.T) {
	line, at, ok := parseKmsg([]byte("6,339,5140900,-;NET: Registered PF_INET\\x0a\n SUBSYSTEM=net\n"))
	if !ok || line != "NET: Registered PF_INET\\x0a" || at != 5140900*time.Microsecond {
		t.Errorf("%q, %v, %v", line, at, ok)
	}
	for _, bad := range []string{"", "6,339,5140900,-", "6,339;text", "6,339,x,-;text"} {
		if line, at, ok := parseKmsg([]byte(bad)); ok {
			t.Errorf("%q: %q, %v", bad, line, at)
		}
	}
}

func TestObservers(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	if _, err := kernel.ReadSockets(nil, kernel.SocketFilter{}); errors.Is(err, kernel.ErrNoSockDiag) {
		testenv.Missing(t, "needs sock_diag: "+err.Error())
	}
	g := NewWithT(t)
	record := start(t, "observes").finish(0).record()
	read := func(name string, into any) {
		text, err := os.ReadFile(filepath.Join(record.Dir(), name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(json.Unmarshal(text, into)).To(Succeed())
	}
	var listed struct {
		Host     string
		Readings []kernel.Sample
	}
	read("sockets.json", &listed)
	g.Expect(listed.Host).To(Equal("client"))
	g.Expect(listed.Readings).To(HaveExactElements(HaveField("Sockets", BeEmpty()), HaveField("Sockets", HaveLen(1))), "what changed")
	read("sockets-2.json", &listed)
	g.Expect(listed.Host).To(Equal("server"))
	var samples struct {
		Host    string
		Samples []kernel.Sample
	}
	read("samples.json", &samples)
	g.Expect(samples.Host).To(Equal("client"))
	g.Expect(samples.Samples[0].Sockets).To(BeEmpty())
	g.Expect(samples.Samples[len(samples.Samples)-1].Sockets).To(HaveLen(1))
	var queue struct {
		End     string
		Samples []kernel.QdiscSample
	}
	read("queue.json", &queue)
	g.Expect(queue.End).To(Equal("client/eth0"))
	g.Expect(queue.Samples).NotTo(BeEmpty())
	for _, at := range []time.Duration{samples.Samples[0].At, queue.Samples[0].At, listed.Readings[0].At} {
		g.Expect(at).To(And(BeNumerically(">", 0), BeNumerically("<", record.Duration)), "since the start of the spec")
	}
}

func TestEventsOfALab(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	available, err := kernel.AvailableEvents()
	if err == nil && len(available) == len(kernel.EventKinds()) {
		record := start(t, "events").finish(0).record()
		g.Expect(record.Verdict).To(Equal(results.Passed), record.Reason)
		text, err := os.ReadFile(filepath.Join(record.Dir(), "events.jsonl"))
		g.Expect(err).NotTo(HaveOccurred())
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		g.Expect(lines).To(ContainElement(And(
			ContainSubstring(`"host":"client"`), ContainSubstring(`"oldstate":"TCP_CLOSE","newstate":"TCP_SYN_SENT"`))))
		g.Expect(lines).NotTo(ContainElement(ContainSubstring(`"host":"server"`)), "only the client was asked for")
		return
	}
	// What is missing is said, and no failure unless it has to be there.
	record := start(t, "events").finish(0).record()
	g.Expect(record.Verdict).To(Equal(results.Skipped))
	g.Expect(record.Reason).To(And(ContainSubstring("record events: "), ContainSubstring("This works on any Linux machine: ")))
	required := start(t, "events")
	required.command.Env = append(required.command.Env, "TCPLAB_REQUIRE=1")
	failed := required.finish(1).record()
	g.Expect(failed.Failure.Message).To(Equal(record.Reason))
	g.Expect(failed.Failure.Location).To(HaveSuffix("/" + want("events")))
}

func TestTransitsOfALab(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	for _, record := range start(t, "transits").finish(0).records() {
		if record.Verdict != results.Passed {
			t.Error(record.Verdict)
		}
	}
}

func TestSkippedAndPendingSpecs(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	records := start(t, "skips").finish(0).records()
	g.Expect(records).To(HaveLen(2))
	g.Expect(records[0].Verdict).To(Equal(results.Passed))
	g.Expect(records[1].Verdict).To(Equal(results.Skipped))
	g.Expect(records[1].Reason).To(Equal("not on a Sunday"))
	g.Expect(records[1].Failure).To(BeNil())

	// Specs that a filter leaves out are no part of the run.
	g.Expect(start(t, "skips", "--ginkgo.focus=passes").finish(0).records()).To(HaveLen(1))
}

func TestLabOfABeforeSuite(t *testing.T) {
	needNamespaces(t)
	g := NewWithT(t)
	s := start(t, "lab of a BeforeSuite").finish(1)
	g.Expect(s.output.String()).To(ContainSubstring("new lab: in a BeforeSuite: make it in the It"))
	g.Expect(s.records()).To(BeEmpty())
}

func TestSeveralAttempts(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	records := start(t, "attempts").finish(0).records()
	g.Expect(records).To(HaveLen(2))
	g.Expect(records).To(HaveEach(HaveField("Verdict", results.Passed)))
	g.Expect(records[0].Metrics).To(Equal([]results.Metric{{Name: "attempt", Value: 3, Whole: true}}))
	// Only the last attempt's files are evidence.
	g.Expect(records[1].Artefacts).To(HaveExactElements(HaveField("Path", "attempt-2"), HaveField("Path", "counters.json")))
}

func TestRoundsLeaveNothingInTheProcess(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	if records := start(t, "rounds").finish(0).records(); len(records) != 12 {
		t.Errorf("%d records", len(records))
	}
}

// Nothing stays, in whatever way a suite ends.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	if !testenv.Isolated(t) {
		return
	}
	needNamespaces(t)
	for _, c := range []struct {
		fixture string
		status  int
	}{
		{"passes", 0}, {"leaves peers", 0}, {"leaves a daemon", 0}, {"fails", 1}, {"panics", 1}, {"times out", 1}, {"no evidence", 1}, {"lab of a BeforeAll", 1},
	} {
		t.Run(c.fixture, func(t *testing.T) {
			start(t, c.fixture).finish(c.status)
			assertNoNamespaceLeft(t)
		})
	}
	for _, c := range []struct {
		name    string
		signal  syscall.Signal
		message string
	}{
		{"interrupt", syscall.SIGINT, "Interrupted by User"},
		{"termination", syscall.SIGTERM, "Interrupted by User"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			s := start(t, "waits")
			s.begin()
			s.awaitBusy()
			g.Expect(s.command.Process.Signal(c.signal)).To(Succeed())
			status, signal := s.end()
			g.Expect(signal).To(BeZero(), s.output.String())
			g.Expect(status).To(Equal(1))
			record := s.record()
			g.Expect(record.Verdict).To(Equal(results.Interrupted))
			g.Expect(record.Failure.Message).To(And(ContainSubstring(c.message), ContainSubstring("wait until peer server-1 is done")))
			g.Expect(record.Failure.Location).To(HaveSuffix("/" + want("interrupted")))
			g.Expect(record.Topology.Kind).To(Equal("routed"))
			g.Expect(record.Counters).To(HaveLen(3))
			g.Expect(record.Peers).To(HaveLen(3))
			g.Expect(record.Captures[0].Interfaces[0].Packets).To(BeNumerically(">=", 3))
			assertNoNamespaceLeft(t)
		})
	}
	t.Run("two interrupts", func(t *testing.T) {
		g := NewWithT(t)
		s := start(t, "waits twice")
		s.begin()
		for range 2 {
			s.awaitBusy()
			g.Expect(s.command.Process.Signal(syscall.SIGINT)).To(Succeed())
		}
		status, _ := s.end()
		g.Expect(status).To(Equal(1))
		record := s.record()
		g.Expect(record.Verdict).To(Equal(results.Interrupted))
		g.Expect(record.Peers).To(HaveLen(3))
		g.Expect(record.Captures).To(HaveLen(1))
		g.Expect(record.Artefacts).To(ContainElements(
			HaveField("Path", "capture.pcapng"), HaveField("Path", "counters.json"), HaveField("Path", "failure/summary.txt")))
		assertNoNamespaceLeft(t)
	})
	t.Run("kill", func(t *testing.T) {
		g := NewWithT(t)
		s := start(t, "waits")
		s.begin()
		s.awaitBusy()
		g.Expect(s.command.Process.Kill()).To(Succeed())
		_, signal := s.end()
		g.Expect(signal).To(Equal(syscall.SIGKILL))
		assertNoNamespaceLeft(t)
		s.assertUnfinished()
	})
	t.Run("time-out of go test", func(t *testing.T) {
		// Where the time is over before the suite is busy, there was too little of it.
		var s *suite
		for limit, busy := 10*time.Second, false; !busy; limit *= 3 {
			if limit > testenv.Patience {
				t.Fatalf("the suite is not busy within %v:\n%s", limit/3, s.output.String())
			}
			if s != nil {
				s.end()
			}
			s = start(t, "waits", "-test.timeout="+limit.String())
			s.begin()
			busy = s.isBusy() == nil
		}
		status, _ := s.end()
		g := NewWithT(t)
		g.Expect(status).To(Equal(2))
		assertNoNamespaceLeft(t)
		s.assertUnfinished()
	})
}

func (s *suite) awaitBusy() {
	s.t.Helper()
	if err := s.isBusy(); err != nil {
		s.t.Fatalf("%v\n%s", err, &s.output)
	}
}

// isBusy waits until the suite says so. If it ends before, that is the error.
func (s *suite) isBusy() error {
	if s.lines == nil {
		s.lines = bufio.NewReader(s.held)
	}
	if line, err := s.lines.ReadString('\n'); line != "busy\n" {
		return fmt.Errorf("the suite says %q (%v)", line, err)
	}
	return nil
}

// assertUnfinished: a suite that was killed has no record, and a folder that says so, without
// half a file in it.
func (s *suite) assertUnfinished() {
	s.t.Helper()
	if records := s.records(); len(records) > 0 {
		s.t.Errorf("%d records", len(records))
	}
	unfinished, err := s.run().Unfinished()
	if err != nil || len(unfinished) != 1 {
		s.t.Fatalf("unfinished: %v, %v", unfinished, err)
	}
	files, err := os.ReadDir(unfinished[0])
	if err != nil || len(files) > 0 {
		s.t.Errorf("in the folder of a killed scenario: %v, %v", files, err)
	}
}

func TestImpairmentsInTheRecord(t *testing.T) {
	t.Parallel()
	needNetem(t)
	g := NewWithT(t)
	records := start(t, "netem").finish(0).records()
	g.Expect(records).To(HaveLen(2))
	record := records[0]
	g.Expect(record.Verdict).To(Equal(results.Passed))
	g.Expect(record.Impairments).To(HaveLen(4))
	var ends []string
	for _, impairment := range record.Impairments {
		ends = append(ends, impairment.End)
		g.Expect(impairment.Direction).To(Equal("egress"))
	}
	g.Expect(ends).To(Equal([]string{"router/eth1", "router/eth0", "router/eth1", "router/eth0"}))
	for i, delay := range []string{"5000000", "5000000", "7000000"} {
		g.Expect(record.Impairments[i].Asked).To(ContainSubstring(`"delay_ns": ` + delay))
		g.Expect(record.Impairments[i].Applied).To(ContainSubstring(`"delay_ns": ` + delay))
		g.Expect(record.Impairments[i].Notes).To(ContainElement(HavePrefix("Limit")))
	}
	// Each has a seed of its own, which follows from that of the run; one that is asked for stays.
	var seeds []uint64
	lab := Lab{seed: 7}
	for range 2 {
		seeds = append(seeds, lab.nextSeed())
	}
	g.Expect(seeds[0]).NotTo(Equal(seeds[1]))
	for i, seed := range append(seeds, 99) {
		var asked impair.Netem
		g.Expect(asked.UnmarshalJSON(record.Impairments[i].Asked)).To(Succeed())
		g.Expect(asked.Seed).To(Equal(seed))
	}
	g.Expect(record.Impairments[3].Asked).To(BeNil()) // cleared
	g.Expect(record.Impairments[3].Applied).To(BeNil())
	// The queue of an end that was cleared is gone.
	g.Expect(record.Queues).To(HaveExactElements(And(HaveField("End", "router/eth1"), HaveField("Kind", "netem"), HaveField("Packets", BeNumerically(">=", 3)))))
}

func TestWithoutNetem(t *testing.T) {
	probed := impair.Probe()
	if probed == nil {
		t.Skip("this kernel has netem: nothing is missing")
	}
	if os.Geteuid() == 0 && !errors.Is(probed, impair.ErrNoNetem) {
		t.Fatal(probed)
	}
	assertSkips(t, func() *suite { return start(t, "netem") })
}

func TestWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give it up")
	}
	const nobody = 65534
	open := func(dir string) string {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir, err := os.MkdirTemp("", "tcplab-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// This program lies where nobody else can read it.
	copied := filepath.Join(open(dir), "copy.test")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	assertSkips(t, func() *suite {
		s := start(t, "netem")
		s.dir = filepath.Join(dir, "results")
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(s.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		open(s.dir)
		s.command.Path = copied
		s.command.Env = append(s.command.Env, "TCPLAB_RESULTS="+s.dir)
		s.command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return s
	})
}

// assertSkips: the specs are skipped with a reason that tells what is missing and what works,
// and fail with it where TCPLAB_REQUIRE=1.
func assertSkips(t *testing.T, start func() *suite) {
	t.Helper()
	g := NewWithT(t)
	missing := "sch_netem"
	skipping := start()
	if skipping.command.SysProcAttr != nil || os.Geteuid() != 0 {
		missing = "root"
	}
	command := "tcplab run with this suite"
	if root, err := moduleRoot(); err == nil {
		command = "cd " + root + " && go run github.com/tcplab/tcplab/cmd/tcplab run ./harness"
	}
	skipped := skipping.finish(0).records()
	g.Expect(skipped).To(HaveLen(2))
	for _, record := range skipped {
		g.Expect(record.Verdict).To(Equal(results.Skipped))
		g.Expect(record.Reason).To(And(ContainSubstring(missing), HaveSuffix("This works on any Linux machine: "+command)))
		g.Expect(record.Artefacts).To(BeEmpty())
	}
	required := start()
	required.command.Env = append(required.command.Env, "TCPLAB_REQUIRE=1")
	failed := required.finish(1).records()
	g.Expect(failed).To(HaveLen(2))
	for i, record := range failed {
		g.Expect(record.Verdict).To(Equal(results.Failed))
		g.Expect(record.Failure.Message).To(Equal(skipped[i].Reason))
	}
}

// Without TCPLAB_RESULTS, what one ginkgo or go test starts writes into one folder beside go.mod.
func TestWhereRecordsGo(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	g := NewWithT(t)
	root := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example.org/x\n"), 0o644)).To(Succeed())
	suiteDir := filepath.Join(root, "a", "b")
	g.Expect(os.MkdirAll(suiteDir, 0o755)).To(Succeed())
	run := func(fixture string, args ...string) {
		s := start(t, fixture, args...)
		s.command.Dir = suiteDir
		s.command.Env = append(s.cleanEnvironment(), fixtureVariable+"="+fixture)
		s.finish(0)
	}
	run("passes", "--ginkgo.dry-run")
	g.Expect(filepath.Join(root, "results")).NotTo(BeADirectory())

	run("passes")
	run("skips", "--ginkgo.seed=8")
	run("skips", "--ginkgo.seed=9")
	entries, err := os.ReadDir(filepath.Join(root, "results"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(2)) // with the link
	latest, err := results.Open(filepath.Join(root, "results", results.Latest))
	g.Expect(err).NotTo(HaveOccurred())
	records, err := latest.Records()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(3))
	g.Expect(records[1].Seed).To(BeEquivalentTo(9)) // the later run's
}

func TestInParallel(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command, to build ginkgo")
	}
	g := NewWithT(t)
	this, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	ginkgo := filepath.Join(t.TempDir(), "ginkgo")
	if said, err := exec.Command(goCommand, "build", "-o", ginkgo, "github.com/onsi/ginkgo/v2/ginkgo").CombinedOutput(); err != nil {
		t.Fatalf("build ginkgo: %v\n%s", err, said)
	}
	s := start(t, "parallel")
	s.command.Path = ginkgo
	s.command.Args = []string{"ginkgo", "--procs=3", "--no-color", this}
	s.finish(0)
	g.Expect(s.output.String()).To(ContainSubstring("3 processes"))
	records := s.records()
	g.Expect(records).To(HaveLen(6))
	for i, record := range records {
		g.Expect(record.Verdict).To(Equal(results.Passed))
		g.Expect(record.Metrics).To(Equal([]results.Metric{{Name: "number", Value: float64(i), Whole: true}}))
		g.Expect(record.Peers).To(HaveLen(3))
	}
}

func TestStartOf(t *testing.T) {
	g := NewWithT(t)
	mine, err := startOf(os.Getpid())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mine).To(MatchRegexp(`^[0-9]+$`))
	g.Expect(startOf(os.Getpid())).To(Equal(mine))
	_, err = startOf(0)
	g.Expect(err).To(MatchError(os.ErrNotExist))
}
