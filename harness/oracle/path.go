package oracle

import "time"

// PathMTULife is how long the path MTU from an ICMP message is remembered (net.ipv4.route.mtu_expires: 600 s;
// net/ipv4/route.c: ip_rt_update_pmtu). It ends with the first packet after that time, not by a timer.
func (k Kernel) PathMTULife() time.Duration {
	return time.Duration(k.Sysctls.MTUExpires) * time.Second
}

// BlackHole is how a flow gets through a path-MTU black hole: a path that drops its full segments without an ICMP message.
type BlackHole struct {
	Found Span  // when the first smaller segments leave, from the first transmission on
	MSS   []int // the payload of a segment: at Found, and after each further time-out
}

// BlackHole is what tcp_mtu_probing 1 and 2 do in a black hole: at the first time-out that finds tcp_retries1's time
// passed since the first retransmission (3 s for 3), the MSS becomes tcp_base_mss, and with each further time-out half
// of what it was. With 0 there is no way out; the answer is false (net/ipv4/tcp_timer.c: tcp_mtu_probing,
// retransmits_timed_out; RFC 4821).
//
// A TCP_USER_TIMEOUT that is over by then ends the flow first: false, too.
//
// With 2 segments begin at tcp_base_mss, and are halved at the first of these time-outs already.
func (k Kernel) BlackHole(f Flow, mss int) (BlackHole, bool) {
	if k.Sysctls.MTUProbing == 0 {
		return BlackHole{}, false
	}
	probing := k
	probing.Sysctls.Retries2 = k.Sysctls.Retries1 // the same rule, with another number
	retry := probing.Blackhole(Flow{RTT: f.RTT, RTO: f.RTO, InFlight: f.InFlight, NoProbe: f.NoProbe})

	if f.UserTimeout != 0 && k.Blackhole(f).End.Earliest <= retry.End.Earliest {
		return BlackHole{}, false
	}

	// search_low, which the MSS is cut to from then on
	low := k.Sysctls.BaseMSS
	halve := func() int {
		return max(min(low/2, k.Sysctls.BaseMSS), k.Sysctls.MTUProbeFloor, k.Sysctls.MinSndMSS)
	}
	if k.Sysctls.MTUProbing == 2 {
		low = halve()
	}
	hole := BlackHole{Found: retry.End.From("RFC 4821; tcp_mtu_probing: tcp_retries1"), MSS: []int{min(mss, low)}}
	for next := halve(); next < low; next = halve() {
		low = next
		hole.MSS = append(hole.MSS, min(mss, low))
	}
	return hole, true
}
