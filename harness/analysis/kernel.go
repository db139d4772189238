package analysis

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// KernelEventKind is the tracepoint that an event is from.
type KernelEventKind uint8

// The kinds of events that say something about retransmissions.
const (
	// KernelRetransmit: a segment was retransmitted (tcp/tcp_retransmit_skb).
	KernelRetransmit KernelEventKind = iota + 1
	// KernelReceive: a segment arrived, and has had no effect yet (tcp/tcp_probe).
	KernelReceive
	// KernelCongestionState: the state of congestion control was set
	// (tcp/tcp_cong_state_set, Linux 5.19).
	KernelCongestionState
)

// KernelEvent is one firing of a tracepoint in the kernel of a sender.
//
// A capture shows that a segment was retransmitted, and lets one conclude why. The
// kernel knows. None of its tracepoints says so outright: tcp_retransmit_skb has
// neither sequence number nor reason, on Linux 6.1 nor on 6.12. But their order does:
//
//   - With KernelCongestionState everything is known: each timeout sets the state to
//     Loss just before it sends; what is sent in the state Recovery is fast
//     retransmission, what else is sent in Loss is recovery, and in the other states
//     only a tail loss probe retransmits.
//   - With KernelReceive alone, in ESTABLISHED only: what is sent within a millisecond
//     of a received segment was asked for. Otherwise a timer sent it. If that happened
//     once until the next segment arrived, the congestion window tells which timer: 1
//     segment after a timeout (tcp_enter_loss), and as before after a tail loss probe
//     or the reordering timer of RACK. Further ones are timeouts.
//   - With KernelRetransmit alone, nothing.
//
// The limits: a retransmission because the path MTU shrank sets Loss as well, and counts
// as timeout. Where events begin in mid-connection, the state is unknown at first.
type KernelEvent struct {
	Kind KernelEventKind // the tracepoint
	// Time is by the clock of the capture, CLOCK_REALTIME. The kernel's events are
	// recorded by CLOCK_MONOTONIC; read both clocks at once and add the difference.
	Time          time.Time
	Local, Remote netip.AddrPort
	// State is set for KernelCongestionState, and Window, the congestion window in
	// segments, for KernelReceive. Established is set for KernelRetransmit, if the
	// connection is in that state.
	State       tcpinfo.CongestionState
	Window      uint32
	Established bool
}

// kernelRetransmission is a KernelRetransmit and why it was. CauseUnknown: the events
// do not tell.
type kernelRetransmission struct {
	at        time.Time
	cause     Cause
	noTimeout bool // that much is known
}

// kernelRetransmissions goes through the events, which are in order, and sorts them
// by the sender's direction.
func kernelRetransmissions(events []KernelEvent) map[Flow][]kernelRetransmission {
	sockets := make(map[Flow]*kernelSocket)
	states := false
	for _, e := range events {
		states = states || e.Kind == KernelCongestionState
	}
	for i := range events {
		e := &events[i]
		flow := Flow{e.Local, e.Remote}
		k := sockets[flow]
		if k == nil {
			k = &kernelSocket{}
			sockets[flow] = k
		}
		if states {
			k.byState(e)
		} else {
			k.byWindow(e)
		}
	}
	all := make(map[Flow][]kernelRetransmission)
	for flow, k := range sockets {
		if len(k.sent) > 0 {
			all[flow] = k.sent
		}
	}
	return all
}

// kernelSocket is what is known of a socket from the events so far.
type kernelSocket struct {
	sent []kernelRetransmission

	state   tcpinfo.CongestionState
	timeout bool // Loss was set, and nothing sent since

	window    uint32 // at the last segment that was received
	received  time.Time
	recovery  bool  // after a timeout
	timers    []int // of sent: what timers sent since then
	windowSet bool
}

func (k *kernelSocket) byState(e *KernelEvent) {
	switch e.Kind {
	case KernelCongestionState:
		k.state = e.State
		k.timeout = e.State == tcpinfo.CongestionLoss
	case KernelRetransmit:
		cause := CauseTLP
		switch {
		case k.timeout:
			cause = CauseRTO
		case k.state == tcpinfo.CongestionLoss:
			cause = CauseRecovery
		case k.state == tcpinfo.CongestionRecovery:
			cause = CauseFast
		}
		k.timeout = false
		k.sent = append(k.sent, kernelRetransmission{at: e.Time, cause: cause})
	}
}

// atOnce is how soon a kernel retransmits what a received segment asks for: it does so
// before it looks at the next one.
const atOnce = time.Millisecond

func (k *kernelSocket) byWindow(e *KernelEvent) {
	switch e.Kind {
	case KernelReceive:
		k.judgeTimers(e.Window)
		k.window, k.windowSet, k.received = e.Window, true, e.Time
		k.timers = k.timers[:0]
	case KernelRetransmit:
		cause := CauseUnknown
		switch {
		case !e.Established || !k.windowSet:
		case e.Time.Sub(k.received) <= atOnce:
			if cause = CauseFast; k.recovery {
				cause = CauseUnknown // or recovery: the capture knows how far that goes
			}
		default:
			if k.timers = append(k.timers, len(k.sent)); len(k.timers) > 1 {
				cause = CauseRTO // there is one tail loss probe between two ACKs
				k.recovery = true
			}
		}
		k.sent = append(k.sent, kernelRetransmission{at: e.Time, cause: cause})
	}
}

// judgeTimers reports whether the one retransmission that a timer sent was a timeout, by
// the congestion window after it.
func (k *kernelSocket) judgeTimers(window uint32) {
	if len(k.timers) != 1 {
		return
	}
	first := &k.sent[k.timers[0]]
	switch {
	case window == 1 && k.window > 1:
		first.cause = CauseRTO
		k.recovery = true
	case window >= k.window:
		// A tail loss probe, or what the timer of RACK found lost (RFC 8985, section
		// 6.3): the SACK blocks in the capture tell them apart.
		first.noTimeout = true
	}
}

// kernelSlack is how far the kernel's time of a retransmission and that of its packet
// at the sender's interface may be apart: the event follows on the way through the
// host. Further on, after a delay, packets are not the kernel's own any more.
const kernelSlack = 2 * time.Millisecond

// kernelCause finds what the kernel said about a retransmission.
func (d *sideTracker) kernelCause(s *Classified) (told kernelRetransmission, known bool) {
	for d.kernelAt < len(d.kernel) {
		k := d.kernel[d.kernelAt]
		switch after := k.at.Sub(s.Time); {
		case after > kernelSlack:
			return told, false
		case after >= -kernelSlack:
			d.kernelAt++
			return k, true
		}
		d.kernelAt++ // it did not come this far
	}
	return told, false
}
