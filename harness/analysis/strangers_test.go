package analysis

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Captures that other people make are not clean: offload, tunnels, packets that are there twice, one direction, a clock that goes back, a
// beginning or an end in the middle. Each kind below was seen in public captures, or named a wrong cause.

// stranger is a capture of such a kind, made by hand.
type stranger struct {
	name  string
	lines []line
	edit  func([]Segment) []Segment     // makes TTLs, copies, ports
	icmp  func([]Segment) []icmpMessage // what routers say
	want  string                        // the kinds of all findings, in order
	says  []string                      // what is in their texts
	only  string                        // the family that it is of, if it is about what the other lacks
}

// icmpMessage is an error of a router about a segment.
type icmpMessage struct {
	at         time.Duration
	from       netip.Addr
	about      Segment
	kind, code uint8
	mtu        uint16
}

var (
	router4 = netip.MustParseAddr("203.0.113.9")
	router6 = netip.MustParseAddr("2001:db8:9::9")
)

func (m icmpMessage) wire(t testing.TB) []byte {
	t.Helper()
	quoted := wire(t, m.about, tcpOptions(m.about.Options))[14:]
	from, to := m.from.AsSlice(), m.about.Src.Addr().AsSlice()
	var all []gopacket.SerializableLayer
	if m.from.Is4() {
		all = []gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 60, Protocol: layers.IPProtocolICMPv4, SrcIP: from, DstIP: to},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(m.kind, m.code), Seq: m.mtu},
			gopacket.Payload(quoted[:28]), // no more than 8 bytes of TCP (RFC 792)
		}
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: layers.IPProtocolICMPv6, SrcIP: from, DstIP: to}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(m.kind, m.code)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		all = []gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6},
			ip, icmp, gopacket.Payload(slices.Concat([]byte{0, 0, byte(m.mtu >> 8), byte(m.mtu)}, quoted[:min(len(quoted), 200)])),
		}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// file writes the capture as a pcap file.
func (s *stranger) file(t testing.TB, c, v netip.AddrPort) []byte {
	t.Helper()
	segments, _ := segmentsOf(s.lines, c, v, 1000, 2000)
	var records []record
	if s.icmp != nil {
		for _, m := range s.icmp(segments) {
			records = append(records, record{at: m.at, data: m.wire(t)})
		}
	}
	if s.edit != nil {
		segments = s.edit(segments)
	}
	for _, x := range segments {
		r := record{at: x.At, data: wire(t, x, tcpOptions(x.Options))}
		at := len(records)
		if s.icmp != nil {
			at, _ = slices.BinarySearchFunc(records, x.At, func(r record, at time.Duration) int {
				if r.at < at {
					return -1
				}
				return 1
			})
		}
		records = slices.Insert(records, at, r)
	}
	return pcap(binary.LittleEndian, true, records...)
}

func analyzed(t testing.TB, file []byte) *Report {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	report := Analyze(r)
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return report
}

// said is all that a report's findings say.
func said(r *Report) (kinds, text string) {
	var all []string
	for _, c := range r.Conversations {
		for _, f := range c.Findings {
			all = append(all, string(f.Kind))
			text += fmt.Sprintln(f.Kind, f.Host, f.Seen, f.Cause, f.Next, f.Frames)
		}
	}
	return strings.Join(all, " "), text
}

func TestStrangersCaptures(t *testing.T) {
	families := map[string][2]netip.AddrPort{"IPv4": {client4, server4}, "IPv6": {client6, server6}}
	for _, kind := range slices.Sorted(maps.Keys(strangers)) {
		captures := strangers[kind]()
		if len(captures) < 3 {
			t.Errorf("%s: %d captures", kind, len(captures))
		}
		for _, s := range captures {
			for family, ends := range families {
				if s.only != "" && s.only != family {
					continue
				}
				t.Run(kind+"/"+s.name+"/"+family, func(t *testing.T) {
					report := analyzed(t, s.file(t, ends[0], ends[1]))
					checkRendering(t, report)
					got, text := said(report)
					if got != s.want {
						t.Errorf("%q, want %q\n%s", got, s.want, text)
					}
					for _, part := range s.says {
						if family == "IPv6" {
							part = strings.NewReplacer(router4.String(), router6.String(), client4.Addr().String(), client6.Addr().String(), server4.Addr().String(), server6.Addr().String()).Replace(part)
						}
						if !strings.Contains(text, part) {
							t.Errorf("%q is not in\n%s", part, text)
						}
					}
				})
			}
		}
	}
}

// laterPacket has a packet of another connection, five seconds after the others.
func laterPacket(segments []Segment) []Segment {
	other := segments[len(segments)-1]
	other.Src, other.Dst = netip.AddrPortFrom(other.Dst.Addr(), 443), netip.AddrPortFrom(other.Src.Addr(), 40001)
	other.Flags, other.At = ackf, other.At+5*time.Second
	return append(segments, other)
}

// turned has the roles exchanged behind the handshake.
func turned(lines []line) []line {
	all := slices.Clone(lines)
	for i := 3; i < len(all); i++ {
		all[i].server = !all[i].server
	}
	return all
}

// stamped sets timestamps by the time in ms, and in what each echoes the other's last.
func stamped(segments []Segment) []Segment {
	last := map[netip.AddrPort]uint32{}
	for i := range segments {
		s := &segments[i]
		s.Options.HasTimestamps, s.Options.TSVal, s.Options.TSEcr = true, 1000+uint32(s.At/ms), last[s.Dst]
		last[s.Src] = s.Options.TSVal
	}
	return segments
}

// again is a segment, and its retransmissions after the given times.
func again(l line, after ...time.Duration) []line {
	all := []line{l}
	for _, d := range after {
		l.after = d
		all = append(all, l)
	}
	return all
}

func timeouts(first time.Duration, n int) (all []time.Duration) {
	for range n {
		all = append(all, first)
		first *= 2
	}
	return all
}

// twice has each packet a second time: later, one hop on.
func twice(delay time.Duration, hops uint8, number bool) func([]Segment) []Segment {
	return func(segments []Segment) []Segment {
		var all []Segment
		for i, s := range segments {
			if number && s.Src.Addr().Is4() {
				s.ID = uint16(100 + i)
			}
			all = append(all, s)
			s.At += delay
			s.TTL -= hops
			all = append(all, s)
		}
		slices.SortStableFunc(all, func(a, b Segment) int { return int(a.At - b.At) })
		return all
	}
}

// exchanges are requests of the client and answers of the server, behind a handshake.
func exchanges(n int, request, answer int, think time.Duration, ack bool) []line {
	lines := opened(usual, usual)
	seq, ackn := uint32(1), uint32(1)
	for range n {
		lines = append(lines, client(ms, ackf|FlagPSH, seq, ackn, request, 0))
		seq += uint32(request)
		wait := 20 * ms
		if ack {
			lines = append(lines, server(20*ms, ackf, ackn, seq, 0, 0))
			wait = 0
		}
		lines = append(lines, server(wait+think, ackf|FlagPSH, ackn, seq, answer, 0))
		ackn += uint32(answer)
		lines = append(lines, client(100*µs, ackf, seq, ackn, 0, 0))
	}
	return lines
}

// closed ends what goes before: by the client's FIN, and the server's.
func closed(lines []line, c, s uint32) []line {
	return append(lines, client(ms, ackf|FlagFIN, c, s, 0, 0), server(20*ms, ackf|FlagFIN, s, c+1, 0, 0), client(100*µs, ackf, c+1, s+1, 0, 0))
}

// bulk are n full segments, an ACK for two of each.
func bulk(n, size int, every time.Duration) []line {
	lines := opened(usual, usual)
	for i := range n {
		lines = append(lines, client(every, ackf, 1+uint32(i*size), 1, size, 0))
		if i%2 == 1 {
			lines = append(lines, server(20*ms, ackf, 1, 1+uint32((i+1)*size), 0, 0))
		}
	}
	return lines
}

const (
	ae5   = FlagAE | FlagECE // ACE 5: nothing was marked
	ace2  = FlagCWR
	acece = FlagAE | FlagCWR | FlagECE
)

// strangers are the captures by kind.
var strangers = map[string]func() []stranger{
	"accurate ECN, nothing marked": func() []stranger {
		var all []stranger
		for _, n := range []int{1, 5, 40} {
			lines := exchanges(n, 78, 1448, ms, true)
			for i := range lines {
				lines[i].Flags |= ae5
			}
			lines[0].Flags = FlagSYN | acece
			lines[1].Flags = FlagSYN | ackf | ace2
			lines[2].Flags = ackf | ace2
			all = append(all, stranger{name: fmt.Sprint(n), lines: lines})
		}
		return append(all, stranger{name: "fuzzed, without ECN", lines: func() []line {
			lines := exchanges(2, 10, 10, ms, true)
			lines[4].Flags |= FlagECE
			return lines
		}()}, stranger{name: "fuzzed, without the handshake", lines: exchanges(3, 10, 10, ms, true)[3:], edit: func(s []Segment) []Segment {
			s[2].ECN, s[4].Flags = 3, s[4].Flags|FlagECE|FlagAE
			return s
		}})
	},
	"never acknowledged, and no evidence of a size": func() []stranger {
		var all []stranger
		for _, n := range []int{648, 1460, 536} {
			data := client(0, ackf|FlagPSH, 1, 1, n, 0)
			all = append(all,
				stranger{name: fmt.Sprint(n, " in mid-connection"), want: "unanswered-data", says: []string{"the same segment 6 times"},
					lines: append(append([]line{data}, server(100*µs, ackf, 1, 1, 0, 0)), again(data, timeouts(206*ms, 5)...)[1:]...)},
				stranger{name: fmt.Sprint(n, " after the handshake"), want: "unanswered-data",
					lines: join(opened(usual, usual), again(data, timeouts(300*ms, 4)...))},
				stranger{name: fmt.Sprint(n, " of the server"), want: "unanswered-data",
					lines: turned(join(opened(usual, usual), again(data, timeouts(300*ms, 4)...)))})
		}
		all = append(all, stranger{name: "and what is behind it came", want: "unanswered-data", says: []string{"has got what comes behind it (SACK)"}, lines: join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 1000, 0), client(µs, ackf, 1001, 1, 1000, 0), server(20*ms, ackf, 1, 1, 0, 0).opt(sack(1001, 2001)),
		}, again(client(300*ms, ackf, 1, 1, 1000, 0), timeouts(600*ms, 3)...))})
		// What is small enough fails as well: the host is gone.
		return append(all, stranger{name: "small ones behind it fail, too", want: "unanswered-data", lines: join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 200, 0), server(20*ms, ackf, 1, 201, 0, 0), client(ms, ackf, 201, 1, 1460, 0), client(µs, ackf, 1661, 1, 100, 0),
		}, again(client(300*ms, ackf, 201, 1, 1460, 0), timeouts(600*ms, 3)...))})
	},
	"captured twice": func() []stranger {
		all := []stranger{}
		for _, c := range []struct {
			name  string
			delay time.Duration
			hops  uint8
			ids   bool
			lines []line
			n     int
		}{
			{"both sides of a router", 2 * ms, 1, true, exchanges(2, 300, 1000, ms, true), 11},
			{"copies interleave", 40 * ms, 2, true, bulk(40, 1000, 200*µs), 63},
			{"no identification", 3 * ms, 1, false, exchanges(3, 300, 1000, ms, true), 15},
			{"a bridge and its port", 20 * µs, 0, true, exchanges(3, 300, 1000, ms, true), 15},
		} {
			s := stranger{name: c.name, lines: c.lines, edit: twice(c.delay, c.hops, c.ids), want: "captured-twice"}
			if c.hops > 0 || c.ids {
				s.says = []string{"segments are in the capture before"}
			}
			all = append(all, s)
		}
		return all
	},
	"accepts with data only": func() []stranger {
		ack := client(100*µs, ackf, 1, 1, 0, 0)
		synack := func(after time.Duration) line { return server(after, FlagSYN|ackf, 0, 1, 0, 0).opt(usual) }
		end := []line{client(2*time.Second, ackf|FlagPSH, 1, 1, 100, 0), server(20*ms, ackf, 1, 101, 0, 0), server(ms, ackf|FlagPSH, 1, 101, 200, 0), client(ms, ackf, 101, 201, 0, 0)}
		return []stranger{
			{name: "once", lines: join(opened(usual, usual), []line{synack(time.Second), ack}, end), want: "handshake-ignored", says: []string{"TCP_DEFER_ACCEPT"}},
			{name: "three times", lines: join(opened(usual, usual), []line{synack(time.Second), ack, synack(2 * time.Second), ack, synack(4 * time.Second), ack}, end), want: "handshake-ignored", says: []string{"3 times"}},
			{name: "to the end", lines: join(opened(usual, usual), []line{synack(time.Second), ack}), want: "handshake-ignored"},
			{name: "a SYN-ACK is lost in front of the client", lines: join(opened(usual, usual)[:2], []line{synack(time.Second), ack}, end), want: "lost-syn"},
		}
	},
	"only FINs again": func() []stranger {
		var all []stranger
		for _, n := range []int{1, 2, 4} {
			fin := client(ms, ackf|FlagFIN, 101, 1, 0, 0)
			lines := join(opened(usual, usual), []line{client(ms, ackf, 1, 1, 100, 0), server(20*ms, ackf, 1, 101, 0, 0)}, again(fin, timeouts(240*ms, n)...))
			all = append(all, stranger{name: fmt.Sprint(n, ", no answer"), lines: lines},
				stranger{name: fmt.Sprint(n, ", by the server, and an answer"), lines: turned(append(lines, server(20*ms, ackf|FlagFIN, 1, 102, 0, 0)))})
		}
		return all
	},
	"keep-alives with a byte": func() []stranger {
		var all []stranger
		for _, n := range []int{1, 3, 10} {
			lines := exchanges(1, 100, 100, ms, true)
			for range n {
				lines = append(lines, client(30*time.Second, ackf, 100, 101, 1, 0), server(20*ms, ackf, 101, 101, 0, 0).opt(sack(100, 101)))
			}
			all = append(all, stranger{name: fmt.Sprint(n), lines: lines})
		}
		lines := exchanges(1, 100, 100, ms, true)
		for range 3 {
			lines = append(lines, server(30*time.Second, ackf, 100, 101, 1, 0), client(20*µs, ackf, 101, 101, 0, 0).opt(sack(100, 101)))
		}
		last := exchanges(1, 1, 100, ms, true) // what was sent is that byte
		last = append(last, client(30*time.Second, ackf, 1, 101, 1, 0), server(20*ms, ackf, 101, 2, 0, 0).opt(sack(1, 2)))
		return append(all, stranger{name: "of the server", lines: lines}, stranger{name: "of a request of one byte", lines: last})
	},
	"one byte is sent again": func() []stranger {
		var all []stranger
		for _, n := range []int{2, 3, 5} {
			b := client(ms, ackf|FlagPSH, 2, 2, 1, 0)
			lines := join(exchanges(1, 1, 1, ms, false), again(b, timeouts(240*ms, n)...))
			all = append(all, stranger{name: fmt.Sprint(n), lines: lines, want: "unanswered-data", says: []string{fmt.Sprintf("the same segment %d times", n+1)}},
				stranger{name: fmt.Sprint(n, ", and got"), lines: append(slices.Clone(lines), server(20*ms, ackf, 2, 3, 0, 0)), want: "lossy-link"})
		}
		return all
	},
	"a large MSS and small messages": func() []stranger {
		lo := usual
		lo.MSS, lo.WindowScale = 65495, 7
		small := func(n, size int) []line {
			lines := exchanges(n, size, size, ms, false)
			for i := range lines {
				lines[i].Window = 512
			}
			lines[0].Options, lines[1].Options = lo, lo
			return lines
		}
		return []stranger{
			{name: "20 of 100 bytes", lines: small(20, 100)},
			{name: "200 of a byte", lines: small(200, 1)},
			{name: "30 of 8,000 bytes", lines: small(30, 8000)},
			{name: "one after the other, on Ethernet", lines: func() []line {
				lines := bulk(40, 50, 20*ms)
				for i := range lines {
					lines[i].Window = 400 // of 1,600 bytes
				}
				return lines
			}()},
		}
	},
	"one direction": func() []stranger {
		// Its lines have the times of those that are left out.
		keep := func(server bool) func([]Segment) []Segment {
			return func(segments []Segment) []Segment {
				return slices.DeleteFunc(segments, func(s Segment) bool { return (s.Src.Port() == 80) != server })
			}
		}
		var all []stranger
		for _, n := range []int{1, 10} {
			all = append(all,
				stranger{name: fmt.Sprint(n, ", the client's"), lines: closed(exchanges(n, 300, 1000, ms, true), uint32(1+300*n), uint32(1+1000*n)), edit: keep(false), want: "one-direction", says: []string{"Only packets of the client"}},
				stranger{name: fmt.Sprint(n, ", the server's"), lines: exchanges(n, 300, 1000, ms, true), edit: keep(true), want: "one-direction", says: []string{"Only packets of the server"}})
		}
		all = append(all, stranger{name: "in mid-connection", lines: exchanges(5, 300, 1000, ms, true)[3:], edit: keep(true), want: "one-direction"})
		return append(all, stranger{name: "and SYNs that got an answer as well as not", lines: exchanges(2, 300, 1000, ms, true), edit: func(segments []Segment) []Segment {
			all := keep(false)(segments)
			for i := range 3 {
				syn := all[0]
				syn.Src = netip.AddrPortFrom(syn.Src.Addr(), uint16(50000+i))
				syn.At = time.Duration(i) * time.Millisecond
				again := syn
				again.At += time.Second
				all = append(all, syn, again)
			}
			slices.SortStableFunc(all, func(a, b Segment) int { return int(a.At - b.At) })
			return all
		}, want: "one-direction"})
	},
	"the capture ends": func() []stranger {
		syn := client(ms, FlagSYN, 0, 0, 0, 0).opt(usual)
		other := func(segments []Segment) []Segment { // the last packets are of another connection
			for i := range segments {
				if SYNs(segments[i]) && i > 0 {
					segments[i].Src = netip.AddrPortFrom(segments[i].Src.Addr(), 40001)
				}
			}
			return segments
		}
		return []stranger{
			{name: "with a SYN", lines: append(exchanges(1, 300, 1000, ms, false), syn), edit: other},
			{name: "half a second after a SYN", lines: join(exchanges(1, 300, 1000, ms, false), []line{syn, client(500*ms, ackf, 301, 1001, 10, 0)}), edit: other},
			{name: "and a SYN is all", lines: []line{syn}},
			{name: "two seconds after a SYN", lines: join(exchanges(1, 300, 1000, ms, false), []line{syn, client(2*time.Second, ackf, 301, 1001, 10, 0)}), edit: other, want: "unanswered-syn"},
			{name: "after a SYN and another", lines: join(exchanges(1, 300, 1000, ms, false), again(syn, time.Second)), edit: other, want: "unanswered-syn"},
			{name: "with data", lines: append(exchanges(1, 300, 1000, ms, false), client(ms, ackf, 301, 1001, 300, 0))},
		}
	},
	"closes its window after the end": func() []stranger {
		end := closed(exchanges(1, 100, 100, ms, false), 101, 101)
		rst := append(exchanges(1, 100, 100, ms, false), server(ms, FlagRST|ackf, 101, 101, 0, 0), client(ms, ackf, 101, 101, 0, 0).win(0))
		return []stranger{
			{name: "in TIME-WAIT", lines: join(end, []line{server(220*ms, ackf|FlagFIN, 101, 102, 0, 0), client(100*µs, ackf, 102, 102, 0, 0).win(0)})},
			{name: "after the other's FIN", lines: join(exchanges(1, 100, 100, ms, false), []line{server(ms, ackf|FlagFIN, 101, 101, 0, 0), client(ms, ackf, 101, 102, 0, 0).win(0)})},
			{name: "the server", lines: join(exchanges(1, 100, 100, ms, false), []line{client(ms, ackf|FlagFIN, 101, 101, 0, 0), server(ms, ackf, 101, 102, 0, 0).win(0)})},
			{name: "after a reset", lines: rst, want: "reset"},
			{name: "before the end", lines: append(exchanges(1, 100, 100, ms, false), client(ms, ackf, 101, 101, 0, 0).win(0), client(time.Second, ackf, 101, 101, 0, 0)), want: "closed-window", says: []string{client4.Addr().String(), "for 1 s"}},
		}
	},
	"a reset that somebody else sent": func() []stranger {
		foreign := func(frame int, ttl uint8) func([]Segment) []Segment {
			return func(segments []Segment) []Segment { segments[frame-1].TTL = ttl; return segments }
		}
		reset := server(10*ms, FlagRST|ackf, 0, 1, 0, 0)
		works := func(at int, r line, lines []line) []line { return slices.Insert(slices.Clone(lines), at, r) }
		return []stranger{
			{name: "before the SYN-ACK", lines: works(1, reset, exchanges(1, 300, 1000, ms, false)), edit: foreign(2, 200), want: "reset", says: []string{"200 against 64", "machine on the path"}},
			{name: "before the SYN-ACK, with the same TTL", lines: works(1, reset, exchanges(4, 300, 1000, ms, true)), want: "reset", says: []string{"a SYN-ACK came all the same"}},
			{name: "in mid-connection", lines: works(4, server(ms, FlagRST|ackf, 1, 301, 0, 0), exchanges(2, 300, 1000, ms, false)), edit: foreign(5, 120), want: "reset", says: []string{"120 against 64", "went on after it"}},
			{name: "of the server, and the end", lines: append(exchanges(1, 300, 1000, ms, false), server(ms, FlagRST|ackf, 1001, 301, 0, 0)), edit: foreign(7, 255), want: "reset", says: []string{"255 against 64"}},
			{name: "of the server itself", lines: []line{client(0, FlagSYN, 0, 0, 0, 0).opt(usual), reset}, want: "refused"},
			{name: "of the server itself, and it listens later", lines: append([]line{client(0, FlagSYN, 0, 0, 0, 0).opt(usual), reset, client(500*ms, FlagSYN, 0, 0, 0, 0).opt(usual), server(ms, FlagSYN|ackf, 0, 1, 0, 0).opt(usual)}, client(ms, ackf, 1, 1, 0, 0)), want: "refused"},
		}
	},
	"a reset for data that never came": func() []stranger {
		end := join(exchanges(1, 100, 100, ms, false), []line{client(ms, ackf|FlagFIN, 101, 101, 0, 0), server(20*ms, ackf, 101, 102, 0, 0)})
		return []stranger{
			{name: "for the FIN, a minute later", lines: join(end, []line{server(61*time.Second, ackf|FlagFIN, 101, 102, 0, 0), client(ms, FlagRST, 102, 0, 0, 0)}), want: "reset", says: []string{"had closed and forgotten"}},
			{name: "for an ACK", lines: join(end, []line{server(2*time.Second, ackf, 101, 102, 0, 0), client(ms, FlagRST, 102, 0, 0, 0)}), want: "reset", says: []string{"had closed and forgotten"}},
			{name: "after all was acknowledged", lines: append(closed(exchanges(1, 100, 100, ms, false), 101, 101), client(ms, FlagRST, 102, 0, 0, 0))},
			{name: "for data", lines: join(end, []line{server(ms, ackf, 101, 102, 500, 0), client(ms, FlagRST, 102, 0, 0, 0)}), want: "reset", says: []string{"got data for a connection that its program had closed"}},
		}
	},
	"TLS says that no more comes": func() []stranger {
		farewells := func(frames ...int) func([]Segment) []Segment {
			return func(segments []Segment) []Segment {
				for _, f := range frames {
					segments[f-1].farewell = true
				}
				return segments
			}
		}
		begin := exchanges(1, 100, 100, ms, false) // 5 segments
		n := len(begin)
		last, fin := client(ms, ackf|FlagPSH, 101, 101, 24, 0), client(µs, ackf|FlagFIN, 125, 101, 0, 0)
		answer, end := server(20*ms, ackf|FlagPSH, 101, 126, 24, 0), server(µs, ackf|FlagFIN, 125, 126, 0, 0)
		reset := client(µs, FlagRST, 126, 0, 0, 0)
		closedFirst := join(begin, []line{last, fin, answer, end, reset})
		crossed := join(begin, []line{last, server(ms, ackf|FlagPSH, 101, 125, 24, 0), server(µs, ackf|FlagFIN, 125, 125, 0, 0), client(ms, ackf|FlagFIN, 125, 101, 0, 0), server(µs, ackf, 126, 126, 0, 0), client(20*ms, FlagRST, 125, 0, 0, 0)})
		unread := join(begin, []line{last, server(ms, ackf|FlagPSH, 101, 125, 24, 0), server(µs, ackf|FlagFIN, 125, 125, 0, 0), client(µs, FlagRST|ackf, 125, 126, 0, 0)})
		return []stranger{
			{name: "to a client that has closed", lines: closedFirst, edit: farewells(n+1, n+3)},
			{name: "to a server that has closed", lines: turned(closedFirst), edit: farewells(n+1, n+3)},
			{name: "and the client closes at the same time", lines: crossed, edit: farewells(n+1, n+2)},
			{name: "and the client does not read that", lines: unread, edit: farewells(n+1, n+2)},
			{name: "of the server only, unread", lines: unread, edit: farewells(n + 2), want: "reset"},
			{name: "of the client only, and the server's data is lost", lines: closedFirst, edit: farewells(n + 1), want: "reset"},
		}
	},
	"a window that is closed for a moment": func() []stranger {
		var all []stranger
		for _, c := range []struct {
			closed time.Duration
			want   string
		}{{100 * µs, ""}, {3 * ms, ""}, {150 * ms, "closed-window"}, {250 * ms, "closed-window"}} {
			lines := opened(usual, usual)
			for i := range 10 {
				lines = append(lines, client(5*ms, ackf, 1+uint32(i*1000), 1, 1000, 0), server(ms, ackf, 1, 1+uint32((i+1)*1000), 0, 0))
			}
			lines = append(lines, server(ms, ackf, 1, 10001, 0, 0).win(0), server(c.closed, ackf, 1, 10001, 0, 0), client(ms, ackf, 10001, 1, 1000, 0), server(20*ms, ackf, 1, 11001, 0, 0))
			all = append(all, stranger{name: c.closed.String(), lines: lines, want: c.want}, stranger{name: c.closed.String() + ", the client's", lines: turned(lines), want: c.want})
		}
		return all
	},
	"a reset after a silence": func() []stranger {
		after := func(d time.Duration, rest ...line) []line {
			rest[0].after = d
			return append(exchanges(1, 200, 200, ms, false), rest...)
		}
		data := client(0, ackf|FlagPSH, 201, 201, 200, 0)
		return []stranger{
			{name: "351 s", lines: after(351*time.Second, data, server(ms, FlagRST, 201, 0, 0, 0)), want: "reset", says: []string{"for 351 s", "idle timeout"}},
			{name: "an hour, and sent again", lines: after(time.Hour, data, client(240*ms, ackf|FlagPSH, 201, 201, 200, 0), server(ms, FlagRST, 201, 0, 0, 0)), want: "reset", says: []string{"for 3,600 s"}},
			{name: "of the server's data", lines: after(100*time.Second, server(0, ackf|FlagPSH, 201, 201, 200, 0), client(ms, FlagRST, 201, 0, 0, 0)), want: "reset", says: []string{"for 100 s"}},
			{name: "without a word", lines: after(90*time.Second, server(0, FlagRST|ackf, 201, 201, 0, 0)), want: "reset", says: []string{"for 90 s"}},
			{name: "of a box on the path", lines: after(351*time.Second, data, server(ms, FlagRST, 201, 0, 0, 0)), edit: func(s []Segment) []Segment { s[len(s)-1].TTL = 63; return s },
				want: "reset", says: []string{"made it up", "idle timeout of 351 s or less", "keep-alives"}},
			{name: "no silence", lines: after(time.Second, data, server(ms, FlagRST, 201, 0, 0, 0)), want: "reset", says: []string{"knows no such connection (any more). "}},
		}
	},
	"the client is taken for the server": func() []stranger {
		quiet := []line{
			server(0, ackf, 7000, 101, 1000, 0), client(ms, ackf, 101, 8000, 0, 0).win(0), client(time.Second, ackf, 101, 8000, 0, 0),
		}
		ports := func(c, s uint16) func([]Segment) []Segment {
			return func(segments []Segment) []Segment {
				for i := range segments {
					x := &segments[i]
					a, b := c, s
					if x.Src.Port() == 80 {
						a, b = s, c
					}
					x.Src, x.Dst = netip.AddrPortFrom(x.Src.Addr(), a), netip.AddrPortFrom(x.Dst.Addr(), b)
				}
				return segments
			}
		}
		says := []string{"The client closed its receive window", client4.Addr().String()}
		return []stranger{
			{name: "a well-known port", lines: quiet, want: "closed-window", says: says},
			{name: "a registered port", lines: quiet, edit: ports(51234, 5432), want: "closed-window", says: says},
			{name: "two high ports", lines: quiet, edit: ports(60001, 33000), want: "closed-window", says: says},
			{name: "the client is heard first", lines: slices.Concat([]line{client(0, ackf, 101, 7000, 0, 0)}, quiet), want: "closed-window", says: says},
		}
	},
	"the program takes long": func() []stranger {
		return []stranger{
			{name: "3 s, twice", lines: exchanges(2, 300, 1000, 3*time.Second, true), want: "slow-answer", says: []string{"up to 3 s to answer, 6 s in all for 2 answers"}},
			{name: "1.5 s, once", lines: exchanges(1, 300, 1000, 1500*ms, true), want: "slow-answer", says: []string{"took 1.5 s to answer"}},
			{name: "8 s, ten times", lines: exchanges(10, 30, 1, 8*time.Second, true), want: "slow-answer"},
			{name: "the ACK is late as well: the network", lines: exchanges(2, 300, 1000, 3*time.Second, false)},
			{name: "the client", lines: join(exchanges(1, 300, 1000, ms, true), []line{client(5*time.Second, ackf|FlagPSH, 301, 1001, 300, 0), server(20*ms, ackf|FlagPSH, 1001, 601, 100, 0)})},
			{name: "on purpose", lines: exchanges(3, 300, 1000, 30*time.Second, true)},
			{name: "something was lost", lines: join(opened(usual, usual), []line{
				client(ms, ackf, 1, 1, 100, 0), client(µs, ackf, 101, 1, 100, 0), client(µs, ackf, 201, 1, 100, 0), server(20*ms, ackf, 1, 1, 0, 0).opt(sack(101, 301)),
				client(time.Second, ackf, 1, 1, 100, 0), server(20*ms, ackf, 1, 301, 0, 0), server(ms, ackf, 1, 301, 100, 0),
			}), want: "lossy-link"},
		}
	},
	"ICMP answers the SYN": func() []stranger {
		syns := again(client(0, FlagSYN, 0, 0, 0, 0).opt(usual), timeouts(time.Second, 2)...)
		say := func(from func(Segment) netip.Addr, kind4, code4, kind6, code6 uint8) func([]Segment) []icmpMessage {
			return func(segments []Segment) (all []icmpMessage) {
				for _, s := range segments {
					m := icmpMessage{at: s.At + 20*ms, from: from(s), about: s, kind: kind4, code: code4}
					if !s.Src.Addr().Is4() {
						m.kind, m.code = kind6, code6
					}
					all = append(all, m)
				}
				return all
			}
		}
		return []stranger{
			{name: "prohibited", lines: syns, icmp: say(router, 3, 13, 1, 1), want: "icmp-error", says: []string{router4.String() + " answered 3 segments", "administratively prohibited"}},
			{name: "no such host", lines: syns, icmp: say(router, 3, 1, 1, 3), want: "icmp-error", says: []string{"cannot deliver"}},
			{name: "a loop", lines: syns[:1], icmp: say(router, 11, 0, 3, 0), want: "icmp-error", says: []string{"in circles"}},
			{name: "the host itself", lines: syns[:2], icmp: say(func(s Segment) netip.Addr { return s.Dst.Addr() }, 3, 3, 1, 4), want: "icmp-error", says: []string{"The server's host itself rejects", "port unreachable"}},
		}
	},
	"ICMP says the MTU": func() []stranger {
		large := client(10*ms, ackf, 201, 1, 1460, 0)
		small := join(opened(usual, usual), []line{client(ms, ackf, 1, 1, 200, 0), server(20*ms, ackf, 1, 201, 0, 0)})
		say := func(mtu uint16) func([]Segment) []icmpMessage {
			return func(segments []Segment) (all []icmpMessage) {
				for _, s := range segments {
					if s.Length > int(max(mtu, 1280))-60 {
						m := icmpMessage{at: s.At + 5*ms, from: router(s), about: s, kind: 3, code: 4, mtu: mtu}
						if !s.Src.Addr().Is4() {
							m.kind, m.code = 2, 0
						}
						all = append(all, m)
					}
				}
				return all
			}
		}
		obeyed := join(small, []line{large, client(µs, ackf, 1661, 1, 1460, 0)}, func() (lines []line) {
			at := uint32(201)
			for i, n := range []int{1300, 1300, 320} {
				after := µs
				if i == 0 {
					after = 6 * ms
				}
				lines = append(lines, client(after, ackf, at, 1, n, 0))
				at += uint32(n)
			}
			return append(lines, server(20*ms, ackf, 1, at, 0, 0))
		}())
		return []stranger{
			{name: "and the client ignores it", lines: join(small, again(large, timeouts(240*ms, 4)...)), icmp: say(1400), want: "path-mtu-ignored", says: []string{router4.String() + " said 5 times", "1,400 bytes", "ignores"}},
			{name: "and the server ignores it", lines: turned(join(small, again(large, timeouts(240*ms, 3)...))), icmp: say(1300), want: "path-mtu-ignored", says: []string{"The server sent the same segment"}},
			{name: "without a size", lines: join(small, again(large, timeouts(240*ms, 2)...)), icmp: say(0), want: "path-mtu-ignored", says: []string{"takes less"}},
			{name: "and the client obeys", lines: obeyed, icmp: say(1380)},
			{name: "and the server obeys", lines: turned(obeyed), icmp: say(1380)},
			{name: "once, and the client obeys by a super-packet", lines: join(small, []line{large, client(µs, ackf, 1661, 1, 1460, 0), client(5*ms+µs, ackf, 201, 1, 2920, 0), server(20*ms, ackf, 1, 3121, 0, 0)}),
				icmp: func(s []Segment) []icmpMessage { return say(1380)(s[:6]) }},
		}
	},
	"time goes back": func() []stranger {
		whole := closed(exchanges(1, 300, 1000, ms, false), 301, 1001)
		again := func(by time.Duration) func([]Segment) []Segment {
			return func(segments []Segment) []Segment {
				more := slices.Clone(segments)
				for i := range more {
					more[i].At += by
				}
				return append(segments, more...)
			}
		}
		return []stranger{
			{name: "the same once more", lines: whole, edit: again(0), want: "time-goes-back", says: []string{"at frame 10"}},
			{name: "the same, an hour before", lines: whole, edit: again(-time.Hour), want: "time-goes-back", says: []string{"at frame 10", "by 3600 s"}},
			{name: "by 5 ms", lines: exchanges(3, 300, 1000, ms, true), edit: func(s []Segment) []Segment { s[6].At -= 10 * ms; return s }, want: "time-goes-back", says: []string{"frame 7"}},
			{name: "by less than a millisecond", lines: exchanges(3, 300, 1000, ms, true), edit: func(s []Segment) []Segment { s[6].At = s[5].At - 900*µs; return s }},
		}
	},
	"the receiver stops": func() []stranger {
		stops := func(every time.Duration, wait time.Duration, n int) []line {
			lines := opened(noScale, noScale)
			w := uint16(7300)
			at := uint32(1)
			for range 5 {
				w -= 1460
				lines = append(lines, client(10*ms, ackf, at, 1, 1460, 0), server(every, ackf, 1, at+1460, 0, 0).win(w+1092))
				at += 1460
			}
			return join(lines, again(client(wait, ackf, at, 1, 1092, 0), slices.Repeat([]time.Duration{wait}, n)...))
		}
		return []stranger{
			{name: "after 5 s and 5 s", lines: stops(150*ms, 5500*ms, 2), want: "unanswered-data", says: []string{"the same segment 3 times", "had ceased to read", "1,092"}},
			{name: "after 9 s, three times", lines: stops(20*ms, 9*time.Second, 3), want: "unanswered-data", says: []string{"4 times"}},
			{name: "the client", lines: turned(stops(150*ms, 5500*ms, 2)), want: "unanswered-data", says: []string{"The server sent the same segment 3 times"}},
		}
	},
	"a tail loss probe, and timeouts": func() []stranger {
		var all []stranger
		for _, n := range []int{2, 3, 5} {
			data := client(ms, ackf|FlagPSH, 101, 101, 100, 0)
			lines := join(exchanges(1, 100, 100, ms, false), again(data, append([]time.Duration{242 * ms}, timeouts(244*ms, n)...)...))
			says := []string{fmt.Sprintf("the same segment %d times", n+2)}
			all = append(all, stranger{name: fmt.Sprint(n), lines: lines, want: "unanswered-data", says: says}, stranger{name: fmt.Sprint(n, " of the server"), lines: turned(lines), want: "unanswered-data", says: says})
		}
		return all
	},
	"captured behind the loss": func() []stranger {
		// Of n segments each tenth is lost in front, and comes a round trip later, while others go on.
		lossy := func(n int, every, late time.Duration) []line {
			type arrival struct {
				at time.Duration
				i  int
			}
			var all []arrival
			for i := range n {
				at := time.Duration(i) * every
				if i%10 == 5 && i+10 < n {
					at += late
				}
				all = append(all, arrival{at, i})
			}
			slices.SortStableFunc(all, func(a, b arrival) int { return int(a.at - b.at) })
			lines, last := opened(usual, usual), time.Duration(0)
			for _, a := range all {
				lines = append(lines, client(a.at-last, ackf, 1+uint32(a.i)*1000, 1, 1000, 0))
				last = a.at
			}
			return append(lines, server(20*ms, ackf, 1, 1+uint32(n)*1000, 0, 0))
		}
		return []stranger{
			{name: "with timestamps", lines: lossy(100, ms, 22*ms), edit: stamped, want: "lossy-link", says: []string{"retransmitted 9 segments", "upstream"}},
			{name: "with timestamps, a long way", lines: lossy(60, 3*ms, 100*ms), edit: stamped, want: "lossy-link", says: []string{"upstream"}},
			{name: "without", lines: lossy(100, ms, 22*ms), want: "lossy-link", says: []string{"retransmitted 9 segments"}},
			{name: "as a retransmission told, just behind new data", lines: join(opened(usual, usual), []line{
				client(ms, ackf, 1, 1, 1000, 0), client(ms, ackf, 2001, 1, 1000, 0), client(ms, ackf, 3001, 1, 1000, 0),
				client(20*ms, ackf, 1001, 1, 1000, 0), // and what begins at 4001 was lost before
				client(20*ms, ackf, 5001, 1, 1000, 0), client(300*µs, ackf, 4001, 1, 1000, 0),
				server(20*ms, ackf, 1, 6001, 0, 0),
			}), want: "lossy-link", says: []string{"retransmitted 2 segments", "upstream"}},
			{name: "overtaken by little", lines: lossy(100, ms, 5*ms), want: "reordering", says: []string{"9 segments"}},
			{name: "overtaken by much, by the timestamps", lines: lossy(100, ms, 60*ms), edit: func(s []Segment) []Segment {
				s = stamped(s)
				for i := range s {
					if s[i].Length > 0 {
						s[i].Options.TSVal = 5000 + (s[i].Seq-1001)/1000 // as they were sent
					}
				}
				return s
			}, want: "reordering"},
			{name: "in one tick of the timestamps, sent again by the identifications", lines: lossy(100, ms, 5*ms), edit: func(s []Segment) []Segment {
				for i := range s {
					s[i].Options.HasTimestamps, s[i].Options.TSVal, s[i].ID = true, 5000, uint16(65500+i) // as they came
				}
				return s
			}, want: "lossy-link", says: []string{"retransmitted 9 segments", "upstream"}, only: "IPv4"},
			{name: "overtaken by much, by the identifications", lines: lossy(100, ms, 60*ms), edit: func(s []Segment) []Segment {
				for i := range s {
					s[i].ID = uint16(65500 + (s[i].Seq-1001)/1000) // as they were sent
				}
				return s
			}, want: "reordering", only: "IPv4"},
			{name: "overtaken by little, identifications drawn", lines: lossy(100, ms, 5*ms), edit: func(s []Segment) []Segment {
				for i := range s {
					s[i].ID = uint16(40503 * (i + 1))
				}
				return s
			}, want: "reordering", says: []string{"9 segments"}},
		}
	},
	"a black hole, from the receiver": func() []stranger {
		hole := func(large, came int, end ...line) []line {
			return join(exchanges(1, 300, 20, ms, false), []line{
				client(ms, ackf, 301, 21, 300, 0),
				server(20*ms, ackf, uint32(21+large), 601, came, 0),
				client(50*µs, ackf, 601, 21, 0, 0).opt(sack(uint32(21+large), uint32(21+large+came))),
			}, end)
		}
		fin := client(30*time.Second, ackf|FlagFIN, 601, 21, 0, 0).opt(sack(1469, 2021))
		return []stranger{
			{name: "of 1,448 bytes", lines: hole(1448, 552, fin), want: "mtu-black-hole", says: []string{"1,448 bytes of the server never came", "552 bytes"}},
			{name: "of two segments", lines: hole(2896, 100, client(5*time.Second, ackf|FlagFIN, 601, 21, 0, 0)), want: "mtu-black-hole"},
			{name: "for the server", lines: turned(join(opened(usual, usual), []line{
				server(ms, ackf, 1461, 1, 200, 0), client(50*µs, ackf, 1, 1, 0, 0).opt(sack(1461, 1661)), client(10*time.Second, ackf|FlagFIN, 1, 1, 0, 0).opt(sack(1461, 1661)),
			})), want: "mtu-black-hole", says: []string{"bytes of the client never came"}},
			{name: "large ones came", lines: hole(1448, 1448, fin), want: "missing-data"},
			{name: "and nothing more, in a capture that goes on", lines: hole(1448, 552), edit: laterPacket, want: "mtu-black-hole", says: []string{"waited for them for 5 s"}},
			{name: "large ones came, and nothing more, in a capture that goes on", lines: hole(1448, 1448), edit: laterPacket, want: "missing-data"},
			{name: "and nothing more, in a capture that ends", lines: hole(1448, 552)},
			{name: "and the client gave up", lines: hole(1448, 552, client(10*ms, FlagRST|ackf, 601, 21, 0, 0)), edit: laterPacket, want: "reset"},
			{name: "for a moment", lines: hole(1448, 552, client(500*ms, ackf|FlagFIN, 601, 21, 0, 0))},
			{name: "and then it came", lines: hole(1448, 552, server(2*time.Second, ackf, 21, 601, 1448, 0), client(50*µs, ackf, 601, 2021, 0, 0)), want: "lossy-link"},
		}
	},
	"one keep-alive, and a reset": func() []stranger {
		var all []stranger
		for _, wait := range []time.Duration{10 * time.Second, 20 * time.Second, 75 * time.Second} {
			lines := join(exchanges(1, 100, 100, ms, false), []line{client(30*time.Second, ackf, 100, 101, 0, 0), client(wait, FlagRST|ackf, 101, 101, 0, 0)})
			all = append(all, stranger{name: wait.String(), lines: lines, want: "keep-alive-unanswered", says: []string{"1 keep-alive", "gave up"}},
				stranger{name: wait.String() + ", the server's", lines: turned(lines), want: "keep-alive-unanswered"})
		}
		return all
	},
	"full segments on a slow link": func() []stranger {
		// Each ACK waits for the second segment, or 40 ms.
		var all []stranger
		for _, n := range []int{10, 40} {
			lines := opened(usual, usual)
			for i := range n {
				lines = append(lines, client(60*ms, ackf, 1+uint32(i*1448), 1, 1448, 0), server(52*ms, ackf, 1, 1+uint32((i+1)*1448), 0, 0), client(ms, ackf, 1+uint32((i+1)*1448), 1, 0, 0))
				lines = lines[:len(lines)-1]
				lines[len(lines)-2].after = ms
			}
			all = append(all, stranger{name: fmt.Sprint(n), lines: lines, edit: stamped}, stranger{name: fmt.Sprint(n, " of the server"), lines: turned(lines), edit: stamped})
		}
		return append(all, stranger{name: "and a program that writes pieces", lines: wrote(5, 40*ms), edit: stamped, want: "delayed-ack"})
	},
	"late, and not lost": func() []stranger {
		late := func(n int) []line {
			lines := opened(usual, usual)
			for i := range n {
				at := 1 + uint32(i*1000)
				lines = append(lines,
					client(ms, ackf|FlagPSH, at, at, 1000, 0),
					client(240*ms, ackf|FlagPSH, at, at, 1000, 0),
					server(10*ms, ackf|FlagPSH, at, at+1000, 1000, 0),
					server(20*ms, ackf, at+1000, at+1000, 0, 0).opt(sack(at, at+1000)),
					client(µs, ackf, at+1000, at+1000, 0, 0))
			}
			return lines
		}
		return []stranger{
			{name: "once", lines: late(1), want: "spurious-retransmission"},
			{name: "four times", lines: late(4), want: "spurious-retransmission", says: []string{"4 times"}},
			{name: "of the server", lines: turned(late(2)), want: "spurious-retransmission"},
			{name: "and one that was lost", lines: join(late(1), []line{
				client(ms, ackf, 1001, 1001, 1000, 0), client(300*ms, ackf, 1001, 1001, 1000, 0), server(20*ms, ackf, 1001, 2001, 0, 0),
			}), want: "lossy-link spurious-retransmission", says: []string{"retransmitted 1 segment"}},
		}
	},
	"tail loss probes that were needless": func() []stranger {
		probed := func(flags Flags, n, after int) (lines []line) { // the ACK was on its way, each time
			lines = opened(usual, usual)
			for i := range uint32(n) {
				at := 1 + 1000*i
				next := at + 1000
				if flags&FlagFIN != 0 {
					next++
				}
				lines = append(lines, client(30*ms, flags, at, 1, 1000, 0), client(time.Duration(after)*ms, flags, at, 1, 1000, 0),
					server(5*ms, ackf, 1, next, 0, 0), server(5*ms, ackf, 1, next, 0, 0).opt(sack(at, next)))
			}
			return lines
		}
		return []stranger{
			{name: "once", lines: probed(ackf, 1, 45)},
			{name: "three times, of the server", lines: turned(probed(ackf, 3, 150))},
			{name: "of a FIN", lines: probed(ackf|FlagFIN, 1, 45)},
			{name: "so late that a timeout would have come", lines: probed(ackf, 1, 300), want: "spurious-retransmission"},
		}
	},
	"the network duplicates": func() []stranger {
		twice := func(after int) []line { // each of the client's is answered by a D-SACK as well
			lines := opened(usual, usual)
			for i := range uint32(after) {
				at := 1 + 1000*i
				lines = append(lines, client(10*ms, ackf, at, 1, 1000, 0), server(20*ms, ackf, 1, at+1000, 0, 0), server(ms, ackf, 1, at+1000, 0, 0).opt(sack(at, at+1000)))
			}
			return lines
		}
		return []stranger{
			{name: "once, behind here", lines: twice(1), want: "duplicated", says: []string{"behind here"}},
			{name: "five times", lines: twice(5), want: "duplicated", says: []string{"said 5 times"}},
			{name: "the server's", lines: turned(twice(2)), want: "duplicated"},
			{name: "in front of here", lines: twice(2), want: "duplicated", says: []string{"in front of here"}, edit: func(s []Segment) []Segment {
				again := s[3]
				again.At += 500 * µs
				return slices.Insert(s, 4, again)
			}},
			{name: "before the capture", lines: twice(1)[5:]},
		}
	},
	"nothing wrong": func() []stranger {
		pipelined := join(opened(usual, usual), []line{
			client(ms, ackf|FlagPSH, 1, 1, 100, 0), client(ms, ackf|FlagPSH, 101, 1, 100, 0), client(ms, ackf|FlagPSH, 201, 1, 100, 0),
			server(20*ms, ackf|FlagPSH, 1, 301, 1000, 0), server(ms, ackf|FlagPSH, 1001, 301, 1000, 0), server(ms, ackf|FlagPSH, 2001, 301, 1000, 0),
			client(ms, ackf, 301, 3001, 0, 0),
		})
		alive := exchanges(1, 100, 100, ms, true)
		for range 5 {
			alive = append(alive, client(75*time.Second, ackf, 100, 101, 0, 0), server(20*ms, ackf, 101, 101, 0, 0))
		}
		return []stranger{
			{name: "pipelined", lines: closed(pipelined, 301, 3001)},
			{name: "nothing is sent", lines: closed(opened(usual, usual), 1, 1)},
			{name: "keep-alives", lines: closed(alive, 101, 101)},
			{name: "super-packets", lines: bulk(20, 8000, ms)},
			{name: "many requests", lines: exchanges(100, 300, 1200, 15*ms, true)},
		}
	},
}

func router(s Segment) netip.Addr {
	if s.Src.Addr().Is4() {
		return router4
	}
	return router6
}
