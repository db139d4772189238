package tune

import (
	"slices"
	"strconv"
)

// A belief is a setting that is copied from list to list.
type belief struct {
	Folklore
	harmless func(s situation, value string) bool // so that nothing is said; nil: whenever it is there, something is
}

func is(values ...string) func(situation, string) bool {
	return func(_ situation, value string) bool { return slices.Contains(values, value) }
}

var folklore = []belief{
	{Folklore{Key: "net.ipv4.tcp_tw_recycle", Belief: "it empties TIME_WAIT",
		Truth:  "It is gone since Linux 4.12, and dropped the SYNs of clients behind one NAT.",
		Source: "commit 4396e46187ca"}, nil},
	{Folklore{Key: "net.ipv4.tcp_fin_timeout", Belief: "it shortens TIME_WAIT",
		Truth:  "TIME_WAIT lasts 60 s whatever it says (TCP_TIMEWAIT_LEN). It is for FIN_WAIT2, of connections that the program has closed and the peer has not.",
		Source: "ip-sysctl.rst; tcp_time_wait"}, is("60")},
	{Folklore{Key: "net.core.rmem_max", Belief: "it bounds TCP's receive buffers",
		Truth:  "TCP's own growth is bounded by tcp_rmem. This is for SO_RCVBUF, which switches that growth off.",
		Source: "socket(7); tcp_rcv_space_adjust"}, is("212992", "4194304")},
	{Folklore{Key: "net.core.wmem_max", Belief: "it bounds TCP's send buffers",
		Truth:  "TCP's own growth is bounded by tcp_wmem. This is for SO_SNDBUF, which switches that growth off.",
		Source: "socket(7); tcp_sndbuf_expand"}, is("212992", "4194304")},
	{Folklore{Key: "net.ipv4.tcp_low_latency", Belief: "it lowers latency",
		Truth: "It does nothing since Linux 4.14: the prequeue that it switched off is gone.", Source: "ip-sysctl.rst"}, is("0")},
	{Folklore{Key: "net.ipv4.tcp_fack", Belief: "it speeds up the repair of losses",
		Truth: "It does nothing since Linux 4.15: RACK took its place.", Source: "ip-sysctl.rst"}, is("0")},
	{Folklore{Key: "net.ipv4.tcp_syncookies", Belief: "2 protects better than 1",
		Truth:  "With 2 each connection is opened by a cookie, also without a flood: only an MSS out of four and no option that needs a time stamp survive it.",
		Source: "ip-sysctl.rst; tcp_conn_request"}, is("0", "1")},
	{Folklore{Key: "net.ipv4.tcp_max_syn_backlog", Belief: "it is the length of the SYN queue",
		Truth:  "With tcp_syncookies=1 it does nothing that could be seen: the queue is as long as the accept queue, and then cookies take over.",
		Source: "tcp_conn_request; inet_csk_reqsk_queue_is_full"}, func(s situation, value string) bool {
		n, err := strconv.Atoi(value)
		return err != nil || s.kernel.Sysctls.SYNCookies == 0 || n <= 8192 // by the machine's memory, as it comes
	}},
	{Folklore{Key: "net.core.netdev_max_backlog", Belief: "it is the queue of a network card",
		Truth:  "Drivers with NAPI do not use it: it is for loopback, veth and receive packet steering.",
		Source: "enqueue_to_backlog"}, is("1000")},
	{Folklore{Key: "net.ipv4.tcp_rfc1337", Belief: "it protects servers with many connections",
		Truth:  "It ignores resets to TIME_WAIT, which are rare, and takes nothing off a server.",
		Source: "RFC 1337; tcp_timewait_state_process"}, is("0")},
	{Folklore{Key: "net.core.default_qdisc", Belief: "BBR needs fq",
		Truth:  "TCP paces by itself since Linux 4.13. fq saves timers on a machine with many fast flows.",
		Source: "commit 218af599fa63"}, func(s situation, value string) bool { return value != "fq" || s.settings[keyCongestion] != "bbr" }},
}
