package matchers

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/analysis"
)

var (
	near = netip.MustParseAddrPort("10.0.1.1:40000")
	far  = netip.MustParseAddrPort("10.0.2.2:80")
)

// sent and came are segments as the near host saw them.
func sent(flags analysis.Flags, seq, ack uint32, length int) analysis.Segment {
	return analysis.Segment{Src: near, Dst: far, Interface: "client/eth0", Direction: analysis.Outbound, Flags: flags, Seq: seq, Ack: ack, Length: length, Window: 502}
}

func came(flags analysis.Flags, seq, ack uint32, length int) analysis.Segment {
	return analysis.Segment{Src: far, Dst: near, Interface: "client/eth0", Direction: analysis.Inbound, Flags: flags, Seq: seq, Ack: ack, Length: length, Window: 500}
}

const (
	syn = analysis.FlagSYN
	ack = analysis.FlagACK
)

// request is a handshake, a request of 100 bytes whose sequence numbers wrap around, and its ACK.
func request() []analysis.Segment {
	segments := []analysis.Segment{
		sent(syn, 0xfffffff0, 0, 0),
		came(syn|ack, 7000, 0xfffffff1, 0),
		sent(ack, 0xfffffff1, 7001, 0),
		sent(ack|analysis.FlagPSH, 0xfffffff1, 7001, 100),
		came(ack, 7001, 0x55, 0),
	}
	for i := range segments {
		segments[i].Frame = i + 1
		segments[i].At = time.Duration(i) * 10 * time.Millisecond
	}
	return segments
}

func TestExchangesThatHold(t *testing.T) {
	g := NewWithT(t)
	g.Expect(request()[:3]).To(BeExchange("> S", "< S.", "> ."))
	g.Expect(request()).To(BeExchange(
		"> S 0:0(0) win 502", "< S. 0:0(0) ack 1 win 500", "> . 1:1(0) ack 1", "> P. 1:101(100) ack 1 win 502", "< . 1:1(0) ack 101"))
	g.Expect(request()).To(BeExchange("> S", "<  .S ack 1", "> .", "> .P", "< ."), "flags in any order")
	g.Expect(request()[3:]).To(BeExchange("> P. 1:101(100) ack 1", "< . 1:1(0) ack 101"), "the SYN was not captured")
	g.Expect(request()[4:]).To(BeExchange("< . 1:1(0) ack 1"))
	g.Expect(request()).NotTo(BeExchange("> S", "< S.", "> ."))
	g.Expect(request()[:2]).NotTo(BeExchange("> S", "< S.", "> ."))
	g.Expect([]analysis.Segment{}).NotTo(BeExchange("> S"))

	refused := []analysis.Segment{sent(syn, 5, 0, 0), came(analysis.FlagRST|ack, 0, 6, 0)}
	g.Expect(refused).To(BeExchange("> S", "< R. 0:0(0) ack 1"))
	// A file without directions: the host is the one that sent first. A reset without ACK has the number of what it answers.
	lost := []analysis.Segment{sent(ack, 100, 200, 1), came(analysis.FlagRST, 200, 0, 0)}
	for i := range lost {
		lost[i].Direction = analysis.Unknown
	}
	g.Expect(lost).To(BeExchange("> . 1:2(1) ack 1", "< R 1:1(0)"))
	accurate := []analysis.Segment{sent(syn|analysis.FlagECE|analysis.FlagCWR|analysis.FlagAE, 5, 0, 0)}
	g.Expect(accurate).To(BeExchange("> SEWA"))
	g.Expect([]analysis.Segment{sent(0, 5, 0, 0)}).To(BeExchange("> -"), "no flags at all")
}

func TestExchangesThatDiffer(t *testing.T) {
	for _, c := range []struct {
		name     string
		expected []string
		says     []string
	}{
		{"direction", []string{"> S", "> S."}, []string{
			"Expected to be the exchange\n    > S\n    > S.\nSeen: packet 2, frame 2, expected as \"> S.\", was received\n",
			"Packets 1 to 5 of 5, as the host saw them:",
			"\n  ! < S. 0:0(0) ack 1 win 500                    #2 0.010000s\n",
		}},
		{"sent", []string{"< S"}, []string{"was sent"}},
		{"flags", []string{"> S", "< R."}, []string{"has the flags S."}},
		{"sequence", []string{"> S", "< S.", "> .", "> P. 1:102(101)"}, []string{"packet 4, frame 4", "is 1:101(100)"}},
		{"acknowledgement", []string{"> S", "< S. ack 2"}, []string{"has ack 1"}},
		{"window", []string{"> S win 0"}, []string{"has win 502"}},
		{"too few", []string{"> S", "< S.", "> .", "> P.", "< .", "> F."}, []string{`5 packets: packet 6, "> F.", is missing`}},
		{"too many", []string{"> S", "< S."}, []string{`3 packets more than the 2: the first is "> . 1:1(0) ack 1 win 502", frame 3`, "\n  ! > . "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			m := BeExchange(c.expected...)
			g.Expect(m.Match(request())).To(BeFalse())
			for _, text := range c.says {
				g.Expect(m.FailureMessage(request())).To(ContainSubstring(text))
			}
		})
	}
	g := NewWithT(t)
	m := BeExchange("> S")
	g.Expect(m.Match([]analysis.Segment{})).To(BeFalse())
	g.Expect(m.FailureMessage(nil)).To(HaveSuffix("\nSeen: 0 packets: packet 1, \"> S\", is missing\nNo packets."))
	g.Expect(m.Match(request()[:1])).To(BeTrue())
	g.Expect(m.NegatedFailureMessage(nil)).To(HavePrefix("Expected not to be the exchange\n    > S\nSeen: these 1 packets\n"))
}

func TestExchangesThatAreNone(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		packets []string
		want    string
	}{
		{nil, "no packets"},
		{[]string{"> S", ""}, `packet 2, "": want a direction and flags`},
		{[]string{"S ."}, `direction "S": want > (sent by the host) or < (received)`},
		{[]string{"> SX"}, `flags "SX": want letters of SFRPUEWA`},
		{[]string{"> SS"}, `'S' is there twice`},
		{[]string{"> . 1:2"}, "want SEQ:END(LENGTH)"},
		{[]string{"> . 1:2(2)"}, "from 1 to 2 are 1 bytes"},
		{[]string{"> . 1:4294967296(1)"}, "each 0 to 4294967295"},
		{[]string{"> . ack"}, `"ack": want, in this order`},
		{[]string{"> . ack -1"}, "want a relative acknowledgement number"},
		{[]string{"> S ack 1"}, "ack 1 without the flag ACK"},
		{[]string{"> . win 65536"}, "0 to 65535"},
		{[]string{"> . win 1 ack 1"}, `"ack 1": want, in this order`},
		{[]string{"> . <mss 1460>"}, "want, in this order"},
	} {
		_, err := BeExchange(c.packets...).Match(request())
		g.Expect(err).To(MatchError(And(HavePrefix("BeExchange: "), ContainSubstring(c.want))), "%q", c.packets)
	}
	_, err := BeExchange("> S").Match("text")
	g.Expect(err).To(MatchError(ContainSubstring("not a string")))

	other := request()
	other[4].Src = netip.MustParseAddrPort("10.0.2.2:81")
	_, err = BeExchange("> S").Match(other)
	g.Expect(err).To(MatchError(ContainSubstring("take one connection")))
	other = request()
	other[4].Interface = "server/eth0"
	_, err = BeExchange("> S").Match(other)
	g.Expect(err).To(MatchError(ContainSubstring("frame 1 is on client/eth0, and frame 5 on server/eth0: take one link end")))
}

// What is accepted is shown as what is accepted again, and means the same.
func FuzzParsePacket(f *testing.F) {
	for _, line := range []string{
		"> S", "< S. 0:0(0) ack 1 win 65535", "> P. 1:1449(1448) ack 1", "< R", "> -", "> SEWA 0:0(0)", "< FU. 4294967295:0(1) ack 4294967295",
		"> . ack", "> S 1:2", "< . 1:2(1", "> .. 1:(1)", "\t> .\n",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		p, err := parsePacket(line)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: the error has several lines: %q", line, err)
			}
			return
		}
		again, err := parsePacket(p.String())
		if err != nil || again != p {
			t.Errorf("%q is %+v, and its text %q is %+v, %v", line, p, p, again, err)
		}
	})
}
