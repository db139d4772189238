package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/statistics"
)

// What is still healthy. Each is above what a healthy path and server show, and far below what the finding is about.
const (
	// commonLoss is what a path may lose without being called lossy, and mistaken the chance to call one so that loses no more.
	commonLoss, mistaken = 0.001, 0.05
	// closedAtLeast is for how long a window has to be closed, in all, to be spoken of.
	closedAtLeast = 200 * time.Millisecond
	// limited is the share of the time with something to send in which the window was in the way (tcpi_rwnd_limited).
	limited = 0.5
	// delayedAtLeast is the least delay of an ACK (TCP_DELACK_MIN, 40 ms), less a tick and what programs take.
	delayedAtLeast = 30 * time.Millisecond
	// manyPorts is the share of the local ports in TIME-WAIT that is spoken of.
	manyPorts = 0.5
)

// judge says what the report's evidence means. It asks nobody: a report that was read from JSON is judged alike.
func judge(r *Report) []Finding {
	j := &judgement{Report: r, findings: []Finding{}}
	j.name()
	for _, address := range r.Addresses {
		j.connecting(address)
	}
	j.asking()
	j.pileUps()
	return j.findings
}

type judgement struct {
	*Report
	findings []Finding
	before   string // what came of what was asked before it failed
}

func (j *judgement) find(f Finding) { j.findings = append(j.findings, f) }

func (j *judgement) found(kinds ...Kind) bool {
	return slices.ContainsFunc(j.findings, func(f Finding) bool { return slices.Contains(kinds, f.Kind) })
}

func (j *judgement) name() {
	switch n := j.Name; {
	case n.Err == "":
	case n.NotFound && n.Server == "":
		j.find(Finding{Kind: NameNotResolved, Sure: Certain, Tried: "resolve " + j.Options.Host, Seen: n.Err,
			Means: "No DNS server was asked, and this machine's own list does not have the name.",
			Next:  "Look at /etc/hosts, and at the line hosts of /etc/nsswitch.conf: without dns there, no DNS server is asked."})
	case n.NotFound:
		j.find(Finding{Kind: NameNotResolved, Sure: Certain, Tried: "resolve " + j.Options.Host, Seen: n.Err,
			Means: "There is no such name, or it has no address of that family.",
			Next:  "Look at the spelling and at the search list (/etc/resolv.conf); ask another resolver: dig " + j.Options.Host + " @9.9.9.9."})
	default:
		j.find(Finding{Kind: NameNotResolved, Sure: Certain, Tried: "resolve " + j.Options.Host, Seen: n.Err,
			Means: "No resolver has answered: whether there is such a name is not known.",
			Next:  "Look at /etc/resolv.conf and at the way to the server there; try an address in place of the name."})
	}
}

// connecting judges what came of connect(2) to an address, in all that was tried.
func (j *judgement) connecting(address netip.Addr) {
	var failed, good []Attempt
	for _, a := range j.Attempts {
		switch {
		case a.To != address:
		case a.Connect > 0:
			good = append(good, a)
		case a.Phase == "connect":
			failed = append(failed, a)
		}
	}
	for _, a := range failed {
		f, known := j.failure(a, len(failed), len(failed)+len(good))
		if a.silent() && len(good) > 0 && f.Kind == Filtered {
			continue // other SYNs were answered
		}
		f.Address = address
		if !known || !slices.ContainsFunc(j.findings, func(g Finding) bool { return g.Kind == f.Kind && g.Address == address }) {
			j.find(f)
		}
	}
	j.lateConnects(address, good, failed)
}

// failure says why a connect(2) failed, one of so many.
func (j *judgement) failure(a Attempt, failed, all int) (f Finding, known bool) {
	to := netip.AddrPortFrom(a.To, j.Options.Port)
	f = Finding{Sure: Certain, Tried: fmt.Sprintf("connect to %s, %s", to, times(all))}
	seen := func(what string) {
		f.Seen = what
		if failed < all {
			f.Seen += fmt.Sprintf(", %d of %s", failed, times(all))
		}
	}
	switch {
	case a.ICMP != nil && a.ICMP.From == j.Machine.Routes[a.To].Source:
		seen(fmt.Sprintf("%s after %s: the ICMP error is this machine's own", a.Errno, short(a.Took)))
		f.Kind, f.Means = NoNeighbour, "The next hop does not answer on its link (ARP, neighbour discovery)."
		f.Next = "ip neigh; is " + j.nextHop(a.To) + " up, and on the same link?"
	case a.ICMP != nil:
		seen(fmt.Sprintf("ICMP from %s: %s; %s", a.ICMP.From, a.ICMP, a.Errno))
		f.Kind = Rejected
		f.Means, f.Next = a.ICMP.means(a.To)
	case a.Errno == "ECONNREFUSED":
		seen("a reset in answer to the SYN (ECONNREFUSED)")
		f.Kind, f.Means = Refused, fmt.Sprintf("The host is there. Nobody listens on port %d at that address, or a firewall rejects with a reset.", j.Options.Port)
		f.Next = fmt.Sprintf("On the server: ss -ltn 'sport = %d': is there a listener, and is it bound to that address?", j.Options.Port)
		if j.Machine.Routes[a.To].Local {
			f.Means = fmt.Sprintf("On this machine nobody listens on port %d at that address.", j.Options.Port)
		}
	case a.Errno == "EADDRNOTAVAIL":
		seen("EADDRNOTAVAIL: " + j.connections())
		f.Kind, f.Means = PortsExhausted, fmt.Sprintf("All %d local ports are taken by connections to that address and port.", j.Machine.Ports)
		f.Next = "Keep connections and use them again. Let the server close first (who closes first has TIME-WAIT), widen net.ipv4.ip_local_port_range, " +
			"or connect from or to more addresses; tcplab tune says what tcp_tw_reuse brings."
	case a.Errno == "EACCES" || a.Errno == "EPERM":
		seen(a.Errno + " at once, and no packet left")
		f.Kind, f.Means = LocalFirewall, "This machine forbids it: a route of type prohibit, or a BPF program of the control group (systemd: IPAddressDeny=)."
		f.Next = fmt.Sprintf("ip route get %s; bpftool cgroup tree; the unit's settings.", a.To)
	case a.Errno == "ENETUNREACH" || a.Errno == "EHOSTUNREACH" || a.Errno == "EINVAL":
		seen(a.Errno + " at once, and no packet left")
		f.Kind, f.Means = NoRoute, "This machine has no route to the address, or one of type unreachable or blackhole."
		f.Next = fmt.Sprintf("ip route get %s; is the interface up, has it an address of that family, is there a default route?", a.To)
	case a.silent():
		j.silence(&f, a, seen)
	default:
		seen(a.Err)
		f.Kind, f.Means, f.Next = unexpected, "connect(2) failed.", "connect(2) and tcp(7) have the errno."
		return f, false
	}
	return f, true
}

// silence tells why nobody answers: the listener, this machine's firewall, or what is on the way.
func (j *judgement) silence(f *Finding, a Attempt, seen func(string)) {
	counted, route := j.Machine.Counters, j.Machine.Routes[a.To]
	syns := fmt.Sprintf("%s in %s, and no answer of any kind", plural(a.SYNs, "SYN"), short(a.Took))
	switch {
	case j.full(f, route):
		seen(syns + "; " + f.Seen)
	case !route.Local && a.SYNs > 1 && int(counted["TcpExtTCPRetransFail"]) >= a.SYNs-1:
		seen(fmt.Sprintf("%s; this machine's IP did not take them (TcpExtTCPRetransFail +%d)", syns, counted["TcpExtTCPRetransFail"]))
		f.Kind, f.Sure, f.Means = LocalFirewall, Likely, "This machine drops its own SYNs: its firewall (OUTPUT), or a full queue of its interface."
		f.Next = "nft list ruleset, or iptables -L OUTPUT -v; tc -s qdisc show dev " + route.Device + "."
	default:
		f.Kind, f.Sure = Filtered, Likely
		last := "no router on the way has answered a SYN that lived for less"
		for _, hop := range j.Hops {
			if hop.To == a.To {
				last = fmt.Sprintf("the last router that answered is %s, hop %d", hop.From, hop.TTL)
			}
		}
		seen(syns + "; " + last)
		f.Means = "A firewall drops the SYNs (or the SYN-ACKs), the host is down, or the way there or back is cut."
		f.Next = "Is the host up (another port, its console)? Then look at the firewalls from the last router on, the server's own among them. " +
			"On the server: tcpdump 'tcp[tcpflags] & tcp-syn != 0' shows whether SYNs come, and TcpExtListenDrops whether its listener drops them."
	}
}

// full tells whether a listener on this machine has dropped what came, and why.
func (j *judgement) full(f *Finding, route Route) bool {
	m := &j.Machine
	overflows, drops := m.Counters["TcpExtListenOverflows"], m.Counters["TcpExtListenDrops"]
	if !route.Local || m.dropped() == 0 {
		return false
	}
	l := slices.MaxFunc(m.Listeners, func(a, b Listener) int { return int(a.Dropped) - int(b.Dropped) })
	if overflows > 0 {
		f.Kind = AcceptQueueFull
		f.Seen = fmt.Sprintf("the listener has %d connections that wait to be accepted, with a backlog of %d (TcpExtListenOverflows +%d)", l.Queued, l.Backlog, overflows)
		f.Means = "The program that listens does not call accept(2), or not often enough. While its queue is full, SYNs are dropped."
		f.Next = fmt.Sprintf("What does it do (ss -ltnp 'sport = %d', its threads, its limits)? A longer backlog (listen(2), net.core.somaxconn) helps for bursts only.",
			j.Options.Port)
		return true
	}
	f.Kind = SYNQueueFull
	f.Seen = fmt.Sprintf("the listener dropped SYNs, though it has room for connections (TcpExtListenDrops +%d, TcpExtTCPReqQFullDrop +%d)",
		drops, m.Counters["TcpExtTCPReqQFullDrop"])
	f.Means = "More handshakes are under way than it has room for, and SYN cookies are off: a SYN flood, or SYN-ACKs that do not come through."
	f.Next = fmt.Sprintf("ss -tn state syn-recv 'sport = %d': whose are they? net.ipv4.tcp_syncookies=1; net.ipv4.tcp_max_syn_backlog.", j.Options.Port)
	return true
}

// lateConnects looks for SYNs that were retransmitted until they were answered, or until it was given up while others were answered.
func (j *judgement) lateConnects(address netip.Addr, good, failed []Attempt) {
	if len(good) == 0 {
		return
	}
	silent := slices.DeleteFunc(slices.Clone(failed), func(a Attempt) bool { return !a.silent() })
	var after []string
	lost, sent := 0, 0
	for _, a := range append(slices.Clone(good), silent...) {
		sent += a.SYNs
		if n := a.synRetransmits(); n > 0 && a.Connect > 0 {
			lost += n
			after = append(after, short(a.Connect))
		}
	}
	for _, a := range silent {
		lost += a.SYNs
		after = append(after, "not within "+short(a.Took))
	}
	if lost == 0 || j.found(AcceptQueueFull, SYNQueueFull, LocalFirewall) {
		return
	}
	f := Finding{Address: address, Sure: Certain, Tried: fmt.Sprintf("connect to %s, %s", netip.AddrPortFrom(address, j.Options.Port), times(len(good)+len(silent)))}
	if j.full(&f, j.Machine.Routes[address]) {
		j.find(f)
		return
	}
	if lossy, _, _ := j.loses(); lossy {
		return // it loses whatever comes, and that is found
	}
	f.Kind = SYNLoss
	f.Seen = fmt.Sprintf("%d of %s sent had no answer; it connected after %s", lost, plural(sent, "SYN"), strings.Join(after, ", "))
	f.Means = "SYNs or SYN-ACKs are lost, or the server drops SYNs because a queue of its listener is full. Each costs an RTO: 1 s, then 3 s, 7 s in all (RFC 6298)."
	f.Next = "On the server: nstat -az TcpExtListenOverflows TcpExtListenDrops: if they grow, run tcplab diagnose there. If not, look for loss, and for a firewall that limits SYNs."
	j.find(f)
}

// asking judges what came of what was asked for.
func (j *judgement) asking() {
	list := j.of(purposeAsk, netip.Addr{})
	if len(list) == 0 {
		return
	}
	last := list[len(list)-1]
	if n := len(list) - 1; last.Err != "" && n > 0 {
		j.before = fmt.Sprintf("; %s before that it was answered", times(n))
	}
	f := Finding{Address: last.To, Sure: Certain, Tried: fmt.Sprintf("%s, %s", j.Options.what(), times(len(list)))}
	switch {
	case j.blackHole():
		j.theBlackHole(f)
		return // what was lost, and what came late, was too large
	case last.timedOut():
		j.unanswered(f, last)
	case last.Err != "" && last.Phase != "connect":
		j.ended(f, last)
	case j.late():
		j.lateAnswer(f, list)
	}
	j.losses(f)
	j.windows(f, last)
	j.delayedACKs(f, list)
}

// unanswered: it connected, and the time was over before the answer was there.
func (j *judgement) unanswered(f Finding, a Attempt) {
	if a.Info == nil {
		return
	}
	info := a.Info
	doing := fmt.Sprintf("%s, for %s", phase(a.Sample), short(a.Took))
	switch {
	case a.closedAtEnd():
		f.Kind = NotReading
		f.Seen = fmt.Sprintf("the server's receive window was closed for the last %s: %d bytes were taken, %d wait", short(a.Closing), info.Bytes_acked, info.Notsent_bytes)
		f.Means = "The server's host is there and acknowledges; the program does not read."
		f.Next = fmt.Sprintf("On the server: ss -tn 'sport = %d' has a Recv-Q that stays; what does the program wait for (its stack, a lock, a full disk)?", j.Options.Port)
	case info.Unacked > 0 && a.Closed < closedAtLeast:
		f.Kind, f.Sure = Unacknowledged, Likely
		f.Seen = fmt.Sprintf("%s: %d segments sent are not acknowledged, retransmitted %d times, back-off %d", doing, info.Unacked, a.retransmits(), info.Backoff)
		if len(j.of(purposeSmall, a.To)) > 0 {
			f.Seen += "; nor are small ones"
		}
		f.Means = "Since the handshake nothing comes through: the way broke just then, or a box on it lets handshakes pass and no data."
		f.Next = "Try again, and another port. A capture at both ends shows where the segments end: tcplab analyze."
	case a.Unread > 0:
		f.Kind = NotReading
		f.Seen = fmt.Sprintf("%s: the server's socket, on this machine, has %d bytes that its program does not read", doing, a.Unread)
		f.Means, f.Next = "The program does not read.", "What does it wait for (its stack, a lock)? ss -tnp has its pid."
		if a.Unaccepted {
			f.Means = "The program has not accepted the connection: it waits in the accept queue."
		}
	case a.Closed >= closedAtLeast || a.Phase == "upload":
		return // it is slow, which the windows and losses are about
	default:
		f.Kind = SilentServer
		f.Seen = fmt.Sprintf("%s: all that was sent was acknowledged, and %s came", doing, either(info.Bytes_received == 0, "nothing", fmt.Sprintf("%d bytes", info.Bytes_received)))
		f.Means = "The server's host is there. Its program hangs, or waits for more than it was sent, or has not accepted the connection: from outside these are the same."
		f.Next = fmt.Sprintf("Is that what the server expects (--send, --http, --tls)? On the server: ss -tnp 'sport = %d': "+
			"Recv-Q above 0 is a program that does not read, and a listener's is one that does not accept.", j.Options.Port)
	}
	f.Seen += j.before
	j.find(f)
}

// ended: the connection ended in place of an answer.
func (j *judgement) ended(f Finding, a Attempt) {
	f.Seen = fmt.Sprintf("%s: %s", phase(a.Sample), a.Err)
	switch {
	case a.Errno == "ECONNRESET" || a.Errno == "EPIPE":
		f.Kind, f.Means = Reset, "The server's program ended the connection (a crash, a close with unread data, SO_LINGER 0), its host does not know it any more, or a box on the way did."
		f.Next = "The server's log at that time. In a capture the reset's TTL tells whose it is: tcplab analyze."
	case a.Errno == "" && strings.Contains(a.Err, "closed the connection"):
		f.Kind, f.Means = ClosedUnanswered, "The server's program took the connection, and closed it: it refuses this client, it has no place, or it does not like what was asked."
		f.Next = "The server's log; its lists of allowed clients, its limits, and whether it expects TLS."
	case a.Phase == "tls":
		f.Kind, f.Means = TLSFailed, "TCP works. The server does not speak TLS there, or the two sides do not agree, or the certificate is not to be trusted."
		f.Next = fmt.Sprintf("openssl s_client -connect %s -servername %s; --insecure goes on without a certificate that is trusted.",
			netip.AddrPortFrom(a.To, j.Options.Port), j.Options.Host)
	default:
		f.Kind, f.Means, f.Next = unexpected, "It connected, and then failed.", "The message says what the server's program, or the kernel, did not like."
	}
	f.Seen += j.before
	j.find(f)
}

// lateBy is how much longer than the path the server took, in the median of what was asked: for TLS, or for the answer.
func (r *Report) lateBy() (first, tls time.Duration) {
	var answers, handshakes []time.Duration
	for _, a := range r.of(purposeAsk, netip.Addr{}) {
		if a.FirstByte > 0 {
			answers = append(answers, a.FirstByte-a.MinRTT)
		}
		if a.TLS > 0 {
			handshakes = append(handshakes, a.TLS-2*a.MinRTT) // at most two round trips, of TLS 1.2
		}
	}
	return middle(answers), middle(handshakes)
}

// late tells whether most answers took long, whyever.
func (r *Report) late() bool {
	first, tls := r.lateBy()
	return max(first, tls) > r.Options.Slow
}

func (j *judgement) lateAnswer(f Finding, list []Attempt) {
	first, tls := j.lateBy()
	a := list[len(list)-1]
	f.Kind = LateAnswer
	f.Seen = fmt.Sprintf("the first byte came %s after it was asked for, as a median, and the path takes %s", short(first+a.MinRTT), short(a.MinRTT))
	if tls > first {
		f.Seen = fmt.Sprintf("TLS took %s, as a median, and the path takes %s a round trip", short(tls+2*a.MinRTT), short(a.MinRTT))
	}
	if again := j.of(purposeAgain, a.To); a.Acked > 0 && len(again) > 0 {
		f.Seen += "; what was sent was acknowledged at once, and small segments are as late"
	}
	f.Means = "It is the server's program that takes long, and not the path."
	f.Next = "The server's own log of times, and what it waits for: a database, a name, another server, a lock, the CPU."
	j.find(f)
}

// blackHole tells whether small segments are answered, and others are not.
func (r *Report) blackHole() bool {
	again, smallest := r.of(purposeAgain, netip.Addr{}), r.of(purposeSmall, netip.Addr{})
	if len(again) == 0 || len(smallest) == 0 || smallest[0].Err != "" || smallest[0].answered()-smallest[0].MinRTT > r.Options.Slow {
		return false
	}
	return again[0].timedOut() || again[0].Err == "" && again[0].answered()-again[0].MinRTT > r.Options.Slow
}

func (j *judgement) theBlackHole(f Finding) {
	again := j.of(purposeAgain, netip.Addr{})[0]
	passes, fails := 0, again.mtu()
	for _, a := range j.of(purposeSmall, netip.Addr{}) {
		size := a.MSS + headers(a.To)
		if a.Err == "" && a.answered()-a.MinRTT <= j.Options.Slow {
			passes = max(passes, size)
		}
	}
	for _, a := range j.of(purposeSmall, netip.Addr{}) {
		if size := a.MSS + headers(a.To); size > passes {
			fails = min(fails, size)
		}
	}
	f.Kind = MTUBlackHole
	f.Tried += fmt.Sprintf("; then at the same time as before, and in segments that fit into %d bytes and more", leastMTU(f.Address))
	f.Seen = fmt.Sprintf("packets of %d bytes are answered, those of %d are not (%s)", passes, fails, either(again.Err != "", again.Err, "late"))
	f.Means = "A link on the way carries less than both ends believe, and the ICMP message that would say so does not come through."
	f.Next = fmt.Sprintf("Let ICMP \"fragmentation needed\" (IPv6: packet too big) pass; or clamp the MSS to %d at the router before that link; "+
		"or set net.ipv4.tcp_mtu_probing=1 at the side that sends.", passes-headers(f.Address))
	j.find(f)
}

// loses tells whether the path loses what is not a SYN, more than is common. Of what this side sends the kernel says so; of what comes it
// says only that something came before what was missing.
func (r *Report) loses() (yes, here bool, seen string) {
	var lost, sent, gaps, came int
	for _, a := range r.Attempts {
		if a.Info == nil || a.Connect == 0 || a.Purpose == purposeSmall || a.Purpose == purposeAgain {
			continue
		}
		lost, sent = lost+a.retransmits(), sent+int(a.Info.Data_segs_out)
		gaps, came = gaps+a.Holes, came+int(a.Info.Data_segs_in)
	}
	if moreThanCommon(lost, sent) {
		return true, true, fmt.Sprintf("%d of %d segments with data that were sent were lost, and retransmitted (%.2g %%)", lost, sent, percent(lost, sent))
	}
	return moreThanCommon(gaps, came), false, fmt.Sprintf("of %d segments with data that came, some were missing %d times for half a round trip and more, and came then", came, gaps)
}

func moreThanCommon(lost, of int) bool {
	if lost == 0 || of == 0 {
		return false
	}
	_, most := statistics.Binomial(of, commonLoss, mistaken)
	return lost > most
}

func (j *judgement) losses(f Finding) {
	yes, here, seen := j.loses()
	if !yes || j.found(Unacknowledged, Reset) {
		return
	}
	f.Kind, f.Seen, f.Sure = Loss, seen, either(here, Certain, Likely)
	f.Means = "The path loses packets" + either(here, "", " (or delays some by more than half a round trip)") + ": each loss takes a round trip or an RTO, and lowers the rate."
	f.Next = "Where does it lose: a full queue (is the RTT higher under load: tcplab probe), a bad link or radio (ip -s link, ethtool -S), a policer? mtr shows from which hop on."
	j.find(f)
}

// windows looks for a receive window that was in the way of what was sent.
func (j *judgement) windows(f Finding, a Attempt) {
	info := a.Info
	if info == nil || j.Options.Upload == 0 || info.Busy_time == 0 || j.found(NotReading, Unacknowledged) {
		return
	}
	share := float64(info.Rwnd_limited) / float64(info.Busy_time)
	switch {
	case a.Closed >= closedAtLeast:
		f.Kind = ZeroWindow
		f.Seen = fmt.Sprintf("the server's receive window had no room for a segment for %s of %s", short(a.Closed), short(time.Duration(info.Busy_time)*time.Microsecond))
		f.Means = "The server's program reads more slowly than the path brings. The path is not in the way."
		f.Next = fmt.Sprintf("What is it busy with between two reads? On the server: ss -tnmi 'sport = %d' has a Recv-Q near the buffer's size.", j.Options.Port)
	case share >= limited:
		f.Kind = WindowLimited
		f.Seen = fmt.Sprintf("in %.0f %% of the time there was more to send than the receive window of %d bytes allowed, and it never closed", 100*share, info.Snd_wnd)
		rate := float64(info.Snd_wnd) * 8 / max(a.MinRTT.Seconds(), 1e-6)
		f.Means = fmt.Sprintf("The server's receive buffer is small for this path: %d bytes each round trip of %s are %.3g Mbit/s at most.", info.Snd_wnd, short(a.MinRTT), rate/1e6)
		f.Next = "The server's program sets SO_RCVBUF (it should not), or its net.ipv4.tcp_rmem, net.core.rmem_max or tcp_window_scaling is too small: tcplab tune --rate --rtt."
	default:
		return
	}
	j.find(f)
}

// delayedACKs compares what was asked as usual with what was asked by a side that delays its ACKs.
func (j *judgement) delayedACKs(f Finding, list []Attempt) {
	var usual, delayed []time.Duration
	for _, a := range list {
		usual = append(usual, a.answered())
	}
	for _, a := range j.of(purposeDelayedACK, netip.Addr{}) {
		if a.Err == "" {
			delayed = append(delayed, a.answered())
		}
	}
	if len(delayed) < delayedAsks || len(usual) < asks || slices.Min(delayed)-slices.Max(usual) < delayedAtLeast || j.found(Loss) {
		return
	}
	f.Kind, f.Sure = DelayedACK, Likely
	f.Tried += fmt.Sprintf("; then %s with delayed ACKs, as on a connection that has been used for a while", times(delayedAsks))
	f.Seen = fmt.Sprintf("the whole answer takes %s, and %s with delayed ACKs", short(middle(usual)), short(middle(delayed)))
	f.Means = "The server writes its answer in pieces with Nagle's algorithm on: the last small one waits until this side has acknowledged the one before, and that ACK is delayed by 40 ms or more."
	f.Next = "In the server's program: write an answer at once (a buffer, writev), or set TCP_NODELAY. On this side TCP_QUICKACK hides it."
	j.find(f)
}

// pileUps judges the connections of other programs of this machine.
func (j *judgement) pileUps() {
	m := &j.Machine
	tried := "look at this machine's sockets"
	if n := m.States["TIME-WAIT"]; m.Ports > 0 && float64(n) >= manyPorts*float64(m.Ports) && !j.found(PortsExhausted) {
		j.find(Finding{Kind: TimeWait, Sure: Certain, Tried: tried, Seen: fmt.Sprintf("%d connections to the server are in TIME-WAIT, of %d local ports", n, m.Ports),
			Means: "Connections are made and closed faster than their ports come back (60 s). When all are taken, connect(2) fails with EADDRNOTAVAIL.",
			Next:  "Keep connections and use them again, or let the server close first. tcplab tune says what tcp_tw_reuse and more ports bring; tcp_fin_timeout brings nothing."})
	}
	if n := m.Forgotten; n >= manyWaiting {
		j.find(Finding{Kind: CloseWait, Sure: Certain, Tried: tried, Seen: fmt.Sprintf("%d connections are in CLOSE-WAIT, and have been silent for %s and more", n, short(forgotten)),
			Means: "The other side has closed, and a program of this machine does not: it leaks connections, until it has no file descriptors left.",
			Next:  fmt.Sprintf("ss -tnp state close-wait '( sport = %[1]d or dport = %[1]d )' has the program: does it close when read(2) returns 0, in all cases?", j.Options.Port)})
	}
	if n := m.Idle; n > 0 {
		j.find(Finding{Kind: NoKeepalive, Sure: Certain, Advice: true, Tried: tried,
			Seen:  fmt.Sprintf("%s idle for a minute and more without a keepalive timer", plural(n, "connection")),
			Means: "If the other side vanishes, or a NAT or balancer forgets the connection, nobody here notices before the next request hangs.",
			Next:  "In the program: SO_KEEPALIVE with TCP_KEEPIDLE below what boxes on the way forget after, and TCP_USER_TIMEOUT; or a heartbeat of its own."})
	}
}

// connections are those to the server, by state.
func (j *judgement) connections() string {
	var all []string
	for state, n := range j.Machine.States {
		all = append(all, fmt.Sprintf("%d %s", n, state))
	}
	if len(all) == 0 {
		return "no connection to it"
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (j *judgement) nextHop(to netip.Addr) string {
	if gateway := j.Machine.Routes[to].Gateway; gateway.IsValid() {
		return gateway.String()
	}
	return to.String()
}
