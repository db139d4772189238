package oracle

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Prediction is one behaviour of TCP, as text.
type Prediction struct {
	Subject   string `json:"subject"`         // such as "opening"
	Behaviour string `json:"behaviour"`       // what is predicted, such as "connect(2) gives up after"
	Expected  string `json:"expected"`        // the prediction, with its unit
	Times     Spans  `json:"times,omitempty"` // the spans that Expected speaks of, in nanoseconds
	Source    string `json:"source"`          // an RFC, a function of the kernel, a sysctl
}

// Predictions lists what a kernel's TCP will do on a path with that RTT, by default: no socket options set, one segment in
// flight, no answer where the peer matters.
func (k Kernel) Predictions(rtt time.Duration) []Prediction {
	var list []Prediction
	add := func(subject, behaviour, expected, source string, times ...Span) {
		list = append(list, Prediction{subject, behaviour, expected, times, source})
	}
	// What the hosts add to the round trip.
	path := Between(rtt, rtt+time.Millisecond)
	k.predictOpening(add)
	k.predictBlackhole(add, path)
	k.predictIdle(add, path)
	k.predictClosing(add, path)
	k.predictPath(add, path)
	k.predictCongestion(add, rtt)
	add("timers", "a timer of 200 ms, 1 s, 60 s is late by at most",
		fmt.Sprintf("%v, %v, %v", k.late(200*time.Millisecond), k.late(time.Second), k.late(time.Minute)),
		"kernel/time/timer.c: calc_wheel_index")
	return list
}

type adder func(subject, behaviour, expected, source string, times ...Span)

// at writes when repetitions are sent, by their earliest times.
func at(spans Spans) string {
	words := make([]string, len(spans))
	for i, s := range spans {
		words[i] = short(s.Earliest)
	}
	return strings.Join(words, " ")
}

// short writes a time in seconds, to the millisecond.
func short(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Round(time.Millisecond)/time.Millisecond)/1000, 'f', -1, 64) // Seconds() is not exact
}

func until(s Span) string { return fmt.Sprintf("%s to %s s", short(s.Earliest), short(s.Latest)) }

func (k Kernel) predictOpening(add adder) {
	syns := k.Connect(ConnectOptions{})
	add("opening", "SYN retransmissions at", at(syns.Sent)+" s", "tcp_write_timeout; RFC 6298, 5", syns.Sent...)
	add("opening", "connect(2) gives up after", until(syns.End), "tcp_write_timeout, tcp_model_timeout", syns.End)
	synACKs := k.SYNACKs()
	add("opening", "SYN-ACKs again, at", at(synACKs.Sent)+" s", "reqsk_timer_handler", synACKs.Sent...)
	add("opening", "the request is forgotten after", until(synACKs.End), "reqsk_timer_handler", synACKs.End)
	crowded := k.SYNACKsCrowded()
	add("opening", "the same in a crowded queue", until(crowded.End), "reqsk_timer_handler", crowded.End)
	const backlog = 8
	f := k.SYNFlood(200, backlog)
	add("opening", "200 SYNs to listen(8)", fmt.Sprintf("%d held, %d cookies, %d dropped", f.Held, f.Cookies, f.Dropped), "tcp_conn_request")
	add("opening", "listen(8) without accept(2)", fmt.Sprintf("%d connections wait", k.AcceptQueue(backlog)), "sk_acceptq_is_full")
	add("opening", "ECN that connect(2) asks for, and that listen(2) takes",
		fmt.Sprintf("%v, %v", k.ecnAsked(), k.ecnTaken()), "tcp_ecn; RFC 3168, RFC 9768")
	add("opening", "connections to one address and port", strconv.Itoa(k.EphemeralPorts()), "inet_hash_connect; ip_local_port_range")
}

func (k Kernel) predictBlackhole(add adder, path Span) {
	flow := Flow{RTT: path}
	rto := Between(k.rto(path.Earliest, 0), k.rto(path.Latest, 0))
	add("blackhole", "RTO on a clean path", until(rto), "tcp_set_rto; RFC 6298, 2", rto)
	first := Between(k.RTOAfterHandshake(path.Earliest), k.RTOAfterHandshake(path.Latest))
	add("blackhole", "RTO after the handshake", until(first), "tcp_rtt_estimator; RFC 6298, 2.2", first)
	blackhole := k.Blackhole(flow)
	if blackhole.Probes > 0 {
		add("blackhole", "tail loss probe, one segment", until(blackhole.Sent[0]), "tcp_schedule_loss_probe; RFC 8985, 7", blackhole.Sent[0])
		two := Flow{RTT: path, InFlight: 2}
		add("blackhole", "tail loss probe, two segments", until(k.Blackhole(two).Sent[0]), "tcp_schedule_loss_probe; RFC 8985, 7", k.Blackhole(two).Sent[0])
	}
	again := blackhole.Sent[blackhole.Probes:]
	add("blackhole", "retransmissions at", at(again)+" s", "tcp_retransmit_timer; RFC 6298, 5.5", again...)
	add("blackhole", "ETIMEDOUT after", until(blackhole.End), "tcp_write_timeout, tcp_model_timeout", blackhole.End)
	user := k.Blackhole(Flow{RTT: path, UserTimeout: 5 * time.Second})
	add("blackhole", "the same, TCP_USER_TIMEOUT 5 s", until(user.End), "tcp_clamp_rto_to_user_timeout", user.End)
	orphan := k.Blackhole(Flow{RTT: path, Orphan: true})
	add("blackhole", "the same after close(2)", until(orphan.End), "tcp_orphan_retries", orphan.End)
}

func (k Kernel) predictIdle(add adder, path Span) {
	ack := k.DelayedACK(path.Earliest)
	add("idle", "delayed ACK after", until(ack), "tcp_send_delayed_ack", ack)
	probes := k.ZeroWindowProbes(ProbeOptions{RTT: path}, 7)
	add("idle", "probes of a closed window at", at(probes)+" s", "tcp_probe0_when; RFC 9293, 3.8.6.1", probes...)
	if end, ok := k.ZeroWindowEnd(ProbeOptions{RTT: path, UserTimeout: 5 * time.Second}); ok {
		add("idle", "the same, TCP_USER_TIMEOUT 5 s, ends after", until(end), "tcp_probe_timer", end)
	}
	unanswered := k.zeroWindowUnanswered(ProbeOptions{RTT: path})
	add("idle", "the same, unanswered, gives up after", until(unanswered.End), "tcp_probe_timer: tcp_retries2", unanswered.End)
	keepalive := k.Keepalive(KeepaliveOptions{})
	if len(keepalive.Sent) > 0 {
		add("idle", "first keepalive probe after", until(keepalive.Sent[0]), "tcp_keepalive_timer", keepalive.Sent[0])
	}
	add("idle", "keepalive gives up after", until(keepalive.End), "tcp_keepalive_timer; RFC 9293, 3.8.4", keepalive.End)
}

func (k Kernel) predictClosing(add adder, path Span) {
	whole, _ := k.FINWait2(k.rto(path.Latest, 0), 0)
	add("closing", "FIN_WAIT2 after close(2) lasts", until(whole), "tcp_fin_time, tcp_time_wait", whole)
	add("closing", "TIME_WAIT lasts", until(k.TimeWait()), "TCP_TIMEWAIT_LEN", k.TimeWait())
	add("closing", "TIME_WAITs at most", strconv.Itoa(k.Sysctls.MaxTWBuckets), "inet_twsk_alloc")
	reuse := "never"
	if age, ok := k.TimeWaitReuse(false); ok {
		reuse = until(age)
	}
	add("closing", "connect(2) takes a port in TIME_WAIT after", reuse, "tcp_twsk_unique")
}

func (k Kernel) predictPath(add adder, path Span) {
	expected := "stalls until it gives up"
	hole, ok := k.BlackHole(Flow{RTT: path, InFlight: 2}, 1448)
	if ok {
		expected = fmt.Sprintf("MSS %d after %s", hole.MSS[0], until(hole.Found))
		add("path", "in a black hole", expected, "tcp_mtu_probing; RFC 4821", hole.Found)
	} else {
		add("path", "in a black hole", expected, "tcp_mtu_probing; RFC 4821")
	}
	add("path", "a path MTU is remembered for", short(k.PathMTULife())+" s", "ip_rt_update_pmtu; mtu_expires", Exactly(k.PathMTULife()))
}

func (k Kernel) predictCongestion(add adder, rtt time.Duration) {
	rounds := strings.Trim(fmt.Sprint(k.SlowStart(300)), "[]")
	add("congestion", "300 segments, in rounds of", rounds, "tcp_slow_start; RFC 6928")
	rto := k.rto(rtt, 0)
	add("congestion", "window of 100 after 2 s idle", strconv.Itoa(k.windowAfterIdle(100, 2*time.Second, rto)), "tcp_cwnd_restart; RFC 2861")
	h := k.hyStart(rtt, false)
	add("congestion", "HyStart ends slow start at an RTT of", h.delay.String(), "hystart_update", Exactly(h.delay))
	add("congestion", "HyStart ends slow start at a train of", h.train.String(), "hystart_update", Exactly(h.train))
	add("congestion", "CUBIC's and Reno's window of 100 after a loss",
		fmt.Sprintf("%d, %d", CubicAfterLoss(100), renoAfterLoss(100)), "cubictcp_recalc_ssthresh, tcp_reno_ssthresh")
	back := CubicCurveAfter(100).k()
	add("congestion", "CUBIC is back at 100 after", back.Round(time.Millisecond).String(), "RFC 9438, 4.2", Exactly(back))
	if rtt > 0 {
		mbit := func(p float64) string {
			return fmt.Sprintf("%.3g, %.3g Mbit/s", CubicResponse(p, rtt)*1448*8/rtt.Seconds()/1e6, renoResponse(p)*1448*8/rtt.Seconds()/1e6)
		}
		add("congestion", "CUBIC and Reno at 0.1 % loss", mbit(.001), "RFC 9438, 5.2; RFC 3649, 2")
		add("congestion", "CUBIC and Reno at 1 % loss", mbit(.01), "RFC 9438, 5.2; RFC 3649, 2")
		add("congestion", "without window scaling at most", fmt.Sprintf("%.3g Mbit/s", Throughput(UnscaledWindow, rtt)/1e6), "RFC 7323, 2.2")
	}
}
