// Package harness makes the world of one scenario and takes it down again: hosts, links,
// impairments, peers, captures, counters, and at the end the record of all that.
//
// A scenario is a Ginkgo spec. It makes a [Lab] and asks it for everything else:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
//	func TestHandshake(t *testing.T) { harness.RunSpecs(t, "handshake") }
//
//	var _ = It("is refused with a reset where nobody listens", func(ctx SpecContext) {
//		lab := harness.NewLab(ctx)
//		net := lab.Routed()
//		lab.Impair(net.ToServer, impair.Netem{Delay: 10 * time.Millisecond})
//
//		client := lab.Start(net.Client(), peers.Dial{Connect: harness.Addr(net.Server(), 80)})
//
//		Expect(lab.Wait(client).Connections[0].Err).To(MatchError(unix.ECONNREFUSED))
//		Expect(lab.Counters(net.Server())).To(HaveGrown("TcpOutRsts", 1))
//	})
//
// Whatever a Lab made is gone when the spec has ended, however it ended. What fails in a Lab
// fails the spec, with the line of the spec that asked for it.
//
// # Requirements
//
// A suite needs root and a kernel with sch_netem. Elsewhere each of its specs is skipped with
// the reason and with a command that works; with TCPLAB_REQUIRE=1 in the environment it
// fails instead. "tcplab run" finds or boots such a kernel.
//
// # Environment
//
//	TCPLAB_RESULTS   the folder of a run, to write records and artefacts into; without it,
//	                 results/ beside go.mod gets a folder of its own for each run of ginkgo or go test
//	TCPLAB_CLOCK     "virtual" in a guest: for the record, scenarios do not ask
//	TCPLAB_FAMILY    "6" runs scenarios on IPv6
//	TCPLAB_REQUIRE   "1" makes a failure of what would be skipped for want of something
package harness
