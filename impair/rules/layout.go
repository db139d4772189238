package rules

import "unsafe"

// Data that the BPF program and this package share. The program takes its offsets from these types, which have no
// padding and no pointers. Numbers are in native byte order; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.

const (
	// maxRules is the number of rules that a set can have in its lifetime.
	maxRules = 32

	// firstCapacity is the number of rules that the program of Open can evaluate. The verifier of the kernel takes 3
	// to 4 ms of a guest's time per rule. A set with more rules gets a longer program, which doubles each time.
	firstCapacity = 4

	// maxConversations is far above what scenarios open; entries are allocated when they are used.
	maxConversations = 1 << 16

	// SnapLength is the number of bytes of a packet that a hit keeps, from the Ethernet header on: all headers, and
	// enough payload to recognize it.
	SnapLength = 160
)

// settings are written by this package and only read by the program.
type settings struct {
	Count uint32 // how many rules there are; those above are not looked at
	Trace uint32 // report every packet
	Rules [maxRules]ruleSettings
}

type ruleSettings struct {
	Begin, End          uint64 // of the monotonic clock, in ns; 0 is no bound
	Source, Destination [16]byte
	HasSource           uint32
	HasDestination      uint32
	Active              uint32
	Kinds               uint32
	SourcePort          uint32 // 0 is any
	DestinationPort     uint32
	ICMP, ICMPMask      uint32 // type << 8 | code
	Flags, FlagMask     uint32 // of the TCP header
	PayloadMin          uint32
	PayloadMax          uint32
	ECN                 uint32 // of which 1 << codepoint is one; 0 is any
	Option              uint32 // 0 is any
	Distinct            uint32 // numbers are of distinct data segments, not of packets
	First, Last, Step   uint32 // First 0 is not numbered
	Times               uint32 // transmissions of a distinct segment; always is no bound
	Limit               uint32 // 0 is none
	Verb                uint32
	Operand             uint32 // of delay: index of the pair's near end; of clear: the flags, as they stand in the header
}

// counters are written by the program.
type counters struct {
	Conversations uint64 // that were ever made: the last one's identity
	Lost          uint64 // reports for which the ring had no room
	Untracked     uint64 // packets of conversations for which there was no room
	Offloaded     uint64 // packets of many segments, which passed
	Failed        uint64 // actions that the kernel refused
	Rules         [maxRules]ruleCounters
}

type ruleCounters struct{ Matched, Acted uint64 }

// conversationKey is one direction of a connection, or a pair of addresses if there are no ports.
type conversationKey struct {
	Source, Destination         [16]byte
	SourcePort, DestinationPort uint32
	Protocol                    uint32
	_                           uint32
}

// conversation is the state of a conversation.
type conversation struct {
	ID         uint64
	ISN        uint32
	High       uint32 // the sequence number after the highest payload byte so far
	OpeningSeq uint32 // of the client's first segment after its SYN
	OpeningAck uint32
	Flags      uint32
	_          uint32
	Rules      [maxRules]ruleState
}

// Flags of a conversation.
const (
	conversationSeen   = 1 << iota // High is valid
	conversationISN                // ISN is valid: it has begun with a SYN
	conversationClient             // and that had no ACK
	conversationOpened             // OpeningSeq and OpeningAck are valid
)

// ruleState is the state of a rule in a conversation.
type ruleState struct {
	Count      uint32 // the last number given
	Low, High  uint32 // the sequence numbers [Low, High) of the data segments that it has selected
	HasSegment uint32
}

// pieceKey identifies a data segment whose transmissions a rule counts.
type pieceKey struct {
	Conversation uint64
	Seq, Rule    uint32
}

// packet is the scratch memory of the program: what it knows of the current packet.
type packet struct {
	Key      conversationKey
	Now      uint64 // monotonic
	Kinds    uint32
	IsFirst  uint32 // payload that was not sent before
	Seq, End uint32 // of the payload
	Ack      uint32
	Payload  uint32
	Flags    uint32 // of the TCP header, with AE
	Offset   uint32 // of the TCP header in the frame
	Body     uint32 // of the payload in the frame
	ECN      uint32
	ICMP     uint32
	Number   uint32 // given by the rule that is being looked at
	Chosen   uint32 // 1 + index of the rule that acts; 0 is none
	ChosenNo uint32 // the number that it gave
	Times    uint32
	// Codepoint is 1 << ECN of a packet of IP, 0 of others.
	Codepoint uint32
	Piece     pieceKey
	Header    [40]byte // room for an IP or TCP header
	options
}

// maxOptions is the longest that options can be: a header has up to 15 words, of which five are fixed.
const maxOptions = 40

// options are those of the TCP header, if the program looks at them.
type options struct {
	Text   [maxOptions]byte
	Length uint32
	Next   uint32       // where the next one begins
	Seen   [1 << 8]byte // 1 at each kind
}

// report is a packet in the ring.
type report struct {
	Time     uint64 // TAI, in ns
	Rule     uint32 // 1 + index; 0 is none
	Number   uint32
	Length   uint32
	Captured uint32
	Kinds    uint32
	ECN      uint32 // 0: not ECN-capable
	Flags    uint32 // of the TCP header, with AE
	_        uint32
	Data     [SnapLength]byte
}

// The mark of a packet that passes the program again, or goes on to the filter that corrupts.
const (
	markMagic = 0x7c9b << 16
)

// Fields of struct __sk_buff (linux/bpf.h), which cilium/ebpf has no names for.
const (
	skbLen      = 0
	skbMark     = 8
	skbProtocol = 16
	skbIfindex  = 40
	skbGSOSegs  = 164
)

const (
	ruleSettingsSize = unsafe.Sizeof(ruleSettings{})
	ruleCountersSize = unsafe.Sizeof(ruleCounters{})
	ruleStateSize    = unsafe.Sizeof(ruleState{})
)
