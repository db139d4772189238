package kernel

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

func TestSocketText(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.1.1:40000"), netip.MustParseAddrPort("10.0.2.2:80")
	for _, tt := range []struct {
		socket        Socket
		line, details string
	}{
		{
			Socket{Local: b, Remote: netip.MustParseAddrPort("0.0.0.0:0"), State: Listen, SendQueue: 128, Timer: Timer{Kind: TimerOff}},
			"LISTEN recv-q 0 send-q 128 10.0.2.2:80 *", "",
		},
		{
			Socket{
				Local: a, Remote: b, State: Established, SendQueue: 2896, Congestion: "bbr",
				Timer:  Timer{TimerOn, 204 * time.Millisecond, 1},
				Memory: &Memory{SendQueued: 4608, SendLimit: 87040}, BBR: &BBRInfo{Bandwidth: 2500000, PacingGain: 2.88671875},
			},
			"ESTAB recv-q 0 send-q 2896 10.0.1.1:40000 10.0.2.2:80 timer on 204ms, 1 expired bbr",
			"skmem sndbuf:87040 wmem_queued:4608 bbr bw:2500000 pacing_gain:2.88671875",
		},
	} {
		if got := tt.socket.String(); got != tt.line {
			t.Errorf("%q, want %q", got, tt.line)
		}
		if got := tt.socket.Details(); got != tt.details {
			t.Errorf("%q, want %q", got, tt.details)
		}
	}
	info := Socket{TCPInfo: &tcpinfo.Info{}, Memory: &Memory{1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31, 1 << 31}}
	lines := strings.Split(info.Details(), "\n")
	if len(lines) != 2 || len(lines[0]) > detailWidth || !strings.HasPrefix(lines[0], "tcp_info skmem rmem_alloc:2147483648 ") {
		t.Errorf("%q", lines)
	}
}

func TestEventText(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.1.1:40000"), netip.MustParseAddrPort("10.0.2.2:80")
	event := func(kind EventKind) Event {
		return Event{At: 50113 * time.Microsecond, Kind: kind, Host: "client", Local: a, Remote: b}
	}
	change, resent, reset, probe := event(StateChange), event(Retransmit), event(ResetSent), event(Probe)
	change.Old, change.New = SynSent, Established
	resent.State, resent.Err = Established, -113
	reset.Reason = "NO_SOCKET"
	probe.Probe = &ProbeValues{DataLen: 10, SndNxt: 2, SndUna: 1, SndCwnd: 10, Ssthresh: 7, SndWnd: 100, SRTT: 40000, RcvWnd: 200}
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{change, "0.050113s client 10.0.1.1:40000 10.0.2.2:80 inet_sock_set_state SYN-SENT > ESTAB"},
		{resent, "0.050113s client 10.0.1.1:40000 10.0.2.2:80 tcp_retransmit_skb in ESTAB error -113"},
		{reset, "0.050113s client 10.0.1.1:40000 10.0.2.2:80 tcp_send_reset NO_SOCKET"},
		{probe, "0.050113s client 10.0.1.1:40000 10.0.2.2:80 tcp_probe cwnd 10 ssthresh 7 srtt 40000 us snd_wnd 100 rcv_wnd 200 nxt 2 una 1 len 10"},
		{Event{Kind: Drop, Reason: "QDISC_DROP"}, "0.000000s kfree_skb QDISC_DROP"},
	} {
		if got := tt.event.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
