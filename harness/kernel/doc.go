// Package kernel reads what the kernel says about itself: the network counters
// of a namespace, and the version.
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
// # What it needs
//
// A mounted /proc. Neither root nor modules; entering other namespaces is the
// caller's affair.
//
// # Tests
//
//	go test ./harness/kernel
//
// The fixtures in testdata are from Debian 12's Linux 6.1 and from a 6.18.
package kernel
