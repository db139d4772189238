package rules

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
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
