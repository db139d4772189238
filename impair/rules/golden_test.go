package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"

	"github.com/tcplab/tcplab/internal/golden"
)

// The programs as the kernel's verifier lists them, so that a change of one is seen instruction by instruction. After a
// change that is meant: go test ./impair/rules -run Listing -update
func TestListing(t *testing.T) {
	maps := fds{settings: 1, counters: 2, conversations: 3, blank: 4, pieces: 5, scratch: 6, ring: 7}
	for name, code := range map[string]asm.Instructions{
		"one_rule.txt":  assemble(maps, defaultRingBytes, extent{capacity: 1}),
		"two_rules.txt": assemble(maps, defaultRingBytes, extent{capacity: 2}),
		"options.txt":   assemble(maps, defaultRingBytes, extent{capacity: 1, options: true}),
		"corrupt.txt":   assembleCorrupt(maps),
		"return.txt":    assembleReturn(1002),
	} {
		golden.Compare(t, name, []byte(fmt.Sprintf("%v", code)))
	}

	// All sizes that a set can load, by their hashes.
	var sizes strings.Builder
	for _, e := range extents() {
		code := encodeProgram(t, assemble(maps, defaultRingBytes, e))
		fmt.Fprintf(&sizes, "%v: %d instructions, sha256 %x\n", e, len(code)/asm.InstructionSize, sha256.Sum256(code))
	}
	golden.Compare(t, "sizes.txt", []byte(sizes.String()))
}

// What the program reads of a rule.
func TestSettingsListing(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the operand of ClearFlags is listed as a little-endian machine has it")
	}
	var listing bytes.Buffer
	for _, r := range []Rule{
		Drop(Data.Number(5)),
		Drop(SYN.First(2)).AtMost(3),
		Delay(30*time.Millisecond, Data.Between(10, 19).Times(2)),
		Duplicate(PureACK.Every(2).DestinationPort(80)),
		MarkCE(Data.From(7).Every(3)),
		Bleach(AnyPacket.Source(netip.MustParseAddr("10.0.0.1")).Destination(netip.MustParseAddr("fd00::2"))),
		ClearFlags(ECE|AE, AnySegment.SourcePort(443)),
		Corrupt(Retransmission),
		Drop(Data.First(3).Always()),
		Drop(SYN.Option(34).With(ECE | AE).Without(CWR)),
		Drop(Data.PayloadBetween(1, 100).ECN(ECT0, CE)),
		Drop(PacketTooBig),
		Drop(ICMP(3, 4)),
		Drop(ICMPv6(2)),
	} {
		fmt.Fprintf(&listing, "%v\n  %+v\n", r, r.encode())
	}
	golden.Compare(t, "settings.txt", listing.Bytes())
}
