// Package oracle computes what a host's TCP should do, from its sysctls and its kernel's version.
//
//	k, err := oracle.Read(host, version, hz) // or oracle.Running(), or oracle.Defaults(version)
//	syns := k.Connect(oracle.ConnectOptions{})
//
//	lab.Measure("gave up after", connection.ConnectTime, syns.End)
//	harness.CheckEach(lab, "gaps between SYNs", gaps, syns.Gaps[:len(gaps)])
//	Expect(connection.ConnectTime).To(syns.End) // a Span is a Gomega matcher, too
//
// All but [Read], [Running] and [RunningHZ] is arithmetic: no clock, no file, no kernel is asked. Each function names
// where its rule stands: a function of the kernel's source, or an RFC. What is here was read in Linux 6.1.192 and
// 6.12.95 (Debian's); what is newer is said to be, and was read in 7.3.4 or in the changes that brought it.
//
// # Times are ranges
//
// A timer of the kernel is late by up to an eighth (the timer wheel). So the answer to "when" is a [Span]; and where a time is
// compared with what was seen, it can be early by the [Grain] of the evidence. And where a connection's end goes by the time that has passed, the lateness can decide on one retransmission
// more or less: [Retry] has both numbers then. The network's own time is not in a span: add the path's delay where the
// evidence was taken after it.
//
// # What it needs
//
// Nothing: its tests run anywhere with
//
//	go test ./harness/oracle
//
// Those that ask a real kernel need root, and take the kernel's time; run them in a guest, in virtual time:
//
//	tcplab run ./harness/oracle --clock virtual -- -test.v -test.run Kernel
package oracle
