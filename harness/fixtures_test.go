package harness

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/capture"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/schedule"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// A fixture is a suite that the tests run in a process of its own. What is known of it (its
// failures and where they happen) is written here, as "want" in a comment at the line.
type fixture struct {
	netem bool // it needs netem, and RunSpecs finds out whether it is there
	specs func()
}

// backlog of the fixtures' servers. The peers' default is a sysctl, which some kernels (6.1) do
// not show in namespaces like those of TestNothingStays.
const backlog = 16

var fixtures = map[string]fixture{
	"passes": {specs: func() {
		ginkgo.Describe("a connection", ginkgo.Label("quick"), func() {
			ginkgo.It("is recorded", ginkgo.Label("rfc9293"), func(ctx ginkgo.SpecContext) {
				lab := NewLab(ctx)
				net := lab.Direct(netns.Config{MTU: 1400, ServerSysctls: []netns.Setting{{Key: "net.ipv4.tcp_sack", Value: "0"}}})
				wire := lab.Capture(net.Client().End("eth0"), net.Server().End("eth0"))
				server := lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(7), Backlog: backlog})
				client := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(7), Requests: 3, Size: 100})
				Expect(client.Wait().Echo).NotTo(BeNil())
				server.Wait()
				Expect(wire.Stop().Segments()).To(HaveEach(HaveField("Flags", Not(Equal(analysis.FlagRST)))))
				Expect(net.Client().Counters()).To(HaveKeyWithValue("TcpActiveOpens", int64(1)))
				Expect(net.Server().Sysctl("net.ipv4.tcp_sack")).To(Equal(0))
				again := lab.Capture(net.Server().End("eth0")) // and nobody reads it
				Expect(again).NotTo(BeNil())
				Expect(os.MkdirAll(filepath.Join(lab.Dir(), "notes"), 0o755)).To(Succeed())
				Expect(os.WriteFile(filepath.Join(lab.Dir(), "notes", "own.txt"), []byte("own\n"), 0o644)).To(Succeed())
				lab.Measure("requests", 3, bounds.Between(2, 5), "as asked")
				lab.Measure("requests", 2, bounds.Between(2, 5), "as asked")
			})
		})
		ginkgo.PIt("is pending")
	}},

	"fails": {specs: func() {
		ginkgo.It("fails", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Capture(net.Client())
			busy(lab, net)
			Expect(1).To(Equal(2)) // want: failed
		})
		ginkgo.It("and another passes", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Direct()
		})
	}},

	"panics": {specs: func() {
		ginkgo.It("panics", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Capture(net.Client())
			busy(lab, net)
			panic("out of cheese") // want: panicked
		})
	}},

	"times out": {specs: func() {
		ginkgo.It("times out", ginkgo.SpecTimeout(10*time.Second), func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			server := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog})
			server.Wait() // want: timed out
		})
	}},

	"first of nothing": {specs: func() {
		ginkgo.It("looks at the first of nothing", func(ginkgo.SpecContext) {
			First([]int{}, "segments that close the window") // want: first of nothing
		})
	}},

	"skips": {specs: func() {
		ginkgo.It("skips", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Direct()
			ginkgo.Skip("not on a Sunday")
		})
		ginkgo.It("passes", func() {})
	}},

	"lacks": {specs: func() {
		ginkgo.It("needs what is missing", func() { unavailable(errors.New("there is no such thing here")) })
		ginkgo.It("needs it as well", func() { unavailable(errors.New("there is no such thing here")) })
		ginkgo.It("needs nothing", func() {})
		ginkgo.It("is skipped for another reason", func() { ginkgo.Skip("not on a Sunday") })
	}},
	"lacks a program": {specs: func() {
		ginkgo.It("needs a program", Programs("no-such-program"), func() { ginkgo.Fail("it ran") })
		ginkgo.It("needs nothing", func() {})
	}},
	"lacks and fails": {specs: func() {
		ginkgo.It("needs what is missing", func() { unavailable(errors.New("there is no such thing here")) })
		ginkgo.It("fails", func() { ginkgo.Fail("as always") })
	}},

	"leaves peers": {specs: func() {
		ginkgo.It("leaves peers", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Capture(net.Client())
			busy(lab, net)
		})
	}},

	"leaves a daemon": {specs: func() {
		ginkgo.It("leaves a daemon", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			host := lab.Direct().Server()
			lab.Start(host, this(daemonVariable+"=1")).Wait()
			Expect(host.Processes()).To(HaveLen(1))
		})
	}},

	// Says on descriptor 3 that it is busy, and then waits for whatever the test does to it.
	// Its processes inherit the descriptor, so that it ends with the last of them.
	"waits": {specs: func() {
		ginkgo.Describe("a suite", func() { waits() })
	}},

	// Has to be interrupted twice, after which Ginkgo leaves out what is left of the cleanups.
	"waits twice": {specs: func() {
		held := os.NewFile(3, "held")
		ginkgo.It("waits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Capture(net.Client())
			server, _ := busy(lab, net)
			fmt.Fprintln(held, "busy")
			server.Wait()
		})
		ginkgo.AfterEach(func(ctx ginkgo.SpecContext) {
			fmt.Fprintln(held, "busy")
			<-ctx.Done()
		})
	}},

	"two labs": {specs: func() {
		ginkgo.It("makes two labs", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Direct()
			NewLab(ctx) // want: two labs
		})
	}},
	"two topologies": {specs: func() {
		ginkgo.It("builds two topologies", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Direct()
			lab.Routed() // want: two topologies
		})
	}},
	"two configurations": {specs: func() {
		ginkgo.It("has two configurations", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Dumbbell(2, netns.Config{}, netns.Config{}) // want: two configurations
		})
	}},
	"bad topology": {specs: func() {
		ginkgo.It("has a bad topology", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Direct(netns.Config{MTU: 7}) // want: bad topology
		})
	}},
	"lab of a BeforeEach": {specs: func() {
		ginkgo.BeforeEach(func(ctx ginkgo.SpecContext) {
			NewLab(ctx) // want: BeforeEach
		})
		ginkgo.It("uses the lab of a BeforeEach", func() {})
	}},
	"lab of a BeforeAll": {specs: func() {
		ginkgo.Describe("ordered", ginkgo.Ordered, func() {
			ginkgo.BeforeAll(func(ctx ginkgo.SpecContext) {
				NewLab(ctx) // want: BeforeAll
			})
			ginkgo.It("is first", func() {})
			ginkgo.It("is second", func() {})
		})
	}},
	"lab of a BeforeSuite": {specs: func() {
		ginkgo.BeforeSuite(func(ctx ginkgo.SpecContext) { NewLab(ctx) })
		ginkgo.It("never begins", func() {})
	}},
	"both of a graph": {specs: func() {
		ginkgo.It("impairs both of a graph", func(ctx ginkgo.SpecContext) {
			var graph netns.Graph
			graph.Link(graph.Host("a"), graph.Host("b"))
			lab := NewLab(ctx)
			net := lab.Build(&graph)
			net.Impair(impair.Netem{}) // want: both of a graph
		})
	}},
	"two routes": {specs: func() {
		ginkgo.It("fails on two routes", func(ctx ginkgo.SpecContext) {
			var graph netns.Graph
			client, near, far := graph.Host("client"), graph.Router("near"), graph.Router("far")
			server := graph.Host("server")
			graph.Link(client, near)
			graph.Link(near, far)
			other := graph.Link(near, far)
			graph.Link(far, server)
			graph.Route(client, server, other)
			lab := NewLab(ctx)
			lab.Build(&graph)
			lab.Check("nothing", 1, bounds.Exactly(0), "none") // want: two routes
		})
	}},
	"bad graph": {specs: func() {
		ginkgo.It("has a bad graph", func(ctx ginkgo.SpecContext) {
			var graph netns.Graph
			graph.Link(graph.Host("a"), "b")
			NewLab(ctx).Build(&graph) // want: bad graph
		})
	}},
	"infinite metric": {specs: func() {
		ginkgo.It("has an infinite metric", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Note("share", math.Inf(1)) // want: infinite metric
		})
	}},
	"metric outside": {specs: func() {
		ginkgo.It("waits too long", func(ctx ginkgo.SpecContext) {
			expected := oracle.Between(40*time.Millisecond, 43*time.Millisecond).From("RFC 8985, 7.2")
			lab := NewLab(ctx)
			lab.Measure("probe after", 39*time.Millisecond, expected) // the grain of what is seen
			lab.Measure("probe after", 44*time.Millisecond, expected) // want: metric outside
		})
	}},
	"metric without source": {specs: func() {
		ginkgo.It("knows no reason", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Check("probes", 1, bounds.Exactly(1))
			lab.Measure("probes", 1, bounds.Exactly(1)) // want: metric without source
		})
	}},
	"metric in another unit": {specs: func() {
		ginkgo.It("compares bytes with bits", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Check("sent", bounds.In(8, "bytes"), bounds.AtLeast(1).In("bit")) // want: metric in another unit
		})
	}},
	"bad impairment": {specs: func() {
		ginkgo.It("loses more than there is", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			net.ToServer.Impair(impair.Netem{Loss: impair.RandomLoss{Percent: 130}}) // want: bad impairment
		})
	}},
	"bad peer": {specs: func() {
		ginkgo.It("starts a bad peer", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Client(), peers.Dial{}) // want: bad peer
		})
	}},
	"no such program": {specs: func() {
		ginkgo.It("starts no such program", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Client(), peers.Command{Path: "/no/such/program"}) // want: no such program
		})
	}},
	"peer cannot begin": {specs: func() {
		ginkgo.It("listens twice", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
			lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)}) // want: peer cannot begin
		})
	}},

	"peer exits": {specs: func() {
		ginkgo.It("never looks at a peer that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx) // want: peer exits
			<-lab.Start(lab.Direct().Client(), exits(3)).Done()
		})
	}},
	"peer exits, waited for": {specs: func() {
		ginkgo.It("waits for a peer that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Start(lab.Direct().Client(), exits(3)).Wait() // want: peer exits, waited for
		})
	}},
	"command is never ready": {specs: func() {
		ginkgo.It("waits for a program to listen that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			never := exits(0)
			never.Ready.Port = 80
			lab.Start(lab.Direct().Client(), never) // want: command is never ready
		})
	}},
	"port is taken": {specs: func() {
		ginkgo.It("waits for a program to listen where another one does", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog})
			lab.Start(net.Server(), listens(net.Server().Addr(80))) // want: port is taken
		})
	}},
	"commands that are ready": {specs: func() {
		ginkgo.It("connects when the server listens", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			address := net.Server().Addr(80)
			prepares := exits(3)
			prepares.Ready.End, prepares.ExitStatuses = true, []int{0, 3}
			prepared := lab.Start(net.Server(), prepares)
			Expect(prepared.Done()).To(BeClosed())
			server := lab.Start(net.Server(), listens(address))
			Expect(net.Server().AwaitSockets(1, listening(80))).To(HaveLen(1))
			Expect(lab.Start(net.Client(), peers.Dial{Connect: address}).Wait().Connections[0].Err).To(BeNil())
			Expect(server.Stop().Command.Signal).To(Equal("SIGTERM"))
			never := exits(3)
			never.Ready.Port = 81
			Expect(lab.Start(net.Client(), never, MayFail).Wait().Command.ExitCode).To(Equal(3))
		})
	}},
	"peer is killed": {specs: func() {
		ginkgo.It("never looks at a server that somebody kills", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx) // want: peer is killed
			server, client := busy(lab, lab.Direct())
			kill(server)
			<-server.Done()
			client.Kill() // which is no failure
		})
	}},
	"server is killed": {specs: func() {
		ginkgo.It("waits for the client of a server that somebody kills", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			server, _ := busy(lab, net)
			waiting := lab.Start(net.Client(), peers.Accept{Listen: net.Client().Addr(80), Backlog: backlog})
			time.AfterFunc(50*time.Millisecond, func() { kill(server) })
			waiting.Wait() // want: server is killed
		})
	}},
	"no socket": {specs: func() {
		ginkgo.It("waits for the socket of a server that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Server(), exits(3))
			net.Server().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Listen}, Port: 80}) // want: no socket
		})
	}},
	"no listener": {specs: func() {
		ginkgo.It("waits for the socket of a server that ends in order", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Server(), exits(0))
			net.Server().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Listen}}) // want: no listener
		})
	}},
	"no socket to be seen": {specs: func() {
		ginkgo.It("looks for the socket of a server that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Server(), exits(3))
			Eventually(net.Server().Sockets()).WithTimeout(time.Hour).Should(matchers.HaveState(kernel.Listen)) // want: no socket to be seen
		})
	}},
	"no counter": {specs: func() {
		ginkgo.It("looks for what a client counts that exits", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			lab.Start(net.Client(), exits(3))
			Eventually(func() kernel.Counters {
				return net.Client().Counters() // want: no counter
			}).WithTimeout(time.Hour).Should(HaveKeyWithValue("TcpActiveOpens", int64(1)))
		})
	}},
	"peer exits and spec fails": {specs: func() {
		ginkgo.It("fails for another reason", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			<-lab.Start(lab.Direct().Client(), exits(3)).Done()
			Expect(1).To(Equal(2))
		})
	}},
	// What was asked for, and what the lab does itself, is no failure.
	"peers may fail": {specs: func() {
		ginkgo.It("lets peers fail", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			<-lab.Start(net.Client(), exits(3), MayFail).Done()
			Expect(lab.Start(net.Client(), exits(4), MayFail).Wait().Command.ExitCode).To(Equal(4))
			lab.Start(net.Client(), exits(0)).Wait()
			server := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog}, MayFail)
			kill(server)
			Expect(server.Wait().Err).To(MatchError(ContainSubstring("ended by SIGKILL before it had a result")))
			for _, end := range []func(*Peer){
				func(p *Peer) { p.Kill() },
				func(p *Peer) { Expect(p.Signal(unix.SIGKILL)).To(Succeed()) },
				func(p *Peer) { Expect(p.Signal(unix.SIGTERM)).To(Succeed()) },
				func(p *Peer) { p.Stop() },
			} {
				peer := lab.Start(net.Client(), idles())
				end(peer)
				<-peer.Done()
			}
			busy(lab, net) // and they are left to the lab
		})
	}},

	"endless schedule": {specs: func() {
		ginkgo.It("waits for the end of a schedule that has none", func(ctx ginkgo.SpecContext) {
			s := &Schedule{end: NewLab(ctx).Direct().ToServer, plan: schedule.Schedule{Period: time.Second}}
			s.Wait() // want: endless schedule
		})
	}},

	"explains": {specs: func() {
		ginkgo.It("explains", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			wire := lab.Capture(net.Client(), net.Server())
			server, _ := busy(lab, net)
			server.Started()
			dial := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: peers.UntilStopped})
			dial.Started() // or it would be stopped before it has sent anything
			dial.Stop()
			Expect(wire.Stop()).To(matchers.Contain(matchers.Reset(), 2)) // want: explained
		})
	}},
	"capture drops": {specs: func() {
		ginkgo.It("never looks at its capture", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx) // want: unread capture
			dropping(lab.Capture(lab.Direct().Client()))
		})
		ginkgo.It("reads its capture", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			wire := lab.Capture(lab.Direct().Client())
			dropping(wire)
			Expect(wire.Stop().Segments()).To(BeEmpty()) // want: read capture
		})
	}},
	"running capture": {specs: func() {
		ginkgo.It("reads a capture that runs", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			wire := lab.Capture(lab.Direct().Client())
			Expect(wire).To(matchers.Contain(matchers.Reset(), 0)) // want: running capture
		})
	}},
	"running samples": {specs: func() {
		ginkgo.It("reads samples that are still taken", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Direct().Client().Sample(time.Millisecond).List() // want: running samples
		})
	}},
	"stopped sockets": {specs: func() {
		ginkgo.It("looks once more", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Direct().Client().Sockets().Stop().List() // want: stopped sockets
		})
	}},
	"two filters": {specs: func() {
		ginkgo.It("has two filters", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Direct().Client().Sockets(kernel.SocketFilter{}, kernel.SocketFilter{}) // want: two filters
		})
	}},
	"events of nothing": {specs: func() {
		ginkgo.It("records before it builds", func(ctx ginkgo.SpecContext) {
			NewLab(ctx).Events() // want: events of nothing
		})
	}},
	"bad period": {specs: func() {
		ginkgo.It("samples too fast", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			lab.Direct().ToServer.SampleQueue(time.Microsecond) // want: bad period
		})
	}},
	"observes": {specs: func() {
		ginkgo.It("observes", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			sockets := net.Client().Sockets()
			Expect(sockets).NotTo(matchers.HaveState(kernel.Established))
			samples := net.Client().Sample(time.Millisecond)
			queue := net.ToServer.SampleQueue(time.Millisecond)
			server := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog})
			client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: peers.UntilStopped})
			server.Started()
			Eventually(sockets).Should(matchers.HaveState(kernel.Established, 1))
			Consistently(sockets, 50*time.Millisecond).Should(matchers.HaveState(kernel.Established))
			accepted := net.Server().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
			series := samples.Stop().Connection(accepted[0].Remote, accepted[0].Local)
			Expect(series).NotTo(BeEmpty())
			Expect(series[len(series)-1].TCPInfo.Snd_mss).To(BeEquivalentTo(1448))
			Expect(samples.List()).To(HaveLen(len(samples.List())), "it ends once")
			Expect(queue.Stop().List()).To(HaveEach(And(HaveField("Drops", BeZero()), HaveField("Length", BeZero()))))
			client.Stop()
		})
	}},
	"events": {specs: func() {
		ginkgo.It("records events", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			events := lab.Events(net.Client()) // want: events
			server := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog, Count: 1})
			client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: peers.UntilStopped})
			server.Started()
			connection := client.Stop().Connections[0]
			Expect(connection.Err).To(BeNil())
			states := events.Stop().States(connection.Local, connection.Remote)
			Expect(states.States[:2]).To(Equal([]kernel.State{kernel.SynSent, kernel.Established}))
			Expect(states.Events[0].At).To(And(BeNumerically(">", 0), BeNumerically("<", time.Since(lab.start))))
			Expect(events.States(connection.Remote, connection.Local).States).To(BeEmpty(), "only the client was asked for")
		})
	}},
	"transits": {specs: func() {
		ginkgo.It("crosses", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			wire := lab.Capture(net.Client(), net.Server())
			server := lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(7), Backlog: backlog})
			client := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(7), Requests: 3, Size: 100})
			client.Wait()
			server.Wait()
			sent := wire.Stop().Transits(net.Client().End("eth0"), net.Server().End("eth0"))
			Expect(sent).To(HaveLen(len(wire.Segments(analysis.On("client/eth0"), analysis.Going(analysis.Outbound)))))
			Expect(sent).To(HaveEach(And(
				HaveField("Arrived", HaveExactElements(HaveField("Interface", "server/eth0"))), HaveField("Delay()", BeNumerically(">=", 0)))))
			Expect(wire.Transits(net.Client().End("eth0"), net.Server().End("eth0"), analysis.WithData)).To(HaveLen(3))
			Expect(wire.Datagrams()).To(BeEmpty())
		})
		ginkgo.It("crosses by UDP", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Direct()
			wire := lab.Capture(net.Client(), net.Server())
			receiver := lab.Start(net.Server(), peers.ProbeReceiver{Listen: net.Server().Addr(5005)})
			lab.Start(net.Client(), peers.ProbeSender{Connect: net.Server().Addr(5005), Count: 3, Size: 500}).Wait()
			receiver.Stop()
			sent := wire.Stop().DatagramTransits(net.Client().End("eth0"), net.Server().End("eth0"))
			Expect(sent).To(HaveLen(3))
			Expect(sent).To(HaveEach(And(HaveField("Sent.Length", 500), HaveField("Lost()", false), HaveField("Reordered()", false),
				HaveField("Arrived", HaveExactElements(HaveField("Interface", "server/eth0"))), HaveField("Delay()", BeNumerically(">=", 0)))))
			fromSecond := func(d analysis.Datagram) bool {
				number, ok := peers.ProbeNumber([]byte(d.Payload))
				return ok && number > 0
			}
			Expect(wire.DatagramTransits(net.Client().End("eth0"), net.Server().End("eth0"), fromSecond)).To(HaveLen(2))
		})
	}},

	// The evidence cannot be read any more: the rest is taken down and recorded all the same.
	"no evidence": {specs: func() {
		ginkgo.It("takes the network away", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx) // want: no evidence
			net := lab.Direct()
			lab.Capture(net.Client())
			busy(lab, net)
			lab.Note("answer", 42)
			lab.add(&linkQueue{end: net.ToServer})
			Expect(net.topology.Close()).To(Succeed())
		})
	}},
	"symbolic link": {specs: func() {
		ginkgo.It("leaves a symbolic link", func(ctx ginkgo.SpecContext) { // want: symbolic link
			lab := NewLab(ctx)
			Expect(os.Symlink("/etc/hostname", filepath.Join(lab.Dir(), "hostname"))).To(Succeed())
		})
	}},
	"attempts": {specs: func() {
		attempts := 0
		ginkgo.It("must pass three times", ginkgo.MustPassRepeatedly(3), func(ctx ginkgo.SpecContext) {
			attempts++
			lab := NewLab(ctx)
			lab.Direct()
			lab.Note("attempt", attempts)
		})
		flakes := 0
		ginkgo.It("passes when it is tried again", ginkgo.FlakeAttempts(2), func(ctx ginkgo.SpecContext) {
			flakes++
			lab := NewLab(ctx)
			busy(lab, lab.Direct())
			Expect(os.WriteFile(filepath.Join(lab.Dir(), fmt.Sprintf("attempt-%d", flakes)), nil, 0o644)).To(Succeed())
			Expect(flakes).To(Equal(2))
		})
	}},

	"parallel": {specs: func() {
		for i := range 6 {
			ginkgo.It(fmt.Sprintf("is number %d", i), func(ctx ginkgo.SpecContext) {
				lab := NewLab(ctx)
				busy(lab, lab.Direct())
				lab.Note("number", i)
			})
		}
	}},

	// Each round is a spec that makes and leaves everything; the last looks at what is left.
	"rounds": {specs: func() {
		var before int
		for i := range 12 {
			ginkgo.It(fmt.Sprintf("is round %02d", i), func(ctx ginkgo.SpecContext) {
				if i == 2 { // by then Go has opened what it keeps
					before = descriptors()
				}
				lab := NewLab(ctx)
				net := lab.Routed()
				lab.Capture(net.Client())
				busy(lab, net)
			})
		}
		ginkgo.AfterSuite(func() {
			Expect(descriptors()).To(Equal(before))
			tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
			Expect(err).NotTo(HaveOccurred())
			own, err := os.Readlink("/proc/self/ns/net")
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() []string { // a thread takes a moment to end
				var foreign []string
				for _, task := range tasks {
					if in, err := os.Readlink(task); err == nil && in != own {
						foreign = append(foreign, in)
					}
				}
				return foreign
			}, testenv.Patience).Should(BeEmpty())
		})
	}},

	"netem": {netem: true, specs: func() {
		ginkgo.It("impairs", func(ctx ginkgo.SpecContext) {
			lab := NewLab(ctx)
			net := lab.Routed()
			net.Impair(impair.Netem{Delay: 5 * time.Millisecond})
			net.ToServer.Impair(impair.Netem{Delay: 7 * time.Millisecond, Seed: 99})
			server := lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(7), Backlog: backlog})
			client := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(7)})
			client.Wait()
			server.Wait()
			Expect(net.ToServer.Queue().Packets).To(BeNumerically(">=", 3))
			net.ToClient.ClearImpairment()
		})
		ginkgo.It("needs no lab", func() {})
	}},
}

// dropping makes a capture believe that it dropped packets.
func dropping(c *Capture) { c.running = dropped{c.running} }

type dropped struct{ packetRecorder }

func (d dropped) Stop() (capture.Summary, error) {
	summary, err := d.packetRecorder.Stop()
	summary.Interfaces = slices.Clone(summary.Interfaces)
	summary.Interfaces[0].Dropped = 3
	return summary, err
}

func waits() {
	ginkgo.It("waits", func(ctx ginkgo.SpecContext) {
		lab := NewLab(ctx)
		net := lab.Routed()
		lab.Capture(net.Client().End("eth0"), net.Server().End("eth0"))
		server, _ := busy(lab, net)
		fmt.Fprintln(os.NewFile(3, "held"), "busy")
		server.Wait() // want: interrupted
	})
	ginkgo.It("does not begin", func() {})
}

// busy starts a server and a client that are connected, and another program, which nothing ends.
func busy(lab *Lab, net *Network) (server, client *Peer) {
	ginkgo.GinkgoHelper()
	address := net.Server().Addr(80)
	server = lab.Start(net.Server(), peers.Accept{Listen: address, Backlog: backlog})
	client = lab.Start(net.Client(), peers.Dial{Connect: address, Hold: peers.UntilStopped})
	client.Started()
	lab.Start(net.Client(), idles())
	return server, client
}

// idles is a program that nothing ends.
func idles() peers.Command { return this(idleVariable + "=1") }

// exits is a program that says something on standard error, and exits with that status.
func exits(status int) peers.Command { return this(fmt.Sprintf("%s=%d", exitVariable, status)) }

// listens is a program that takes a while until it listens.
func listens(address netip.AddrPort) peers.Command {
	program := this(listenVariable + "=" + address.String())
	program.Ready.Port = int(address.Port())
	return program
}

func this(environment string) peers.Command {
	ginkgo.GinkgoHelper()
	path, err := os.Executable()
	Expect(err).NotTo(HaveOccurred())
	return peers.Command{Path: path, Env: []string{environment}}
}

// kill kills a peer as the kernel or somebody else would.
func kill(p *Peer) {
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		panic(err)
	}
}

func descriptors() int {
	ginkgo.GinkgoHelper()
	entries, err := os.ReadDir("/proc/self/fd")
	Expect(err).NotTo(HaveOccurred())
	return len(entries)
}

//go:embed fixtures_test.go
var fixturesSource string

// want returns "file:line" of the comment "// want: what" in this file.
func want(what string) string {
	for i, line := range strings.Split(fixturesSource, "\n") {
		if strings.HasSuffix(line, "// want: "+what) {
			return fmt.Sprintf("fixtures_test.go:%d", i+1)
		}
	}
	return "no line has the comment: want: " + what
}
