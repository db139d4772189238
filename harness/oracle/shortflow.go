package oracle

import (
	"fmt"
	"time"
)

// FlowTime is how long a flow takes on a path without a bottleneck, from the SYN to the ACK of its last segment: a round trip of the handshake, and one
// for each window of slow start ([Kernel.SlowStart]), each late by what the hosts take. An ACK of the end of a window may be delayed by the
// receiver, where it has an odd number of segments and nothing follows.
func FlowTime(windows []int, rtt, hosts time.Duration, receiver Kernel) Span {
	all := time.Duration(len(windows) + 1)
	return Between(all*rtt, all*(rtt+hosts)+receiver.DelayedACK(rtt).Latest).From(fmt.Sprintf("%d RTT: the handshake and %d windows; RFC 6928", all, len(windows)))
}

// SlowStartClosing is [Kernel.SlowStart] of a program that has closed by then: before Linux 6.10 the last segment, which has FIN, leaves though the window is
// full (net/ipv4/tcp_output.c: tcp_cwnd_test, "remove dubious FIN exception").
func (k Kernel) SlowStartClosing(segments int) []int {
	rounds := k.SlowStart(segments)
	if n := len(rounds); !k.Version.AtLeast(6, 10) && n > 1 && rounds[n-1] == 1 {
		rounds[n-2]++
		return rounds[:n-1]
	}
	return rounds
}
