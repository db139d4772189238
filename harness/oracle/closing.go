package oracle

import (
	"cmp"
	"time"
)

// timeWait is how long TIME_WAIT lasts (include/net/tcp.h: TCP_TIMEWAIT_LEN).
const timeWait = 60 * time.Second

// TimeWait is how long a connection stays in TIME_WAIT: 60 s, whatever tcp_fin_timeout says. Each segment of the peer
// that is answered starts it again, and so does each mere ACK in the window (tcp_minisocks.c: tcp_timewait_state_process).
func (k Kernel) TimeWait() Span { return k.Timer(timeWait).From("TCP_TIMEWAIT_LEN, timer wheel") }

// FINWait2 is how long a connection that its program has closed stays in FIN_WAIT2, where the peer never closes, with
// an RTO and TCP_LINGER2 (0 is not set): for tcp_fin_timeout, 3.5 RTO at least.
//
// Up to 60 s that is a timer of the small socket that TIME_WAIT has, too. A longer one begins with what is above 60 s as
// an orphan, and then the same once more as the small socket, for the kernel takes the 60 s away twice: 90 s of
// tcp_fin_timeout last 60 (net/ipv4/tcp.c: __tcp_close; tcp_input.c: tcp_rcv_state_process; tcp_timer.c:
// tcp_keepalive_timer). In the first part tcp_max_orphans counts it, in the second tcp_max_tw_buckets.
//
// With TCP_LINGER2 below 0 there is none: the ACK of the FIN ends the connection, and is answered with a reset, as all that
// comes later (tcp_rcv_state_process; or close(2) does it, in FIN_WAIT2, with a reset of its own).
func (k Kernel) FINWait2(rto, linger2 time.Duration) (whole, asOrphan Span) {
	if linger2 < 0 {
		return Span{Source: "tcp_rcv_state_process: TCP_LINGER2"}, Span{}
	}
	least := 4*rto - rto/2
	timeout := max(cmp.Or(linger2, time.Duration(k.Sysctls.FINTimeout)*time.Second), least)
	if timeout <= timeWait {
		return k.Timer(timeout).From("tcp_fin_timeout, timer wheel"), Span{}
	}
	asOrphan = k.Timer(timeout - timeWait).From("tcp_fin_timeout, timer wheel")
	return asOrphan.Plus(k.Timer(max(timeout-timeWait, least))), asOrphan
}

// TimeWaits is what becomes of that many active closes at the same time: how many stay in TIME_WAIT (or in a small
// socket of FIN_WAIT2), and how many are over at once for tcp_max_tw_buckets, each counted by TcpExtTCPTimeWaitOverflow
// (net/ipv4/inet_timewait_sock.c: inet_twsk_alloc).
func (k Kernel) TimeWaits(closes int) (held, overflow int) {
	held = min(closes, k.Sysctls.MaxTWBuckets)
	return held, closes - held
}

// TimeWaitReuse is how old a TIME_WAIT must be for connect(2) to take its port for the same peer, if it does at all: it
// takes timestamps, and tcp_tw_reuse 1, or 2 on loopback.
//
// Before Linux 6.14 the kernel compares whole seconds: any second may begin in the next moment, so that it can be at
// once, and is after a second. Later it is tcp_tw_reuse_delay in milliseconds (net/ipv4/tcp_ipv4.c: tcp_twsk_unique).
// Sooner than Earliest it never is; later than Latest it always is.
func (k Kernel) TimeWaitReuse(loopback bool) (age Span, ok bool) {
	reuse := k.Sysctls.TWReuse
	if k.Sysctls.Timestamps == 0 || reuse == 0 || reuse == 2 && !loopback {
		return Span{}, false
	}
	delay := time.Duration(k.Sysctls.TWReuseDelay) * time.Millisecond
	if k.Version.AtLeast(6, 14) {
		return Between(delay, delay+clockStep).From("tcp_tw_reuse_delay"), true
	}
	return Between(0, time.Second).From("tcp_twsk_unique: whole seconds"), true
}
