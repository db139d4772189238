package rules

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
)

func TestRuleInWords(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Drop(Data.Number(5)), "drop data 5"},
		{Drop(Data.Number(20).Times(2)), "drop data 20, 2 times"},
		{Drop(Data.Between(3, 7).Always()), "drop data 3 to 7, always"},
		{Delay(30*time.Millisecond, Data.From(9)), "delay 30ms data 9 and later"},
		{Drop(PureACK.Every(2).SourcePort(80).DestinationPort(1024)), "drop pure ACK, one of 2, from port 80, to port 1024"},
		{MarkCE(SYN.Source(netip.MustParseAddr("10.0.1.1")).Destination(netip.MustParseAddr("::1"))), "mark CE SYN, from 10.0.1.1, to ::1"},
		{Blackhole().After(time.Second).For(300 * time.Millisecond), "drop packet, after 1s, for 300ms"},
		{Duplicate(ICMP(3, 4)).AtMost(2), "duplicate ICMP type 3 code 4, at most 2"},
		{Drop(ICMPv6(2)), "drop ICMPv6 type 2"},
		{Corrupt(HandshakeACK.First(1)), "corrupt handshake ACK 1"},
		{Bleach(AnyPacket), "bleach packet"},
		{ClearFlags(AE|CWR|ECE, SYN), "clear AE CWR ECE of SYN"},
		{Drop(Data.Payload(1448).Number(3).Times(2)), "drop data 3, 2 times, payload of 1448"},
		{Drop(Data.PayloadAtLeast(100).DestinationPort(80)), "drop data, to port 80, payload of 100 or more"},
		{Drop(AnySegment.PayloadBetween(0, 1).Option(5).ECN(ECT0, CE).With(ECE | CWR).Without(AE)),
			"drop segment, payload of 0 to 1, with option 5, ECN ECT(0) or CE, with CWR ECE, without AE"},
		{Bleach(AnyPacket.ECN(NotECT)), "bleach packet, ECN Not-ECT"},
	} {
		g.Expect(c.rule.String()).To(Equal(c.want))
		g.Expect(c.rule.Validate()).To(Succeed(), c.want)
	}
}

func TestRuleInRecords(t *testing.T) {
	g := NewWithT(t)
	text, err := json.Marshal(Delay(time.Millisecond, Data.Number(5)).Named("late").AtMost(1))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(Equal(`{"name":"late","match":"data 5","action":"delay 1ms","limit":1}`))
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		rule   Rule
		fields []string
	}{
		{"zero rule", Rule{}, []string{"Rule.Match", "Rule.Action"}},
		{"no match", Drop(Match{}), []string{"Rule.Match"}},
		{"number 0", Drop(Data.Number(0)), []string{"Match.Number"}},
		{"falling numbers", Drop(Data.Between(3, 2)), []string{"Match.Between"}},
		{"two faults", Drop(Data.First(0).Times(0)), []string{"Match.First", "Match.Times"}},
		{"two numbers", Drop(Data.First(2).From(7)), []string{"Rule.Match"}},
		{"every 0", Drop(Data.Every(0)), []string{"Match.Every"}},
		{"times of packets", Drop(SYN.First(2).Times(2)), []string{"Match.Times"}},
		{"times without number", Drop(Data.Always()), []string{"Match.Times"}},
		{"times with every", Drop(Data.Every(2).From(1).Times(2)), []string{"Match.Times"}},
		{"port 0", Drop(Data.SourcePort(0)), []string{"Match.SourcePort"}},
		{"port of ICMP", Drop(PacketTooBig.DestinationPort(80)), []string{"Rule.Match"}},
		{"no address", Drop(Data.Source(netip.Addr{})), []string{"Match.Source"}},
		{"zone", Drop(Data.Destination(netip.MustParseAddr("fe80::1%eth0"))), []string{"Match.Destination"}},
		{"ICMP type", Drop(ICMP(256)), []string{"Match.type"}},
		{"ICMP code", Drop(ICMPv6(1, -1)), []string{"Match.code"}},
		{"ICMP codes", Drop(ICMP(3, 1, 2)), []string{"Match.code"}},
		{"negative payload", Drop(Data.Payload(-1)), []string{"Match.Payload"}},
		{"large payload", Drop(Data.PayloadAtLeast(65536)), []string{"Match.PayloadAtLeast"}},
		{"falling payload", Drop(Data.PayloadBetween(2, 1)), []string{"Match.PayloadBetween"}},
		{"two payloads", Drop(Data.PayloadAtLeast(1).Payload(2)), []string{"Match.Payload"}},
		{"payload of ICMP", Drop(PacketTooBig.Payload(1)), []string{"Rule.Match"}},
		{"end of options", Drop(SYN.Option(0)), []string{"Match.Option"}},
		{"large option", Drop(SYN.Option(256)), []string{"Match.Option"}},
		{"two options", Drop(SYN.Option(2).Option(4)), []string{"Match.Option"}},
		{"option of all packets", Drop(AnyPacket.Option(2)), []string{"Rule.Match"}},
		{"no codepoint", Drop(Data.ECN()), []string{"Match.ECN"}},
		{"codepoint 4", Drop(Data.ECN(CE + 1)), []string{"Match.ECN"}},
		{"codepoints twice", Drop(Data.ECN(CE).ECN(ECT0)), []string{"Match.ECN"}},
		{"with no flags", Drop(Data.With(0)), []string{"Match.With"}},
		{"without other flags", Drop(Data.Without(1<<4 | ECE)), []string{"Match.Without"}},
		{"with and without", Drop(Data.With(ECE | CWR).Without(CWR)), []string{"Match.Without"}},
		{"flags of ICMP", Drop(ICMP(3).With(ECE)), []string{"Rule.Match"}},
		{"some pieces", Drop(Data.PayloadAtLeast(2).First(2).Always()), []string{"Match.Times"}},
		{"delay for no time", Delay(0, Data), []string{"Action.Delay"}},
		{"delay for ever", Delay(math.MaxInt64, Data), []string{"Action.Delay"}},
		{"corrupt ICMP", Corrupt(PacketTooBig), []string{"Rule.Match"}},
		{"flags of ICMP", ClearFlags(AE, PacketTooBig), []string{"Rule.Match"}},
		{"no flags", ClearFlags(0, SYN), []string{"Action.ClearFlags"}},
		{"flags of all kinds", ClearFlags(1<<1|AE, SYN), []string{"Action.ClearFlags"}},
		{"limit", Drop(Data).AtMost(-1), []string{"Rule.Limit"}},
		{"times", Drop(Data).After(-1).For(25 * time.Hour), []string{"Rule.Delay", "Rule.Length"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			err := c.rule.Validate()
			g.Expect(err).To(HaveOccurred())
			joined, ok := err.(interface{ Unwrap() []error })
			g.Expect(ok).To(BeTrue())
			var fields []string
			for _, one := range joined.Unwrap() {
				var field *invalid.FieldError
				g.Expect(errors.As(one, &field)).To(BeTrue())
				fields = append(fields, field.Field)
			}
			g.Expect(fields).To(Equal(c.fields))
		})
	}
}

// Each field of a match is read by the program, and said in words.
func TestFieldsOfAMatch(t *testing.T) {
	one := netip.MustParseAddr("10.0.0.1")
	with := map[string]Match{
		"kind": FIN, "source": AnySegment.Source(one), "destination": AnySegment.Destination(one),
		"sourcePort": AnySegment.SourcePort(1), "destinationPort": AnySegment.DestinationPort(1),
		"icmpType": ICMP(1), "icmpCode": ICMP(1, 1),
		"hasPayload": AnySegment.Payload(0), "payloadMin": AnySegment.PayloadAtLeast(1), "payloadMax": AnySegment.PayloadBetween(0, 1),
		"option": AnySegment.Option(1), "ecn": AnySegment.ECN(CE), "with": AnySegment.With(ECE), "without": AnySegment.Without(ECE),
		"first": AnySegment.From(2), "last": AnySegment.First(2), "step": AnySegment.Every(2), "times": Data.Number(1).Times(2),
	}
	words, settings := map[string]string{AnySegment.String(): "none"}, map[ruleSettings]string{Drop(AnySegment).encode(): "none"}
	for i := range reflect.TypeFor[Match]().NumField() {
		name := reflect.TypeFor[Match]().Field(i).Name
		if name == "numbered" || name == "bad" { // which are about how it was made
			continue
		}
		m, ok := with[name]
		if !ok {
			t.Errorf("no match with the field %s in this test", name)
			continue
		}
		if err := Drop(m).Validate(); err != nil {
			t.Error(err)
		}
		if other, ok := words[m.String()]; ok {
			t.Errorf("%s is the same in words as %s: %v", name, other, m)
		}
		if other, ok := settings[Drop(m).encode()]; ok {
			t.Errorf("%s is the same for the program as %s: %v", name, other, m)
		}
		words[m.String()], settings[Drop(m).encode()] = name, name
	}
}

// Matches that begin as one do not share their faults.
func TestMatchIsAValue(t *testing.T) {
	g := NewWithT(t)
	bad := Data.Number(0)
	one, two := bad.Times(0), bad.Every(0)
	g.Expect(one.bad[1].Field).To(Equal("Match.Times"))
	g.Expect(two.bad[1].Field).To(Equal("Match.Every"))
	g.Expect(Data.bad).To(BeEmpty())
}

func TestOptions(t *testing.T) {
	g := NewWithT(t)
	for _, n := range []int{-1, 1, 65535, 100_000, 512 << 20} {
		o := Options{RingBytes: n}
		var field *invalid.FieldError
		g.Expect(errors.As(o.complete(), &field)).To(BeTrue())
		g.Expect(field.Field).To(Equal("Options.RingBytes"))
	}
	var o Options
	g.Expect(o.complete()).To(Succeed())
	g.Expect(o.RingBytes).To(Equal(defaultRingBytes))
}

func TestBytesInHex(t *testing.T) {
	g := NewWithT(t)
	text, err := json.Marshal(Hit{Packet: Bytes{0, 0xab}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(ContainSubstring(`"packet":"00ab"`))
	var back Hit
	g.Expect(json.Unmarshal(text, &back)).To(Succeed())
	g.Expect(back.Packet).To(Equal(Bytes{0, 0xab}))
}
