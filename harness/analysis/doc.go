// Package analysis explains packet captures: TCP segments, conversations, retransmissions and their causes.
//
// It reads pcapng and pcap files, of either byte order and compressed with gzip
// or not, and decodes the TCP segments in them, over IPv4 and IPv6, on all common link
// layers and in all common tunnels (docs/analysis.md has the list). Everything else works on sequences of segments,
// iter.Seq[Segment], which filters and slices of segments make as well:
//
//	segments, err := analysis.ReadFile("bulk.pcapng")
//	...
//	sent := analysis.Where(slices.Values(segments), analysis.On("client/eth0"), analysis.From(client))
//	for r := range analysis.Retransmissions(sent) {
//		fmt.Println(r.Segment, r.Again)
//	}
//
// [Classify] marks every segment with Wireshark's tcp.analysis flags, and
// [Conversations] sums up each connection: why segments were retransmitted, who closed
// first, and findings in plain words:
//
//	for _, c := range analysis.Conversations(analysis.Classify(reader.Segments())) {
//		for _, f := range c.Findings {
//			fmt.Println(f.Kind, f.Seen, f.Cause, f.Frames)
//		}
//	}
//
// [Analyze] does all of that with a file, and its [Report] writes itself as text or JSON,
// which is what "tcplab analyze" prints. docs/analysis.md explains how to read it.
//
// Findings are in the files find_*.go: the comment of each function says what evidence it
// demands, what else looks like it, and how the two are told apart.
//
// UDP datagrams are read by [ReadDatagrams]. [Transits] follows them from one place of a capture to another, as it does
// segments: what was lost, duplicated, reordered, and how long the rest took.
//
// For a file that is too large to keep in memory, range over [Reader.Segments]
// instead, and ask [Reader.Err] afterwards.
//
// A capture of several interfaces has a segment once for each interface that it
// passed. Functions that follow connections keep the interfaces apart; to count
// or to measure gaps, choose one with [On].
//
// Lengths come from the IP header, so it does not matter where a snap length cut
// the packets off, as long as the headers are there; a shortage of options is
// marked. Checksums are not looked at: with checksum offload they are not final
// in a capture, and what netem corrupted is reported as it is.
//
// # What it needs
//
// Nothing: neither root, nor the kernel, nor other programs. Some tests compare with
// tshark 4.0 and skip themselves without it (TCPLAB_REQUIRE_TSHARK=1: they fail), and one
// needs root, netem and tracefs (TCPLAB_REQUIRE=1).
//
// # Tests
//
//	go test ./harness/analysis
//	go test -run xxx -bench . ./harness/analysis
//	go test -run xxx -fuzz FuzzReader ./harness/analysis
//	go test -run xxx -fuzz FuzzClassify ./harness/analysis
//	go test -run xxx -fuzz FuzzDecode ./harness/analysis/internal/packet
//	TCPLAB_SEEDS=5000 go test -v -run AgreesOnRandom ./harness/analysis
//	TCPLAB_CAPTURES=$PWD/results go test -v -run 'AgreesOnCaptures|InWireshark' ./harness/analysis
//	go test -run ReportText -update ./harness/analysis      # and read testdata/cases.txt
//	tcplab run ./harness/analysis --clock virtual -- -test.v -test.run KernelTells
package analysis
