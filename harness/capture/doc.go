// Package capture records the packets on link ends into one pcapng file.
//
// An end is a network device in a network namespace. A capture covers any
// number of ends, in any namespaces, on one timeline: packets are ordered by
// the kernel's time stamp (nanoseconds), ties by the order of the ends. Each
// packet carries the end it was seen on (the pcapng interface, under the label
// that the caller chose), its direction there (inbound or outbound) and its
// original length. What the kernel could not hand over is counted, per end, in
// the [Summary] and in the file's interface statistics.
//
//	c, err := capture.Start("handshake.pcapng", capture.Config{},
//		capture.Interface{Name: "client/eth0", Device: client.Device()},
//		capture.Interface{Name: "server/eth0", Device: server.Device()})
//	...
//	summary, err := c.Stop()
//
// # What is in the file
//
// Everything in the file comes from the packets: there is no host name, no
// wall clock and no random value in it. In virtual time, where the kernel's
// clock repeats itself, so does the file, byte for byte.
//
// Packets are seen where the kernel hands them to packet sockets: outbound ones
// after the qdisc, right before the driver; inbound ones before the protocol
// stack. So netem on a device's egress acts before its outbound packets are seen.
// What a capture shows can be a super-packet of up to 64 KB that segmentation
// offload has not cut yet, unless the device's GSO is limited to one segment.
//
// With checksum offload, which veth devices have, the checksum of an outbound
// packet is not final when it is captured (TP_STATUS_CSUMNOTREADY), and on veth
// it stays so at the other end. Nothing marks those packets in the file.
// Wireshark does not validate TCP checksums unless told to.
//
// VLAN tags, which the kernel takes out of the packet, are put back.
//
// What is known from elsewhere can be added: comments on packets
// ([Capture.AddComments]), and packets that were dropped before they came to where
// the capture sees them ([Capture.AddDropped]). Those are on interfaces of their own,
// such as "client/eth0 dropped", since they were never transmitted. Wireshark shows
// comments in frame.comment.
//
// # While it runs
//
// The kernel fills a ring of blocks (AF_PACKET, TPACKET_V3, see
// Documentation/networking/packet_mmap.rst) that one goroutine per end copies to
// unnamed spool files beside the output file. [Capture.Stop] merges them into a
// temporary file and renames that to the final path, so whatever is found at the
// path is complete; it needs about twice the file's size on disk meanwhile. If
// the process dies before Stop there is no file, and the spools are gone with it.
//
// # What it needs
//
// Linux with AF_PACKET (CONFIG_PACKET, built in with Debian's kernels) and
// CAP_NET_RAW over the namespaces, such as root has. No cgo, no other program.
//
// # Tests
//
//	go test ./harness/capture                    # what needs root is skipped
//	sudo go test ./harness/capture               # everything
//	sudo go test -run xxx -bench . ./harness/capture
//
// With TCPLAB_REQUIRE=1, tests that cannot run fail instead of being skipped.
// If tshark and capinfos (Debian package tshark) are installed, one test has them
// read a file.
package capture
