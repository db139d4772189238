package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// ErrNoSockDiag means that the kernel cannot list TCP sockets.
var ErrNoSockDiag = errors.New("this kernel has no sock_diag for TCP: load the modules inet_diag and tcp_diag")

// A Socket is a TCP socket as sock_diag(7) shows it. An IPv4 address that an IPv6
// socket uses (::ffff:10.0.0.1) is shown as the IPv4 address that it is; Family
// tells them apart.
//
// The kernel does not read a socket at one instant. A segment that arrives just then
// can come between the timer and the queues, Snd_cwnd, Pacing_rate and Reordering,
// the rest of TCPInfo, and what the congestion control tells, which are read in this
// order (inet_sk_diag_fill in net/ipv4/inet_diag.c, tcp_get_info in net/ipv4/tcp.c):
// to compare two of them, allow for one ACK.
type Socket struct {
	Family Family         `json:"family"` // of the socket, not of its addresses
	Local  netip.AddrPort `json:"local"`  // the wildcard address if it is bound to none
	Remote netip.AddrPort `json:"remote"` // port 0: not connected
	State  State          `json:"state"`  // by the kernel, see State

	// Interface is the index of the one that the socket is bound to, 0 for none.
	Interface uint32 `json:"interface,omitempty"`

	// ReceiveQueue counts bytes that were received in order and not yet read; of a
	// listener, the connections that wait to be accepted.
	ReceiveQueue uint32 `json:"rqueue"`
	// SendQueue counts bytes that were written and not yet acknowledged, sent or
	// not; of a listener, how many connections may wait (the backlog).
	SendQueue uint32 `json:"wqueue"`

	Timer Timer  `json:"timer"` // the one that is due next
	UID   uint32 `json:"uid"`   // the owner
	Inode uint32 `json:"inode"` // 0 when no process has it any more

	// Cookie is the kernel's number of this socket, which it never uses again
	// (SO_COOKIE). The events have it, too.
	Cookie uint64 `json:"cookie"`

	// TCPInfo is nil where there is no whole socket: in TIME-WAIT, in SYN-RECV, and in
	// FIN-WAIT-2 once the process has closed it.
	TCPInfo *tcpinfo.Info `json:"tcp_info,omitempty"`
	// Memory is nil for the same sockets.
	Memory *Memory `json:"skmeminfo,omitempty"`
	// Congestion is the congestion control's name, "" for the same sockets.
	Congestion string `json:"cong,omitempty"`

	// The state of the congestion control itself. The kernel has this for three kinds
	// only, not for CUBIC or Reno. Vegas is also set for illinois, veno, westwood and
	// others that measure as Vegas does.
	BBR   *BBRInfo   `json:"bbr,omitempty"`
	Vegas *VegasInfo `json:"vegas,omitempty"`
	DCTCP *DCTCPInfo `json:"dctcp,omitempty"`
}

// Family is the address family of a socket.
type Family uint8

// The families that TCP has.
const (
	IPv4 Family = unix.AF_INET
	IPv6 Family = unix.AF_INET6
)

// String returns ss(8)'s name of the family: "inet" or "inet6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "inet"
	case IPv6:
		return "inet6"
	default:
		return fmt.Sprintf("family %d", uint8(f))
	}
}

// MarshalText returns "inet" or "inet6".
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText takes "inet" or "inet6".
func (f *Family) UnmarshalText(text []byte) error {
	for _, family := range []Family{IPv4, IPv6} {
		if string(text) == family.String() {
			*f = family
			return nil
		}
	}
	return fmt.Errorf("address family %q: want inet or inet6", text)
}

// TimerKind says what a socket waits for, by ss(8)'s names.
type TimerKind string

// The timers (net/ipv4/inet_diag.c, inet_sk_diag_fill).
const (
	TimerOff       TimerKind = "off"       // no timer is set
	TimerOn        TimerKind = "on"        // retransmission, tail loss probe or reordering
	TimerKeepalive TimerKind = "keepalive" // also of SYN+ACK, and of an orphan in FIN-WAIT-2
	TimerTimeWait  TimerKind = "timewait"  // the end of TIME-WAIT, or of a closed FIN-WAIT-2
	TimerPersist   TimerKind = "persist"   // zero window probe

	// TimerDelayedACK is an ACK that waits, if no other timer is set: Debian's 7.3 tells of it, and 6.12 did not.
	TimerDelayedACK TimerKind = "delack"
)

// Timer is the timer of a socket that is due next.
type Timer struct {
	Kind    TimerKind     `json:"kind"`       // which timer
	Expires time.Duration `json:"expires_ns"` // until then, in steps of a millisecond
	// Retransmits counts the timer's consecutive expiries: retransmissions, or
	// probes that were not answered.
	Retransmits uint8 `json:"retrans"`
}

// Memory is what a socket holds, in bytes unless said otherwise (SK_MEMINFO_...
// in include/uapi/linux/sock_diag.h).
type Memory struct {
	ReceiveAlloc uint32 `json:"rmem_alloc"`  // received and not yet read, with overhead
	ReceiveLimit uint32 `json:"rcvbuf"`      // SO_RCVBUF
	SendAlloc    uint32 `json:"wmem_alloc"`  // handed to the device, not yet sent
	SendLimit    uint32 `json:"sndbuf"`      // SO_SNDBUF
	Forward      uint32 `json:"fwd_alloc"`   // reserved and not used
	SendQueued   uint32 `json:"wmem_queued"` // written and not yet acknowledged, with overhead
	Options      uint32 `json:"optmem"`      // ancillary memory: filters, options
	Backlog      uint32 `json:"backlog"`     // received while a process held the socket
	Drops        uint32 `json:"drops"`       // packets
}

// BBRInfo is the state of BBR (struct tcp_bbr_info).
type BBRInfo struct {
	Bandwidth  uint64  `json:"bw"`          // estimated maximum, in bytes per second
	MinRTT     uint32  `json:"min_rtt"`     // in microseconds; 4294967295: not yet measured
	PacingGain float64 `json:"pacing_gain"` // factor, a multiple of 1/256
	CwndGain   float64 `json:"cwnd_gain"`   // factor, a multiple of 1/256
}

// VegasInfo is the state of Vegas (struct tcpvegas_info).
type VegasInfo struct {
	Enabled uint32 `json:"enabled"` // 1 while it measures
	RTTs    uint32 `json:"rttcnt"`  // measured in this round trip
	RTT     uint32 `json:"rtt"`     // in microseconds
	MinRTT  uint32 `json:"minrtt"`  // in microseconds
}

// DCTCPInfo is the state of DCTCP (struct tcp_dctcp_info). Enabled is 0 where ECN was
// not negotiated: then DCTCP behaves as Reno, and Congestion is "dctcp-reno".
type DCTCPInfo struct {
	Enabled     uint16 `json:"enabled"`  // 1 with ECN
	CEState     uint16 `json:"ce_state"` // 1 if the last packet was marked CE
	Alpha       uint32 `json:"alpha"`    // share of marks, of 1024
	BytesMarked uint32 `json:"ab_ecn"`   // acknowledged with ECE in this window
	BytesTotal  uint32 `json:"ab_tot"`   // acknowledged in this window
}

// SocketFilter says which sockets to list. The zero value lists all.
type SocketFilter struct {
	// States to list; none means all. SynRecv has those of NewSynRecv, too.
	States []State
	// Port is the local or the remote one; 0 means any.
	Port uint16
}

// String is like "LISTEN, port 80", or "any".
func (f SocketFilter) String() string {
	var parts []string
	for _, s := range f.States {
		parts = append(parts, s.String())
	}
	text := strings.Join(parts, " or ")
	if f.Port != 0 {
		text = strings.TrimPrefix(fmt.Sprintf("%s, port %d", text, f.Port), ", ")
	}
	return cmp.Or(text, "any")
}

func (f SocketFilter) mask() (uint32, error) {
	if len(f.States) == 0 {
		return 1<<(NewSynRecv+1) - 1, nil
	}
	var mask uint32
	for _, s := range f.States {
		if !s.known() {
			return 0, fmt.Errorf("%v: want one of %v to %v", s, Established, NewSynRecv)
		}
		if mask |= 1 << s; s == SynRecv || s == NewSynRecv {
			// The kernel looks for one bit and for the other, from version to
			// version, and always answers SYN-RECV.
			mask |= 1<<SynRecv | 1<<NewSynRecv
		}
	}
	return mask, nil
}

// ReadSockets lists the TCP sockets of the network namespace that in enters, or of
// the calling thread's if in is nil, ordered by local address, remote address and
// cookie. Subflows of MPTCP are TCP sockets and so among them.
//
// The kernel goes through its tables without stopping TCP: a socket that changes
// from one table to the other meanwhile (a listener's, the connections', and those
// in TIME-WAIT) can be missing, or be there twice.
//
// It returns [ErrNoSockDiag] where the kernel cannot.
func ReadSockets(in Runner, filter SocketFilter) ([]Socket, error) {
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.read()
}

// A SocketReader lists sockets time and again without keeping them: for a machine that has many. [ReadSockets] and
// [StartSampling] are simpler where there are few.
type SocketReader struct{ d *diag }

// OpenSockets returns a reader of the sockets of in that pass the filter (see [ReadSockets]). The caller closes it.
func OpenSockets(in Runner, filter SocketFilter) (*SocketReader, error) {
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, err
	}
	return &SocketReader{d}, nil
}

// Each lists the sockets in the kernel's order, and passes on one after the other. The next one takes the place of a Socket, but
// not of what it points to. With an error, some may have been passed on. It returns [ErrNoSockDiag] where the kernel cannot.
func (r *SocketReader) Each(pass func(*Socket)) error { return r.d.each(pass) }

// Close releases what the reader has of the kernel.
func (r *SocketReader) Close() { r.d.close() }

// Attributes (include/uapi/linux/inet_diag.h, INET_DIAG_...).
const (
	attrInfo      = 2
	attrVegas     = 3
	attrCong      = 4
	attrSKMemInfo = 7
	attrDCTCP     = 9
	attrBBR       = 16
)

// parseSocket decodes a struct inet_diag_msg and what follows it.
func parseSocket(b []byte) (Socket, error) {
	const size = diagMessage
	if len(b) < size {
		return Socket{}, fmt.Errorf("message of %d bytes: want at least %d", len(b), size)
	}
	native := binary.NativeEndian
	s := Socket{
		Family: Family(b[0]),
		State:  State(b[1]),
		Timer: Timer{
			Retransmits: b[3],
			Expires:     time.Duration(native.Uint32(b[52:])) * time.Millisecond,
		},
		Interface:    native.Uint32(b[40:]),
		Cookie:       uint64(native.Uint32(b[48:]))<<32 | uint64(native.Uint32(b[44:])),
		ReceiveQueue: native.Uint32(b[56:]),
		SendQueue:    native.Uint32(b[60:]),
		UID:          native.Uint32(b[64:]),
		Inode:        native.Uint32(b[68:]),
	}
	if s.Family != IPv4 && s.Family != IPv6 {
		return Socket{}, fmt.Errorf("message of %v: want inet or inet6", s.Family)
	}
	if !s.State.known() {
		return Socket{}, fmt.Errorf("message of a socket in %v", s.State)
	}
	kinds := [...]TimerKind{TimerOff, TimerOn, TimerKeepalive, TimerTimeWait, TimerPersist, TimerDelayedACK}
	if int(b[2]) < len(kinds) {
		s.Timer.Kind = kinds[b[2]]
	} else {
		s.Timer.Kind = TimerKind(fmt.Sprintf("timer %d", b[2])) // newer kernels may tell of more
	}
	s.Local = netip.AddrPortFrom(diagAddr(s.Family, b[8:24]), binary.BigEndian.Uint16(b[4:]))
	s.Remote = netip.AddrPortFrom(diagAddr(s.Family, b[24:40]), binary.BigEndian.Uint16(b[6:]))
	return s, s.parseAttributes(b[size:])
}

// diagAddr takes an address from the 16 bytes of which IPv4 has the first 4.
func diagAddr(family Family, b []byte) netip.Addr {
	if family == IPv4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b)).Unmap()
}

// attributeSize is how many bytes of an attribute are used.
func attributeSize(kind uint16) int {
	switch kind {
	case attrVegas, attrDCTCP:
		return 16
	case attrBBR:
		return 20
	case attrSKMemInfo:
		return 36
	}
	return 0
}

func (s *Socket) parseAttributes(b []byte) error {
	native := binary.NativeEndian
	const header = 4
	for len(b) >= header {
		size, kind := int(native.Uint16(b)), native.Uint16(b[2:])&^unix.NLA_F_NESTED
		if size < header || size > len(b) {
			return fmt.Errorf("attribute %d of %d bytes, with %d left", kind, size, len(b))
		}
		v := b[header:size]
		b = b[min((size+3)&^3, len(b)):]

		if want := attributeSize(kind); len(v) < want {
			return fmt.Errorf("attribute %d has %d bytes: want at least %d", kind, len(v), want)
		}
		u32 := func(i int) uint32 { return native.Uint32(v[4*i:]) }
		switch kind {
		case attrInfo:
			// A listener's is there, and one of no bytes stands for none.
			if len(v) > 0 {
				s.TCPInfo = tcpinfo.Parse(v)
			}
		case attrCong:
			s.Congestion = strings.ToValidUTF8(unix.ByteSliceToString(v), "\ufffd") // JSON has nothing else
		case attrSKMemInfo:
			s.Memory = &Memory{u32(0), u32(1), u32(2), u32(3), u32(4), u32(5), u32(6), u32(7), u32(8)}
		case attrVegas:
			s.Vegas = &VegasInfo{u32(0), u32(1), u32(2), u32(3)}
		case attrDCTCP:
			s.DCTCP = &DCTCPInfo{native.Uint16(v), native.Uint16(v[2:]), u32(1), u32(2), u32(3)}
		case attrBBR:
			const unit = 256
			s.BBR = &BBRInfo{
				Bandwidth: uint64(u32(1))<<32 | uint64(u32(0)), MinRTT: u32(2),
				PacingGain: float64(u32(3)) / unit, CwndGain: float64(u32(4)) / unit,
			}
		}
	}
	return nil
}
