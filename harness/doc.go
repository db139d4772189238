// Package harness makes the world of one scenario and takes it down again: hosts, links,
// impairments, peers, captures, counters, and at the end the record of all that.
//
// A scenario is a Ginkgo spec. It makes a [Lab], which builds a [Network] of hosts and links:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
//	func TestHandshake(t *testing.T) { harness.RunSpecs(t, "handshake") }
//
//	var _ = It("is refused with RST by a closed port", func(ctx SpecContext) {
//		lab := harness.NewLab(ctx)
//		net := lab.Path(20 * time.Millisecond) // client - router - server
//
//		client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
//
//		Expect(client.Wait().Connections[0].Err).To(MatchError(unix.ECONNREFUSED))
//		Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
//	})
//
// # Who does what
//
//	Lab      builds the network (Path, Routed, Direct, Dumbbell), starts programs (Start, Connect), captures and records events,
//	         and keeps the record (Measure, Check, Note)
//	Host     has counters, sysctls, sockets (Sockets, AwaitSockets, Sample) and addresses; its Oracle knows what its TCP should do.
//	         A router can be a Middlebox
//	End      of a link is impaired (Impair, Rule, Blackhole, Schedule) or has an AQM (SetQueue) or a policer (Police), has a queue
//	         (Queue, QueueStats, SampleQueue, Trace), and takes what nobody has sent (Inject)
//	Peer     is a program: Started, Waiting, Continue, Begin, Wait, Stop
//
// # One guest a spec
//
// In virtual time each spec has a guest of its own, and so a process, a file system and a kernel. Nothing that another spec
// has left is there: no package variable, no file, and nothing that a BeforeAll outside of an Ordered container has set. A
// spec that compares what several others have measured compares zeros, and may well pass. Measure in one spec what it
// compares, or use an Ordered container: it runs whole and in order, in one guest, with its BeforeAll and what its specs
// share. There is no way to know where state is shared otherwise. On the real clock a suite is one process, where such a
// spec depends on the order, and on what a filter leaves out. With tcplab run --share, and so in make lab, several specs of a
// suite run in one guest as well: what such a spec finds there depends on who came before it.
//
// # Peers
//
// A peer that ends as nobody asked for fails the spec, waited for or not: by a crash, by a panic, by the OOM killer,
// with an exit status other than 0 (or than the ExitStatuses of a [peers.Command]). What it said on standard error is
// in the message, and all of it in NAME.stderr.txt. Whatever the lab waits for just then ends at once with that as
// the cause, and so does an Eventually that asks the lab. Signal, Kill and [Peer.Stop] are no faults, nor is what the
// lab ends itself when the spec has ended; [MayFail] allows anything.
//
//	iperf := lab.Start(net.Client(), peers.Command{Path: "iperf3", Args: ...}, harness.MayFail)
//	Expect(iperf.Wait().Command.ExitCode).To(Equal(1))
//
// What a program leaves behind in a host, such as a daemon, is killed with the host.
//
// A spec that needs programs which are not of its suite says so by [Programs], a decorator: they are packed into its guest.
//
// # Evidence
//
// What a scenario watches it starts with one word, before it acts, and reads afterwards. All of it
// becomes part of the spec's record or an artefact beside it, whether it is read or not:
//
//	wire := lab.Capture(net.Client(), net.Server())            // capture.pcapng: both ends, one timeline
//	events := lab.Events()                                     // events.jsonl: the kernel's tracepoints
//	sockets := net.Client().Sockets()                          // sockets.json: sock_diag, when the spec looks
//	samples := net.Client().Sample(10 * time.Millisecond)      // samples.json: the same over time
//	queue := net.ToServer.SampleQueue(10 * time.Millisecond)   // queue.json: a qdisc over time
//	...
//	Expect(wire.Stop()).To(Contain(Handshake()))
//	Expect(events.Stop().States(local, remote)).To(Follow(kernel.SynSent, kernel.Established))
//	Eventually(sockets).Should(HaveState(kernel.TimeWait, 100))
//	Expect(samples.Stop().Connection(local, remote)).To(HaveEach(HaveField("Congestion", "bbr")))
//	Expect(queue.Stop().List()).To(HaveEach(HaveField("Length", BeNumerically("<=", limit))))
//	Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
//
// All of these live alike, and so do rules, traces and schedules: the lab starts them, Stop ends them and returns them, and what the
// spec does not stop the lab does when the spec has ended. A capture, events and samples are read once they are stopped; to read them
// before fails the spec, but for a capture's SoFar. Sockets, rules, traces and middleboxes can be read while they run.
//
// Of looks at sockets in a row with the same states, sockets.json has the last.
//
// A capture that dropped packets, and a recording that lost events, fail the spec, read or not.
// Times of events and samples are since the start of the spec; those of segments since the first
// packet of the capture.
//
// # When a spec fails
//
// Ginkgo prints, beside the failure, where the captures are with their last packets, and what each
// host's counters, queues and sockets (with TCP_INFO) are. The same and more is in the folder failure of the
// record: HOST-sockets.txt and .json, HOST-qdiscs.json, HOST-routes.txt, and in real time what the kernel
// has logged (a guest's console is console.txt).
//
// Whatever a Lab made is gone when the spec has ended, however it ended. What fails in a Lab
// fails the spec, with the line of the spec that asked for it.
//
// # Requirements
//
// A suite needs root and a kernel with sch_netem; specs that record events need tracefs, and those that
// look at sockets inet_diag and tcp_diag. Elsewhere each of its specs is skipped with
// the reason and with a command that works, and in the end standard error says how many were
// and why; with TCPLAB_REQUIRE=1 in the environment they fail instead. "tcplab run" finds or boots such a kernel.
//
// # Environment
//
//	TCPLAB_RESULTS   the folder of a run, to write records and artefacts into; without it,
//	                 results/ beside go.mod gets a folder of its own for each run of ginkgo or go test
//	TCPLAB_CLOCK     "virtual" in a guest: for the record, scenarios do not ask
//	TCPLAB_FAMILY    "6" runs scenarios on IPv6
//	TCPLAB_REQUIRE   "1" makes a failure of what would be skipped for want of something
package harness
