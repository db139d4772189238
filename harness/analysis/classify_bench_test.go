package analysis

import (
	"bufio"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// BenchmarkClassify reads and classifies a capture of a million packets: eight bulk
// transfers side by side, with an ACK for two segments, 1 % lost segments, SACK and
// retransmissions. Beside ours it has tshark do the same, if there is one:
//
//	go test -run xxx -bench Classify -benchtime 1x ./harness/analysis
//
// "tshark/ours" is how often ours is done in the time that tshark takes.
func BenchmarkClassify(b *testing.B) {
	const packets = 1_000_000
	file := millionPackets(b, packets)
	var took time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		r, err := Open(file)
		if err != nil {
			b.Fatal(err)
		}
		n, marked := 0, 0
		for c := range Classify(r.Segments()) {
			n++
			if c.Marks != 0 {
				marked++
			}
		}
		if r.Err() != nil || n != packets || marked < packets/100 {
			b.Fatalf("%d segments, %d marked, error %v", n, marked, r.Err())
		}
		r.Close()
		took += time.Since(start)
	}
	each := took / time.Duration(b.N)
	b.ReportMetric(float64(each)/packets, "ns/packet")
	b.ReportMetric(each.Seconds(), "s/ours")
	if _, err := exec.LookPath("tshark"); err != nil {
		b.Log("no tshark to compare with")
		return
	}
	cmd := tsharkCommand(b, file)
	cmd.Stdout = nil
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	theirs := time.Since(start)
	b.ReportMetric(theirs.Seconds(), "s/tshark")
	b.ReportMetric(theirs.Seconds()/each.Seconds(), "tshark/ours")
}

// BenchmarkAnalyze does all that "tcplab analyze" does with the same capture, but for
// printing it.
func BenchmarkAnalyze(b *testing.B) {
	const packets = 1_000_000
	file := millionPackets(b, packets)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Open(file)
		if err != nil {
			b.Fatal(err)
		}
		report := Analyze(r)
		r.Close()
		again := 0
		for _, c := range report.Conversations {
			again += c.Client.Repeated.Count
		}
		if report.Damaged || report.Segments != packets || len(report.Conversations) != 8 || again < packets/1000 {
			b.Fatalf("%+v, %d conversations, %d sent again", report.Stats, len(report.Conversations), again)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets), "ns/packet")
}

// BenchmarkClassifyOnly is that without reading: segments of one conversation in
// memory.
func BenchmarkClassifyOnly(b *testing.B) {
	segments := randomConversation(3)
	for b.Loop() {
		var c Classifier
		for _, s := range segments {
			c.Add(s)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(segments)), "ns/segment")
}

// millionPackets writes the capture; of each packet the headers only.
func millionPackets(b *testing.B, packets int) string {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "million.pcapng"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buffer := bufio.NewWriterSize(f, 1<<20)
	w, err := pcapgo.NewNgWriter(buffer, layers.LinkTypeEthernet)
	if err != nil {
		b.Fatal(err)
	}
	const flows, mss, headers = 8, 1448, 14 + 20 + 32
	type flow struct {
		data, ack, sack         []byte
		next, lost, acked, dups uint32
		waiting                 bool
	}
	timestamps := Options{HasTimestamps: true, TSVal: 1, TSEcr: 1}
	all := make([]flow, flows)
	for i := range all {
		s := Segment{Src: withPort4(client4, uint16(30000+i)), Dst: server4, TTL: 64, Flags: FlagACK, Window: 500, Length: mss, Options: timestamps}
		all[i].data = wire(b, s, nopTimestamps(s.Options))[:headers]
		s.Src, s.Dst, s.Length = s.Dst, s.Src, 0
		all[i].ack = wire(b, s, nopTimestamps(s.Options))
		s.Options = sack(0, 0)
		all[i].sack = wire(b, s, tcpOptions(s.Options))
		all[i].next, all[i].acked = 1_000_000, 1_000_000
	}
	const seqAt, ackAt, sackAt = 14 + 20 + 4, 14 + 20 + 8, 14 + 20 + 22
	at, n := epoch, 0
	put := func(data []byte, length int) {
		if n == packets {
			return
		}
		n++
		at = at.Add(10 * time.Microsecond)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: length}, data); err != nil {
			b.Fatal(err)
		}
	}
	send := func(c *flow, seq uint32) {
		binary.BigEndian.PutUint32(c.data[seqAt:], seq)
		put(c.data, headers+mss)
	}
	for i := 0; n < packets; i++ {
		c := &all[i%flows]
		send(c, c.next)
		if i%100 == 7 && !c.waiting {
			c.lost, c.waiting, c.dups = c.next, true, 0
		}
		c.next += mss
		switch {
		case c.waiting && c.next-c.lost > mss:
			binary.BigEndian.PutUint32(c.sack[ackAt:], c.lost)
			binary.BigEndian.PutUint32(c.sack[sackAt:], c.lost+mss)
			binary.BigEndian.PutUint32(c.sack[sackAt+4:], c.next)
			put(c.sack, len(c.sack))
			if c.dups++; c.dups == 20 {
				send(c, c.lost)
				c.waiting = false
			}
		case !c.waiting && c.next-c.acked >= 64*mss:
			c.acked += 2 * mss
			binary.BigEndian.PutUint32(c.ack[ackAt:], c.acked)
			put(c.ack, len(c.ack))
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := buffer.Flush(); err != nil {
		b.Fatal(err)
	}
	return f.Name()
}

func withPort4(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// nopTimestamps is the usual order of Linux: two NOPs in front.
func nopTimestamps(o Options) []layers.TCPOption {
	nop := layers.TCPOption{OptionType: optionNOP, OptionLength: 1}
	return append([]layers.TCPOption{nop, nop}, tcpOptions(o)...)
}
