package watch

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/harness/kernel"
)

// A Connection is a socket that does not listen, as it was at a reading. Where the kernel has no whole socket any more, or not yet
// (TIME-WAIT, SYN-RECV, a closed FIN-WAIT-2), much of it is 0.
type Connection struct {
	State  kernel.State   `json:"state"`
	Family kernel.Family  `json:"family"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	Cookie uint64         `json:"cookie"` // the kernel's number of it, which it never uses again
	Inode  uint32         `json:"inode"`  // 0: no process has it
	UID    uint32         `json:"uid"`
	Owner  *Owner         `json:"owner,omitempty"` // nil: not known

	// InState is for how long it has been in its state; at least so long, if AtLeast.
	InState time.Duration `json:"in_state_ns"`
	AtLeast bool          `json:"at_least,omitempty"`

	RTT      time.Duration `json:"rtt_ns"`     // smoothed
	BaseRTT  time.Duration `json:"min_rtt_ns"` // the least of the last minutes
	RTO      time.Duration `json:"rto_ns"`
	Cwnd     uint32        `json:"cwnd"`      // segments
	InFlight uint32        `json:"in_flight"` // segments that are on their way, as the kernel reckons
	// PeerWindow is how many bytes beyond those that are acknowledged the peer takes. (0 on Linux 5.3 and older.)
	PeerWindow   uint32       `json:"snd_wnd"`
	ReceiveQueue uint32       `json:"rqueue"` // bytes that the program has not read
	SendQueue    uint32       `json:"wqueue"` // bytes that are not acknowledged, sent or not
	Timer        kernel.Timer `json:"timer"`
	BackOff      uint8        `json:"backoff"` // how often the timer's time was doubled
	Congestion   string       `json:"cong,omitempty"`

	SendRate    float64 `json:"send_bytes_per_s"` // acknowledged by the peer, since the reading before
	ReceiveRate float64 `json:"receive_bytes_per_s"`
	Retransmits uint32  `json:"retransmits"` // since it was made
	// Of the last 10 to 20 s.
	RecentRetransmits uint32 `json:"recent_retransmits"`
	RecentSegments    uint32 `json:"recent_data_segments"` // with data, retransmits among them

	// ZeroWindow and Unread are for how long the peer has had its window closed while data waits, and for how long the program has read
	// nothing of what waits.
	ZeroWindow time.Duration `json:"zero_window_ns,omitempty"`
	Unread     time.Duration `json:"unread_ns,omitempty"`

	Troubles []Trouble `json:"troubles,omitempty"` // the worst first

	kinds    [5]TroubleKind // what the troubles will be
	found    int            // of kinds
	sickness float64        // 0: none
}

// newConnection takes what a socket says, and what is remembered of it. Now is the time since the first reading.
func newConnection(s *kernel.Socket, t *track, now time.Duration) Connection {
	c := Connection{
		State: s.State, Family: s.Family, Local: s.Local, Remote: s.Remote, Cookie: s.Cookie, Inode: s.Inode, UID: s.UID,
		ReceiveQueue: s.ReceiveQueue, SendQueue: s.SendQueue, Timer: s.Timer, Congestion: s.Congestion,
		InState: now - time.Duration(t.since), AtLeast: !t.exact,
	}
	if t.zeroSince >= 0 {
		c.ZeroWindow = max(now-time.Duration(t.zeroSince), 1)
	}
	if c.ReceiveQueue > 0 {
		c.Unread = now - time.Duration(t.readSince)
	}
	if s.State == kernel.TimeWait {
		c.InState, c.AtLeast = max(0, timeWait-s.Timer.Expires), false
	}
	i := s.TCPInfo
	if i == nil {
		return c
	}
	const unmeasured = 1<<32 - 1 // of min_rtt
	c.RTT, c.RTO = time.Duration(i.Rtt)*time.Microsecond, time.Duration(i.Rto)*time.Microsecond
	if i.Min_rtt != unmeasured {
		c.BaseRTT = time.Duration(i.Min_rtt) * time.Microsecond
	}
	c.Cwnd, c.PeerWindow, c.BackOff, c.Retransmits = i.Snd_cwnd, i.Snd_wnd, i.Backoff, i.Total_retrans
	c.InFlight = i.Unacked + i.Retrans - min(i.Unacked+i.Retrans, i.Sacked+i.Lost) // tcp_packets_in_flight
	c.RecentRetransmits = i.Total_retrans - t.retransmits[0]
	c.RecentSegments = i.Data_segs_out - t.segments[0]
	// These states begin with an ACK of the peer's, and the last one came so long ago (tcp_rcv_state_process, tcp_ack).
	if s.State == kernel.CloseWait || s.State == kernel.FinWait2 {
		c.InState = max(c.InState, time.Duration(i.Last_ack_recv)*time.Millisecond)
	}
	return c
}

// timeWait is for how long the kernel keeps a connection in that state (TCP_TIMEWAIT_LEN).
const timeWait = time.Minute

// compareAddresses orders by addresses, as other tools list them.
func (c *Connection) compareAddresses(o *Connection) int {
	return cmp.Or(c.Local.Compare(o.Local), c.Remote.Compare(o.Remote), cmp.Compare(c.Cookie, o.Cookie))
}

// A Listener waits for connections.
type Listener struct {
	Family kernel.Family  `json:"family"`
	Local  netip.AddrPort `json:"local"`
	Cookie uint64         `json:"cookie"`
	Inode  uint32         `json:"inode"`
	UID    uint32         `json:"uid"`
	Owner  *Owner         `json:"owner,omitempty"`

	Waiting  uint32 `json:"waiting"`   // connections that the program has not accepted
	Backlog  uint32 `json:"backlog"`   // how many may wait; one more does (sk_acceptq_is_full)
	HalfOpen int    `json:"half_open"` // connections of which it has the SYN only, of those that pass the filter
	// Drops counts SYNs and ACKs that it has not answered, since it was made; RecentDrops those of the last 10 to 20 s.
	Drops       uint32    `json:"drops"`
	RecentDrops uint32    `json:"recent_drops"`
	Troubles    []Trouble `json:"troubles,omitempty"`
}

func newListener(s *kernel.Socket, t *track) Listener {
	l := Listener{
		Family: s.Family, Local: s.Local, Cookie: s.Cookie, Inode: s.Inode, UID: s.UID,
		Waiting: s.ReceiveQueue, Backlog: s.SendQueue,
	}
	if s.Memory != nil {
		l.Drops, l.RecentDrops = s.Memory.Drops, s.Memory.Drops-t.retransmits[0]
	}
	return l
}

// localPort is where connections arrive: without an address, that is any.
type localPort struct {
	addr netip.Addr
	port uint16
}

// waiting is how many connections of a listener are half open.
func (l *listing) waiting(to *Listener) int {
	at := localPort{to.Local.Addr(), to.Local.Port()}
	if at.addr.IsUnspecified() {
		at.addr = netip.Addr{}
	}
	return l.halfOpen[at]
}

// compareListeners puts those with troubles first.
func compareListeners(a, b Listener) int {
	return cmp.Or(cmp.Compare(len(b.Troubles), len(a.Troubles)), a.Local.Compare(b.Local), cmp.Compare(a.Cookie, b.Cookie))
}
