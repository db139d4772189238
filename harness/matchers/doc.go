// Package matchers has Gomega words for evidence of TCP: a few that compose, not one for each
// counter.
//
//	Expect(lab.Counters(client)).To(HaveGrown("TcpExtTCPTimeouts", 1))
//	Expect(lab.Counters(server)).To(HaveGrown("TcpInSegs", BeNumerically(">=", 2)))
//	Expect(wire).To(Contain(Handshake(BeNumerically("~", 50*time.Millisecond, hostDelay))))
//	Expect(wire).To(HaveRetransmissions(3))
//	Expect(syns).To(HaveGaps(TimerWheel, time.Second, 2*time.Second, 4*time.Second))
//
// Where a number is expected, a matcher can stand as well. A failure shows what was expected,
// what was seen, and the evidence around it: the counters that have grown, the packets
// nearby.
//
// The package needs nothing: neither root nor a kernel of any kind.
package matchers
