package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/statistics"
)

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
	case last.gaveUp():
		j.givenUp(f, last)
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
	case a.Closed >= closedAtLeast || a.flowing():
		return // it is slow, which the windows and losses are about
	case info.Unacked > 0:
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

// givenUp: this machine's TCP has retransmitted for so long that it ended the connection.
func (j *judgement) givenUp(f Finding, a Attempt) {
	f.Kind = Unacknowledged
	f.Seen = fmt.Sprintf("%s: after %s of retransmissions this machine ended the connection (%s)%s", phase(a.Sample), short(a.Took), a.Errno, j.before)
	f.Means = "Since the handshake nothing comes through: the way broke just then, or a box on it lets handshakes pass and no data."
	f.Next = "Try again, and another port. A capture at both ends shows where the segments end: tcplab analyze."
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
	case a.Errno != "":
		f.Kind, f.Means, f.Next = Failed, "It connected, and then this machine's kernel refused.", "read(2), write(2) and tcp(7) have the errno."
	default:
		f.Kind, f.Means = NotHTTP, "TCP works. What the server answers is not what was asked for: it is no HTTP server, or one that expects TLS."
		f.Next = "What does listen there? --wait and --send show whether it answers at all; --tls asks over TLS."
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
	if len(again) == 0 || len(smallest) == 0 || smallest[0].Err != "" || smallest[0].beyond() > r.Options.Slow {
		return false
	}
	return again[0].timedOut() || again[0].Err == "" && again[0].beyond() > r.Options.Slow
}

func (j *judgement) theBlackHole(f Finding) {
	again := j.of(purposeAgain, netip.Addr{})[0]
	passes, fails := 0, again.mtu()
	for _, a := range j.of(purposeSmall, netip.Addr{}) {
		size := a.MSS + headers(a.To)
		if a.Err == "" && a.beyond() <= j.Options.Slow {
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
