package oracle

import (
	"testing"

	. "github.com/onsi/gomega"
)

// Documentation/networking/ip-sysctl.rst, tcp_ecn: what is taken, and what is asked for.
func TestECN(t *testing.T) {
	g := NewWithT(t)
	for value, want := range map[string][2]ECN{
		"0": {NoECN, NoECN}, "1": {ClassicECN, ClassicECN}, "2": {ClassicECN, NoECN},
		"3": {AccurateECN, AccurateECN}, "4": {AccurateECN, ClassicECN}, "5": {AccurateECN, NoECN},
	} {
		k := with(t, defaults(t, "7.0"), "tcp_ecn="+value)
		g.Expect([2]ECN{k.ecnTaken(), k.ecnAsked()}).To(Equal(want), value)
	}
	for _, release := range []string{"6.1", "6.12", "6.18", "7.3"} {
		k := defaults(t, release)
		g.Expect([2]ECN{k.ecnTaken(), k.ecnAsked()}).To(Equal([2]ECN{ClassicECN, NoECN}), release)
	}
	old := defaults(t, "6.19")
	g.Expect(old.Set("net.ipv4.tcp_ecn", "3")).To(MatchError(ContainSubstring("allowed are 0 to 2")))
	g.Expect(old.Set("net.ipv4.tcp_ecn_option", "3")).To(MatchError(ContainSubstring("allowed are 0 to 2")))

	asks := func(value string) Kernel { return with(t, defaults(t, "7.0"), "tcp_ecn="+value) }
	g.Expect(AgreedECN(asks("3"), asks("5"))).To(Equal(AccurateECN))
	g.Expect(AgreedECN(asks("3"), asks("2"))).To(Equal(ClassicECN))
	g.Expect(AgreedECN(asks("1"), asks("3"))).To(Equal(ClassicECN))
	g.Expect(AgreedECN(asks("3"), asks("0"))).To(Equal(NoECN))
	g.Expect(AgreedECN(asks("5"), asks("3"))).To(Equal(NoECN))
}

// RFC 9768, table 2 and section 3.1.4; RFC 3168, section 6.1.1.1.
func TestACEOfHandshakes(t *testing.T) {
	g := NewWithT(t)
	ace := func(k Kernel) (all []uint8) {
		for n := range 4 {
			all = append(all, k.SYNACE(n))
		}
		return all
	}
	k := defaults(t, "7.0")
	g.Expect(ace(k)).To(Equal([]uint8{0, 0, 0, 0}))
	classic, accurate := with(t, k, "tcp_ecn=1"), with(t, k, "tcp_ecn=3")
	g.Expect(ace(classic)).To(Equal([]uint8{3, 0, 0, 0}))
	g.Expect(ace(accurate)).To(Equal([]uint8{7, 7, 0, 0}))
	g.Expect(ace(with(t, accurate, "tcp_ecn_fallback=0"))).To(Equal([]uint8{7, 7, 7, 7}))

	for codepoint, want := range []uint8{0b010, 0b011, 0b100, 0b110} {
		g.Expect(accurate.SYNACKACE(0b111, uint8(codepoint), 0)).To(Equal(want))
		g.Expect(accurate.SYNACKACE(0b100, uint8(codepoint), 1)).To(Equal(want), "3.1.3: any other SYN")
		g.Expect(ReflectedACE(uint8(codepoint))).To(Equal(want))
	}
	g.Expect(accurate.SYNACKACE(0b111, 0, 2)).To(BeZero())
	g.Expect(accurate.SYNACKACE(0b011, 0, 0)).To(BeEquivalentTo(1))
	g.Expect(classic.SYNACKACE(0b111, 0, 0)).To(BeEquivalentTo(1))
	g.Expect(classic.SYNACKACE(0b100, 0, 0)).To(BeZero())
	g.Expect(with(t, k, "tcp_ecn=0").SYNACKACE(0b111, 0, 0)).To(BeZero())

	g.Expect([]uint8{ACE(0), ACE(1), ACE(3), ACE(8), ACE(21)}).To(Equal([]uint8{5, 6, 0, 5, 2}))
	g.Expect(defaults(t, "6.12").AccECNOption()).To(BeZero())
	g.Expect(accurate.AccECNOption()).To(Equal(12))
	g.Expect(with(t, accurate, "tcp_ecn_option=1").AccECNOption()).To(BeZero())
	g.Expect(ECN(7).String()).To(Equal("ECN 7"))
}

// What Debian's sources of 7.1.3 and 7.2.6 have.
func TestNetemSince72(t *testing.T) {
	g := NewWithT(t)
	old, newer := defaults(t, "7.1"), defaults(t, "7.2")
	g.Expect(old.NetemDropsMarks()).To(BeTrue())
	g.Expect(newer.NetemDropsMarks()).To(BeFalse())
	g.Expect(old.NetemCorrupts(66, 1514)).To(Equal(66))
	g.Expect(old.NetemCorrupts(66, 60)).To(Equal(60))
	g.Expect(newer.NetemCorrupts(66, 1514)).To(Equal(1514))
	g.Expect(defaults(t, "6.6").ReadsOptionsUnverified(1480)).To(BeFalse())
	g.Expect(newer.ReadsOptionsUnverified(1480)).To(BeTrue())
	g.Expect(newer.ReadsOptionsUnverified(76)).To(BeFalse())
}

func TestReceiveBufferMost(t *testing.T) {
	g := NewWithT(t)
	const gigabyte = 1 << 30
	old, newer := defaults(t, "6.12"), defaults(t, "6.16")
	g.Expect(old.ReceiveBufferMost(8 * gigabyte)).To(Equal(6 << 20))
	g.Expect(newer.ReceiveBufferMost(8 * gigabyte)).To(Equal(32 << 20))
	for _, k := range []Kernel{old, newer} {
		g.Expect(k.ReceiveBufferMost(gigabyte / 2)).To(Equal(4 << 20))
		g.Expect(k.ReceiveBufferMost(1 << 20)).To(Equal(131072))
	}
}

func TestRACK(t *testing.T) {
	g := NewWithT(t)
	g.Expect(defaults(t, "6.1").RACK()).To(BeTrue())
	g.Expect(with(t, defaults(t, "6.16"), "tcp_recovery=0").RACK()).To(BeFalse())
	g.Expect(with(t, defaults(t, "6.17"), "tcp_recovery=0").RACK()).To(BeTrue())
}

func TestSYNQueueKnown(t *testing.T) {
	g := NewWithT(t)
	k := with(t, defaults(t, "6.12"), "tcp_max_syn_backlog=128")
	g.Expect([2]int{k.SYNQueue(512), k.SYNQueueKnown(512)}).To(Equal([2]int{513, 513}))
	k = with(t, k, "tcp_syncookies=0")
	g.Expect([2]int{k.SYNQueue(512), k.SYNQueueKnown(512)}).To(Equal([2]int{97, 513}))
	g.Expect([2]int{k.SYNQueue(8), k.SYNQueueKnown(8)}).To(Equal([2]int{9, 9}))
}
