package tune

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/text"
)

// rules are all that can be advised: each looks at one setting, and returns nil where a change would bring nothing on that path.
var rules = []func(situation) *Advice{
	windowScaling, receiveBuffer, sendBuffer, memory, sack, timestamps,
	congestionControl, slowStartAfterIdle, mtuProbing, notSent,
	acceptQueue, synQueue, ports, timeWaitReuse, timeWaitBuckets, conntrack, keepalive,
}

const (
	megabyte = 1 << 20
	pageSize = 4096
)

func rateText(bits float64) string { return profiles.Rate(int64(text.Digits(bits, 3))) }

func sizeText(bytes int64) string {
	switch b := float64(bytes); {
	case b < 1e6:
		return fmt.Sprintf("%.0f kB", b/1e3)
	case b < 1e9:
		return fmt.Sprintf("%.3g MB", b/1e6)
	default:
		return fmt.Sprintf("%.3g GB", b/1e9)
	}
}

// from is such as "315 Mbit/s a connection become 1 Gbit/s".
func (s situation) from(bits float64) string {
	return fmt.Sprintf("one connection gets at most %s now, and up to %s then", rateText(bits), rateText(float64(s.Rate)))
}

func windowScaling(s situation) *Advice {
	if s.kernel.Sysctls.WindowScaling != 0 || s.BDP() <= oracle.UnscaledWindow {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_window_scaling", Advised: "1",
		Why:    fmt.Sprintf("Without scaling a window has %d bytes at most, and the path holds %s.", oracle.UnscaledWindow, sizeText(s.BDP())),
		Impact: s.from(oracle.Throughput(oracle.UnscaledWindow, s.RTT)),
		Not:    "Connections that are open keep their windows. Both sides have to scale.",
		Source: "RFC 7323, 2.2",
	}
}

// buffer is the greatest size of a buffer that grows by itself.
func (s situation) buffer(key string) (int64, error) {
	list, err := s.settings.numbers(key, 3)
	if err != nil {
		return 0, err
	}
	return list[2], nil
}

// withMost is a buffer's setting with another maximum.
func (s situation) withMost(key string, most int64) string {
	list, _ := s.settings.numbers(key, 3) // Advise has read it
	return fmt.Sprintf("%d %d %d", list[0], list[1], most)
}

// roundUp is the next whole number of megabytes.
func roundUp(bytes int64) int64 { return (bytes + megabyte - 1) / megabyte * megabyte }

// windowOf is the receive window that a buffer gives: the rest is for the kernel's own of each segment. Half of it by default; by
// tcp_adv_win_scale where the kernel has it, and since Linux 6.6 by what segments really take, of which half is the beginning
// (tcp_win_from_space; TCP_DEFAULT_SCALING_RATIO).
func (s situation) windowOf(buffer int64) int64 {
	scale, ok := s.settings.number(keyWinScale)
	switch {
	case !ok || s.kernel.Version.AtLeast(6, 6):
		return buffer / 2
	case scale > 0 && scale < 32:
		return buffer - buffer>>scale
	default:
		return buffer
	}
}

func receiveBuffer(s situation) *Advice {
	most, _ := s.buffer(keyReceive)
	window := s.windowOf(most)
	if window >= s.BDP() {
		return nil
	}
	// Twice the BDP, so that data can go on to arrive for a round trip while a lost segment is repaired.
	advised := roundUp(2 * s.BDP() * most / max(window, 1))
	return &Advice{
		Key: keyReceive, Advised: s.withMost(keyReceive, advised),
		Why: fmt.Sprintf("The receive window grows to %s at most, as part of the buffer is for the kernel's own; the path holds %s.",
			sizeText(window), sizeText(s.BDP())),
		Impact: s.from(oracle.Throughput(int(window), s.RTT)),
		Not: "It is for what this machine receives. It takes no memory before data comes. It does nothing for sockets with SO_RCVBUF, " +
			"which net.core.rmem_max bounds.",
		Source: "RFC 7323, 1.1; tcp_rcv_space_adjust, tcp_win_from_space",
	}
}

// perSegment is what the kernel reckons with for each segment of a send buffer: payload and headers, rounded up to a power of two, and the
// skb (tcp_sndbuf_expand).
const perSegment = 2048 + 256

func sendBuffer(s situation) *Advice {
	most, _ := s.buffer(keySend)
	if most >= s.BDP() {
		return nil
	}
	return &Advice{
		Key: keySend, Advised: s.withMost(keySend, roundUp(2*s.BDP()*perSegment/mss)),
		Why: fmt.Sprintf("What is sent stays in the buffer until it is acknowledged; the path holds %s, and the buffer grows to %s at most.",
			sizeText(s.BDP()), sizeText(most)),
		Impact: s.from(oracle.Throughput(int(most), s.RTT)),
		Not: "It is for what this machine sends. It does nothing for sockets with SO_SNDBUF, which net.core.wmem_max bounds. A larger buffer alone does " +
			"not fill the queue: the congestion window decides.",
		Source: "tcp_sndbuf_expand: twice the window's segments, " + fmt.Sprint(perSegment) + " bytes each",
	}
}

func memory(s situation) *Advice {
	limits, err := s.settings.numbers(keyMemory, 3)
	if err != nil {
		return nil
	}
	receive, _ := s.settings.numbers(keyReceive, 3)
	send, _ := s.settings.numbers(keySend, 3)
	// The path's content, once in buffers for receiving and once for sending, with the kernel's own, and what each connection has at least.
	need := 4*s.BDP() + int64(s.connections())*(receive[0]+send[0])
	if limits[1]*pageSize >= need {
		return nil
	}
	pages := (need + pageSize - 1) / pageSize
	return &Advice{
		Key: keyMemory, Advised: fmt.Sprintf("%d %d %d", pages, pages*4/3, pages*2),
		Why: fmt.Sprintf("All of TCP is under pressure from %s on; %d connections on this path need %s.",
			sizeText(limits[1]*pageSize), s.connections(), sizeText(need)),
		Impact: "without it windows shrink to a few segments, for good (TcpExtTCPMemoryPressures counts it)",
		Not:    "The unit is pages, not bytes. It does not add memory: the machine must have it.",
		Source: "tcp(7): tcp_mem; tcp_enter_memory_pressure",
	}
}

func sack(s situation) *Advice {
	if s.kernel.Sysctls.SACK != 0 || s.BDP() < 2*mss {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_sack", Advised: "1",
		Why:    "Without SACK one lost segment is repaired each round trip, and there is no tail loss probe.",
		Impact: fmt.Sprintf("ten losses in a window take ten round trips (%v) to repair, with SACK one", 10*s.RTT),
		Not:    "Both sides have to have it. It does not prevent losses.",
		Source: "RFC 2018; RFC 6675; RFC 8985",
	}
}

// sequenceSpace is how many bytes there are sequence numbers for.
const sequenceSpace = 1 << 32

// segmentLife is how long a segment may wander about: the maximum segment lifetime (RFC 9293, 3.4.2).
const segmentLife = 2 * time.Minute

func timestamps(s situation) *Advice {
	wraps := time.Duration(sequenceSpace * 8 / float64(s.Rate) * float64(time.Second))
	if s.kernel.Sysctls.Timestamps != 0 || wraps > segmentLife {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_timestamps", Advised: "1",
		Why: fmt.Sprintf("At %s the sequence numbers come round after %v: a segment that was late can be taken for a new one.",
			rateText(float64(s.Rate)), wraps.Round(time.Second)),
		Impact: "old segments are told from new ones (PAWS), and each ACK is an RTT measurement",
		Not:    "It is no speed-up: it costs 12 bytes in each segment. Both sides have to have it.",
		Source: "RFC 7323, 5",
	}
}

// enough is the share of a rate from which on there is nothing to gain.
const enough = 0.8

func congestionControl(s situation) *Advice {
	current := s.settings[keyCongestion]
	if s.Loss == 0 || current != "cubic" && current != "reno" {
		return nil
	}
	got := oracle.CubicResponse(s.Loss, s.RTT) * mss * 8 / s.RTT.Seconds()
	// BBR, version 1, bears some 20 % of random loss (Cardwell et al., 2016, figure 8).
	const bears = 0.2
	if got >= enough*float64(s.Rate) || s.Loss >= bears {
		return nil
	}
	return &Advice{
		Key: keyCongestion, Advised: "bbr",
		Why: fmt.Sprintf("%s takes each loss for a full queue: at %.3g %% of random loss its window is %.1f segments on average.",
			current, 100*s.Loss, oracle.CubicResponse(s.Loss, s.RTT)),
		Impact: fmt.Sprintf("one connection gets some %s now, and up to %s then", rateText(got), rateText(float64(s.Rate)*(1-s.Loss))),
		Not: "It is for what this machine sends, on new connections, and needs the module tcp_bbr. Beside others' CUBIC in a shallow queue it takes " +
			"more than its share. It needs no qdisc fq: TCP paces by itself since Linux 4.13.",
		Source: "RFC 9438, 5; draft-cardwell-iccrg-bbr-congestion-control-00",
	}
}

func slowStartAfterIdle(s situation) *Advice {
	segments := int(s.BDP() / mss)
	initial := s.kernel.InitialWindow(0)
	rto := s.kernel.RTOMin() + s.RTT
	if s.kernel.Sysctls.SlowStartAfterIdle == 0 || s.settings[keyCongestion] == "bbr" || s.Idle <= rto || segments <= initial {
		return nil
	}
	rounds := math.Ceil(math.Log2(float64(segments) / float64(initial)))
	return &Advice{
		Key: "net.ipv4.tcp_slow_start_after_idle", Advised: "0",
		Why: fmt.Sprintf("After a pause of more than an RTO (%v) the congestion window falls, by half each RTO, to %d segments.",
			rto, initial),
		Impact: fmt.Sprintf("a burst of %s after a pause of %v may take up to %.0f round trips (%v) less", sizeText(s.BDP()), s.Idle, rounds,
			time.Duration(rounds)*s.RTT),
		Not:    "It does nothing for a connection's first burst. The burst after the pause is not paced (qdisc fq would), and the path may have changed.",
		Source: "RFC 2861; tcp_cwnd_restart",
	}
}

func mtuProbing(s situation) *Advice {
	if !s.NoICMP || s.kernel.Sysctls.MTUProbing != 0 {
		return nil
	}
	on := s.kernel
	on.Sysctls.MTUProbing = 1
	flow := oracle.Flow{RTT: oracle.Exactly(s.RTT)}
	impact := fmt.Sprintf("a connection through a smaller MTU hangs until %v and fails", s.kernel.Blackhole(flow).End.Earliest.Round(time.Second))
	if hole, ok := on.BlackHole(flow, mss); ok {
		impact += fmt.Sprintf(" now, and goes on after %.1f s then", hole.Found.Earliest.Seconds())
	}
	return &Advice{
		Key: "net.ipv4.tcp_mtu_probing", Advised: "1",
		Why:    "Where ICMP \"fragmentation needed\" is filtered, a smaller MTU on the way is a black hole for full segments.",
		Impact: impact,
		Not:    "It is for what this machine sends. It finds the hole by time-outs, on each connection anew; a clamp of the MSS on the router costs nothing.",
		Source: "RFC 4821; tcp_mtu_probing",
	}
}

func notSent(s situation) *Advice {
	most, _ := s.buffer(keySend)
	limit, ok := s.settings.number(keyNotSent)
	limits, err := s.settings.numbers(keyMemory, 3)
	unsent := int64(s.connections()) * most
	if !ok || err != nil || limit < math.MaxUint32 || unsent <= limits[1]*pageSize {
		return nil
	}
	return &Advice{
		Key: keyNotSent, Advised: "131072",
		Why: fmt.Sprintf("Each of %d connections may queue %s that is not sent: %s, where TCP is under memory pressure from %s on.",
			s.connections(), sizeText(most), sizeText(unsent), sizeText(limits[1]*pageSize)),
		Impact: "what waits to be sent takes 131 kB a connection, and a program can still change its mind on the rest",
		Not:    "It does not bound what is sent and not acknowledged, and costs no throughput as long as the program is woken within the time of 131 kB.",
		Source: "tcp(7): TCP_NOTSENT_LOWAT; tcp_stream_memory_free",
	}
}

// mostBacklog is the greatest somaxconn that is of use: the accept queue's length is a 32-bit number, but more has no server been seen to need.
const mostBacklog = 65535

func acceptQueue(s situation) *Advice {
	most := s.kernel.Sysctls.SOMaxConn
	need := min(s.connections(), mostBacklog)
	if most+1 >= need { // one more than that fits (sk_acceptq_is_full)
		return nil
	}
	return &Advice{
		Key: "net.core.somaxconn", Advised: fmt.Sprint(need),
		Why: fmt.Sprintf("When the server comes back all %d clients connect at once. The accept queue holds %d of them, until the program accepts.",
			s.connections(), most+1),
		Impact: "those that find it full connect 1 s, 3 s or 7 s later (their SYNs are dropped: TcpExtListenOverflows)",
		Not:    "The program has to ask for as much in listen(2): Go does, nginx has backlog=511. It does not help a program that never accepts.",
		Source: "listen(2); tcp_conn_request: sk_acceptq_is_full",
	}
}

func synQueue(s situation) *Advice {
	const key = "net.ipv4.tcp_max_syn_backlog"
	held := s.kernel.SYNQueue(max(s.kernel.Sysctls.SOMaxConn, s.connections()))
	if s.kernel.Sysctls.SYNCookies != 0 || held >= s.connections() {
		return nil // with cookies no SYN is dropped for a full queue
	}
	return &Advice{
		Key: key, Advised: fmt.Sprint(nextPower(s.connections() * 4 / 3)),
		Why:    fmt.Sprintf("Without SYN cookies the SYN queue holds %d of %d clients that connect at once: a quarter is for known ones only.", held, s.connections()),
		Impact: "the others' SYNs are dropped (TcpExtTCPReqQFullDrop), and they connect 1 s, 3 s or 7 s later",
		Not:    "With tcp_syncookies=1, the default, it does nothing that could be seen: cookies take over.",
		Source: "tcp_conn_request, tcp_syn_flood_action",
	}
}

func nextPower(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}

// timeWait is how many connections of this machine are in TIME_WAIT, if it closes them.
func (s situation) timeWait() int64 { return int64(s.New * s.kernel.TimeWait().Earliest.Seconds()) }

// widest is the most that ip_local_port_range can be, without the ports that need privilege.
const widest = "1024 65535"

func ports(s situation) *Advice {
	have := int64(s.kernel.EphemeralPorts())
	need := int64(s.connections()) + s.timeWait()
	wide := s.kernel
	if have >= need || wide.Set(keyPorts, widest) != nil || int64(wide.EphemeralPorts()) <= have {
		return nil
	}
	a := &Advice{
		Key: keyPorts, Advised: widest,
		Why: fmt.Sprintf("To one address and port this machine can have %d connections; %d and %d in TIME_WAIT are %d.",
			have, s.connections(), s.timeWait(), need),
		Impact: fmt.Sprintf("connection %d fails with EADDRNOTAVAIL now, connection %d then", have+1, wide.EphemeralPorts()+1),
		Not:    "It is for the side that connects. Servers that listen in the new range need ip_local_reserved_ports.",
		Source: "__inet_hash_connect",
	}
	if int64(wide.EphemeralPorts()) < need {
		a.Not += fmt.Sprintf(" It is not enough for %d: take several addresses, of either side.", need)
	}
	return a
}

func timeWaitReuse(s situation) *Advice {
	free := int64(s.kernel.EphemeralPorts()) - int64(s.connections())
	if s.kernel.Sysctls.TWReuse == 1 || s.timeWait() <= free || s.New == 0 {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_tw_reuse", Advised: "1",
		Why: fmt.Sprintf("%.0f connections a second, closed by this machine, leave %d in TIME_WAIT, and %d ports are left for them.",
			s.New, s.timeWait(), max(free, 0)),
		Impact: "connect(2) takes a port again after 1 s in TIME_WAIT, not after 60 s",
		Not:    "It is for the side that connects, and needs time stamps at both. It does not shorten TIME_WAIT. To keep connections open is better than either.",
		Source: "RFC 6191; tcp_twsk_unique",
	}
}

func timeWaitBuckets(s situation) *Advice {
	most := int64(s.kernel.Sysctls.MaxTWBuckets)
	if s.timeWait() <= most {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_max_tw_buckets", Advised: fmt.Sprint(nextPower(int(s.timeWait()))),
		Why:    fmt.Sprintf("%d connections are in TIME_WAIT, and %d may be.", s.timeWait(), most),
		Impact: "those beyond it end at once (TcpExtTCPTimeWaitOverflow), and a segment that is late is answered by a reset",
		Not:    "It does not save ports. Some 250 bytes each are needed.",
		Source: "RFC 9293, 3.6.1; tcp_time_wait",
	}
}

func conntrack(s situation) *Advice {
	most, ok := s.settings.number(keyConntrack)
	const closing = 120 // s: nf_conntrack_tcp_timeout_time_wait
	need := int64(s.connections()) + int64(s.New*closing)
	if !ok || most >= need {
		return nil
	}
	return &Advice{
		Key: keyConntrack, Advised: fmt.Sprint(nextPower(int(need))),
		Why:    fmt.Sprintf("The firewall's table has %d entries, and %d connections, with those closed within %d s, need as many.", most, s.connections(), closing),
		Impact: "packets of new connections are dropped (\"nf_conntrack: table full\")",
		Not:    "Each entry takes some 300 bytes. Rules with notrack need none.",
		Source: "__nf_conntrack_alloc; nf_conntrack_tcp_timeout_time_wait",
	}
}

func keepalive(s situation) *Advice {
	now := time.Duration(s.kernel.Sysctls.KeepaliveTime) * time.Second
	if s.Forgets == 0 || now < s.Forgets {
		return nil
	}
	return &Advice{
		Key: "net.ipv4.tcp_keepalive_time", Advised: fmt.Sprint(max(1, int(s.Forgets.Seconds())/2)),
		Why:    fmt.Sprintf("A middlebox on the way forgets a connection after %v, and the first keepalive probe comes after %v.", s.Forgets, now),
		Impact: "an idle connection stays known to the middlebox",
		Not:    "It does nothing for sockets without SO_KEEPALIVE, nor for those that set TCP_KEEPIDLE, as Go's do (15 s). It does not notice a program that hangs.",
		Source: "RFC 9293, 3.8.4; RFC 5382, REQ-5",
	}
}
