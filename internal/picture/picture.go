package picture

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A Picture is what there is to draw. Times are since the start of the spec, or, without one, since the first packet.
type Picture struct {
	Places      []Place
	Hosts       []string // from the client to the server, as the ladder has them; empty if it is not known whose the places are
	Packets     []Packet // in the order of their times
	Connections []Connection
	Rules       []string // what acted on packets, such as "drop (drop data 12)"
	Series      []Series
	Bands       []Band
	Steps       []Step
	Captures    []Capture
	Notes       []string // what is missing of the picture, and why

	// Start is when time is 0, by the clock of the captures.
	Start time.Time
	End   time.Duration // of what is drawn

	segments []analysis.Segment // of Packets, until finish
	network  *network           // nil: not known
}

// A Capture is one of the files that packets are from.
type Capture struct {
	File    string // its path, as the record has it
	Notes   []string
	Damaged bool // it could not be read to its end, as Notes say
}

// A Place is where packets were seen: an interface of a capture.
type Place struct {
	Name    string
	Host    int // index into Hosts, or -1
	Capture int // index into Captures
	// Dropped: packets are here that a rule dropped before they were sent.
	Dropped bool
}

// Fate is what became of a packet on its way to the other host.
type Fate uint8

// The fates.
const (
	Unknown Fate = iota // the other host was not captured
	Arrived
	Lost    // it did not arrive while the capture ran: lost by chance, by a full queue, by a middlebox
	Dropped // a rule dropped it
)

// None is the index of nothing.
const None = -1

// A Packet is a TCP segment at a place.
type Packet struct {
	Frame      int // in its capture, from 1
	At         time.Duration
	Place      int
	Connection int
	FromServer bool

	Flags    analysis.Flags
	Seq, Ack uint32 // relative to the initial sequence numbers
	Length   int    // of the payload
	Window   int    // in bytes, as far as its scale is known
	SACK     []analysis.Block
	DSACK    bool // the first block of SACK is about what was received twice (RFC 2883)
	Marks    analysis.Mark
	Cause    int // why it was retransmitted (an [analysis.Cause]), or None
	InFlight int
	RTT      time.Duration // of the newest segment that it acknowledges; 0 if it is no sample
	ECN      uint8         // the codepoint in the IP header
	Fate     Fate          // of a packet where its sender was captured
	Rule     int           // what acted on it, or None
	Timer    Timer         // whose end had it sent
	Sent     int           // the same packet at its sender: index into Packets, or None
	LeftOut  int           // packets of its kind that Reduce left out just before it
}

// A Connection is a TCP connection, from all places where it was captured.
type Connection struct {
	Client, Server netip.AddrPort
	// Path has the hosts from the client to the server, as indices into Hosts; empty if they are not known.
	Path    []int
	Views   []View // the first is the one to look at: the sender's side
	First   time.Duration
	Last    time.Duration
	Packets int // before Reduce
	Bytes   [2]int64
	Goodput [2]Series // of the client, of the server
}

// A View is a connection as one place saw it.
type View struct {
	Place   int
	Summary analysis.Conversation
}

// A Series is values over time. Those of a kind have the same name on all hosts.
type Series struct {
	Name       string // such as "cwnd"
	Unit       string
	Of         string // whose it is: a host, or a link end
	Connection int    // index, or None: it is of no one connection
	FromServer bool   // of the connection's server
	Times      []time.Duration
	Values     []float64
	Source     string // where it is from: a file
}

// A Band is a time in which something was so: a state of a socket, or of congestion control.
type Band struct {
	Name       string // BandState or BandCongestion
	Value      string
	Connection int
	FromServer bool
	From, To   time.Duration
	Inferred   bool // from the packets: the kernel's events do not tell
}

// A Step is a change of a link.
type Step struct {
	At   time.Duration
	End  string
	Text string
}

// HasData reports whether it takes sequence space.
func (k *Packet) HasData() bool {
	return k.Length > 0 || k.Flags&(analysis.FlagSYN|analysis.FlagFIN) != 0
}

// Next is the sequence number behind it.
func (k *Packet) Next() uint32 {
	n := k.Seq + uint32(k.Length) //nolint:gosec // at most 65535
	if k.Flags&analysis.FlagSYN != 0 {
		n++
	}
	if k.Flags&analysis.FlagFIN != 0 {
		n++
	}
	return n
}
