package oracle

import "time"

// initialRTO is the time-out before there is a measurement (RFC 6298, 2.1; include/net/tcp.h: TCP_TIMEOUT_INIT).
const initialRTO = time.Second

// ConnectOptions is what a program that connects has set on its socket.
type ConnectOptions struct {
	SYNCount    int           // TCP_SYNCNT: takes the place of tcp_syn_retries; 0 is not set
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0 is not set
}

// Connect is what connect(2) does where nobody answers: SYNs, and ETIMEDOUT at the end.
//
// The time-out is one second for the first tcp_syn_linear_timeouts (Linux 6.5 and later), then it doubles. The end has
// two conditions. There are tcp_syn_retries and tcp_syn_linear_timeouts retransmissions; or so much time has passed as
// tcp_syn_retries would take without the linear ones. With few retries the second comes first: TCP_SYNCNT 1 ends after
// 3 s and two retransmissions on Linux 6.5 and later, after 3 s and one before (net/ipv4/tcp_timer.c:
// tcp_write_timeout, tcp_retransmit_timer; RFC 6298, 5.5 and 5.7).
func (k Kernel) Connect(c ConnectOptions) Retry {
	retries := k.WithSYNCount(c.SYNCount).Sysctls.SYNRetries
	linear := k.Sysctls.SYNLinearTimeouts
	return k.retry(plan{
		timer:       func(n int) Span { return k.backedOff(Exactly(initialRTO), max(0, n-linear)) },
		most:        retries + linear,
		limit:       func(int) Span { return Exactly(k.modelTimeout(retries, initialRTO)) },
		userTimeout: c.UserTimeout,
		sinceFirst:  true, // tcp_connect
	}).from("RFC 6298, 5; tcp_write_timeout; tcp_syn_retries")
}

// WithSYNCount is the kernel as a socket with TCP_SYNCNT sees it, which takes the place of tcp_syn_retries, and, of a
// listener, of tcp_synack_retries (net/ipv4/inet_connection_sock.c: reqsk_timer_handler, icsk_syn_retries); 0 is not set.
func (k Kernel) WithSYNCount(count int) Kernel {
	if count != 0 {
		k.Sysctls.SYNRetries, k.Sysctls.SYNACKRetries = count, count
	}
	return k
}

// SYNACKs is what a listener does where nobody completes a handshake, as long as such requests take no more than half of
// its backlog. The time-out doubles from one second (tcp_syn_linear_timeouts is for SYNs only). After the last one the
// request is dropped, and nothing is sent. For a listener with TCP_SYNCNT see [Kernel.WithSYNCount]. (net/ipv4/inet_connection_sock.c: reqsk_timer_handler, syn_ack_recalc.)
func (k Kernel) SYNACKs() Retry { return k.synACKs(k.Sysctls.SYNACKRetries) }

// SYNACKsCrowded is the same where requests take more than half of max(8, backlog), and none of them is new: old ones are
// dropped after two retransmissions (reqsk_timer_handler, "reserve half of room for young embrions").
func (k Kernel) SYNACKsCrowded() Retry {
	const leastRetries = 2
	return k.synACKs(min(leastRetries, k.Sysctls.SYNACKRetries))
}

func (k Kernel) synACKs(retries int) Retry {
	return k.retry(plan{
		timer:      func(n int) Span { return k.backedOff(Exactly(initialRTO), n) },
		most:       retries,
		sinceFirst: true,
	}).from("RFC 6298, 5; reqsk_timer_handler: tcp_synack_retries")
}

// backlog is what listen(2) makes of its argument (net/socket.c: __sys_listen).
func (k Kernel) backlog(asked int) int {
	if asked < 0 {
		return k.Sysctls.SOMaxConn
	}
	return min(asked, k.Sysctls.SOMaxConn)
}

// AcceptQueue is how many connections wait for accept(2) at most: one more than the backlog, as the queue is full when
// it is longer than that (include/net/sock.h: sk_acceptq_is_full). It is Recv-Q of ss(8) then; Send-Q is the backlog.
func (k Kernel) AcceptQueue(backlog int) int { return k.backlog(backlog) + 1 }

// SYNQueue is how many requests a listener holds in SYN_RECV at most, of clients that it does not know.
//
// It is one more than the backlog (include/net/inet_connection_sock.h: inet_csk_reqsk_queue_is_full): since Linux 6.14, and in
// stable releases since the beginning of 2025, which have the same change ("tcp: allow a connection when
// sk_max_ack_backlog is zero"). Older ones hold as many as the backlog says; the version does not tell. Without cookies
// the last quarter of tcp_max_syn_backlog is kept for clients with an entry in tcp_metrics, too; with
// tcp_syncookies=2 none is held (net/ipv4/tcp_input.c: tcp_conn_request).
func (k Kernel) SYNQueue(backlog int) int {
	held := k.backlog(backlog) + 1
	switch k.Sysctls.SYNCookies {
	case 0:
		most := k.Sysctls.MaxSYNBacklog
		return min(held, most-most/4+1)
	case 2:
		return 0
	}
	return held
}

// SYNQueueKnown is the same for clients that it knows: those whose round-trip time is in tcp_metrics, from an earlier
// connection, may have the quarter too that is kept from others without cookies (net/ipv4/tcp_metrics.c:
// tcp_peer_is_proven).
func (k Kernel) SYNQueueKnown(backlog int) int {
	if k.Sysctls.SYNCookies == 0 {
		return k.backlog(backlog) + 1
	}
	return k.SYNQueue(backlog)
}

// Flood is what becomes of SYNs that nobody completes.
type Flood struct {
	Held    int // in SYN_RECV
	Cookies int // answered by a cookie: TcpExtSyncookiesSent, TcpExtTCPReqQFullDoCookies
	Dropped int // not answered: TcpExtListenDrops
	Full    int // of them, TcpExtTCPReqQFullDrop: the queue was full
}

// SYNFlood is what a listener with that backlog does with `syns` SYNs from as many unused addresses, which all come
// before the first request expires
// (net/ipv4/tcp_input.c: tcp_conn_request, tcp_syn_flood_action).
func (k Kernel) SYNFlood(syns, backlog int) Flood {
	f := Flood{Held: min(syns, k.SYNQueue(backlog))}
	rest := syns - f.Held
	if k.Sysctls.SYNCookies != 0 {
		f.Cookies = rest
		return f
	}
	f.Dropped = rest
	if f.Held > k.backlog(backlog) { // else the quarter in reserve is what they ran into, which counts no TCPReqQFullDrop
		f.Full = rest
	}
	return f
}

// InitialWindow is how many segments a sender starts with, if the peer's window takes them (RFC 6928; include/net/tcp.h:
// TCP_INIT_CWND), when its SYN or SYN-ACK was retransmitted that often: the first is forgiven, two leave one segment
// (net/ipv4/tcp_input.c: tcp_init_transfer; RFC 5681, 3.1).
func (k Kernel) InitialWindow(retransmissions int) int {
	const initialWindow = 10
	if retransmissions > 1 {
		return 1
	}
	return initialWindow
}

// EphemeralPorts is how many ports connect(2) can choose from, for one address and port of a peer, if none is reserved
// (ip_local_port_range). One connection more than that is EADDRNOTAVAIL. Of an odd number above one, a single call
// tries all but one, by chance (__inet_hash_connect: "remaining &= ~1U").
func (k Kernel) EphemeralPorts() int { return k.Sysctls.PortsLast - k.Sysctls.PortsFirst + 1 }
