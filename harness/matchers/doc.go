// Package matchers has Gomega words for evidence of TCP: a few that compose, not one for each
// counter.
//
//	Expect(client.Counters()).To(HaveGrown("TcpExtTCPTimeouts", 1))
//	Expect(server.Counters()).To(HaveGrown("TcpInSegs", BeNumerically(">=", 2)))
//	Expect(client.Counters()).To(HaveCounters{"TcpRetransSegs": 2, "TcpExtTCPTimeouts": 0})
//	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> ."))
//	Expect(wire).To(Contain(Handshake(BeNumerically("~", 50*time.Millisecond, hostDelay))))
//	Expect(wire).To(Contain(HandshakeWithECN(analysis.ECNAccurate), 1))
//	Expect(wire).To(Contain(SYN(HaveField("MSS", BeEquivalentTo(1460))), 2))
//	Expect(wire).To(Contain(FourWayClose(client)))
//	Expect(wire).NotTo(Contain(Reset()))
//	Expect(wire).To(Contain(Segments("pure ACKs", pureACKs), BeNumerically("<", 10)))
//	Expect(events.Stop()).To(HaveRetransmissions(3))
//	Expect(events.States(local, remote)).To(Follow(kernel.SynSent, kernel.Established))
//	Eventually(client.Sockets()).Should(HaveState(kernel.TimeWait, 100))
//
// Where a number is expected, a matcher can stand as well. A failure shows what was expected,
// what was seen, and the evidence around it: the ten packets nearby with the numbers of their frames
// and, of a capture, its file; the counters that have grown; the sockets with their TCP_INFO; the
// events of the connection. What else there is, a Lab shows after it.
//
// The package needs nothing: neither root nor a kernel of any kind.
package matchers
