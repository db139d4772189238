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
