// Package kernel reads what the kernel reports about a network namespace: its counters,
// its TCP sockets and its qdiscs, and the tracepoints of its connections.
//
// # Counters
//
// [ReadCounters] reads all counters of IP, ICMP, TCP, UDP and MPTCP, under the
// names that nstat(8) prints. A test is interested in differences:
//
//	before, err := kernel.ReadCounters(host)
//	...
//	after, err := kernel.ReadCounters(host)
//	n, err := after.Since(before).Get("TcpRetransSegs")
//
// Where a name comes from, and what it counts:
//
//	/proc/net/snmp     Ip, Icmp, Tcp, Udp   RFC 1213, 4293, 4022, 4113
//	/proc/net/netstat  TcpExt, IpExt, MPTcpExt   include/uapi/linux/snmp.h, net/mptcp/mib.h
//	/proc/net/snmp6    Ip6, Icmp6, Udp6     RFC 4293, 2466, 4113
//
// and Documentation/networking/snmp_counter.rst explains many of them. The set
// depends on the kernel's version and configuration, so asking for a counter that
// the kernel does not have is an error and not zero.
//
// # Sockets
//
// [ReadSockets] lists the TCP sockets of a host by sock_diag(7): states, queues,
// timers, TCP_INFO, congestion control, memory. [StartSampling] does so again and
// again, and [AwaitSockets] until they are as wanted. [OpenSockets] is for a machine with
// very many.
//
// # Qdiscs
//
// [ReadQdiscs] lists the queueing disciplines of a host with what they counted, and
// [StartSamplingQdisc] follows one: what waited in it, and when it dropped packets.
//
// # Events
//
// [StartEvents] records changes of state, retransmissions, resets, dropped packets
// and congestion windows, by the kernel's tracepoints, and [PathOf] returns the states
// that one side of a connection went through:
//
//	events, err := kernel.StartEvents(kernel.EventConfig{})
//	...
//	list, lost, err := events.Stop()
//
// It works without BPF: events are read from tracefs, in the binary form of its
// ring buffer. The files "format" say where the fields are, which differs between
// kernels; the text form would have to be taken apart by a pattern for each kernel,
// has times of whole microseconds only, and lacks the addresses of sockets and
// packets, by which events are related. Pages are understood on little-endian
// machines.
//
// Starting and stopping takes 10 milliseconds or less, in virtual time some 20. Where
// there is no [PreparedInstance], it takes 100 to 200 ms more of virtual time before
// Linux 6.6: the kernel makes some thousand files. A guest has one.
//
// # What it needs
//
// A mounted /proc. Counters and sockets need neither root nor, for the former,
// modules; sockets need inet_diag and tcp_diag ([ErrNoSockDiag]). Events need root
// and tracefs ([ErrNoTracefs]). Entering other namespaces is the caller's affair.
//
// # Tests
//
//	go test ./harness/kernel                             # skips what is missing
//	tcplab run ./harness/kernel --clock virtual          # all, in a guest
//
// The fixtures in testdata are from Debian 12's Linux 6.1 and 6.12 (backports) and
// from a 6.18.
package kernel
