package picture

import (
	"strings"

	"github.com/tcplab/tcplab/harness/analysis"
)

// Timer is one of TCP's timers, whose end made a host send a packet.
type Timer uint8

// The timers (include/net/tcp.h: ICSK_TIME_RETRANS, ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, and the keep-alive timer).
const (
	TimerNone      Timer = iota
	TimerRTO             // the retransmission timer, also of a SYN: RFC 6298
	TimerTLP             // the tail loss probe's: RFC 8985, section 7
	TimerPersist         // a closed window is probed: RFC 9293, section 3.8.6.1
	TimerKeepAlive       // RFC 9293, section 3.8.4
)

var timerNames = [...]string{"", "RTO", "TLP", "persist", "keep-alive"}

func (t Timer) String() string { return timerNames[t] }

// timers says of each packet which timer made its host send it, as its cause and its marks tell. A probe of a closed window looks like a
// keep-alive, since Linux sends an old byte: the window that the other side has offered last tells them apart.
func (p *Picture) timers() {
	type lane struct {
		connection, place int
		fromServer        bool
	}
	closed := map[lane]bool{} // whose window
	for i := range p.Packets {
		k := &p.Packets[i]
		if k.Connection == None || p.Places[k.Place].Dropped {
			continue
		}
		switch {
		case k.Cause == int(analysis.CauseRTO) || k.Cause == int(analysis.CauseSYN):
			k.Timer = TimerRTO
		case k.Cause == int(analysis.CauseTLP):
			k.Timer = TimerTLP
		case k.Marks&analysis.MarkZeroWindowProbe != 0, k.Marks&analysis.MarkKeepAlive != 0 && closed[lane{k.Connection, k.Place, !k.FromServer}]:
			k.Timer = TimerPersist
		case k.Marks&analysis.MarkKeepAlive != 0:
			k.Timer = TimerKeepAlive
		}
		if k.Flags&analysis.FlagACK != 0 {
			closed[lane{k.Connection, k.Place, k.FromServer}] = k.Window == 0 && k.Flags&(analysis.FlagSYN|analysis.FlagRST) == 0
		}
	}
}

// The names of a band.
const (
	BandState      = "state"      // of a socket
	BandCongestion = "congestion" // of its congestion control
)

// StateName is a socket's state as RFC 9293 writes it: what the kernel calls TCP_FIN_WAIT1 is FIN-WAIT-1.
func StateName(kernels string) string {
	switch kernels {
	case "TCP_FIN_WAIT1":
		return "FIN-WAIT-1"
	case "TCP_FIN_WAIT2":
		return "FIN-WAIT-2"
	case "TCP_SYN_RECV", "TCP_NEW_SYN_RECV":
		return "SYN-RECEIVED"
	case "TCP_CLOSE":
		return "CLOSED"
	}
	return strings.ReplaceAll(strings.TrimPrefix(kernels, "TCP_"), "_", "-")
}

// states adds the states of sockets of which the kernel's events do not tell, as packets show them.
func (p *Picture) states() {
	type socket struct {
		connection int
		fromServer bool
	}
	told := map[socket]bool{}
	for _, b := range p.Bands {
		if b.Name == BandState {
			told[socket{b.Connection, b.FromServer}] = true
		}
	}
	for connection, packets := range p.byConnection() {
		for _, fromServer := range []bool{false, true} {
			if !told[socket{connection, fromServer}] {
				p.Bands = append(p.Bands, p.statesOf(packets, connection, fromServer)...)
			}
		}
	}
}

// statesOf are the states of one side of a connection (RFC 9293, figure 5), by what its own capture saw it send and get, or, without one,
// by that of the first place.
func (p *Picture) statesOf(packets []int, connection int, fromServer bool) []Band {
	k := &p.Connections[connection]
	place := k.Views[0].Place
	if n := len(k.Path); n > 0 {
		host := k.Path[0]
		if fromServer {
			host = k.Path[n-1]
		}
		for _, v := range k.Views {
			if p.Places[v.Place].Host == host {
				place = v.Place
			}
		}
	}
	s := socket{}
	var bands []Band
	for _, i := range packets {
		packet := &p.Packets[i]
		if packet.Place != place {
			continue
		}
		before := s.state
		if packet.FromServer == fromServer {
			s.send(packet)
		} else {
			s.receive(packet)
		}
		if s.state == before {
			continue
		}
		if n := len(bands); n > 0 {
			bands[n-1].To = packet.At
		}
		bands = append(bands, Band{Name: BandState, Value: s.state, Connection: connection, FromServer: fromServer, From: packet.At, To: max(p.End, packet.At), Inferred: true})
	}
	return bands
}

// socket is what is known of a socket by its packets. States have the kernel's names.
type socket struct {
	state        string // "": nothing was seen
	fin, theirs  uint32 // behind the FIN that it sent, and behind the one that it got
	sent, gotFIN bool
}

func (s *socket) send(k *Packet) {
	switch {
	case k.Flags&analysis.FlagRST != 0:
		s.state = "TCP_CLOSE"
		return
	case k.Flags&analysis.FlagSYN != 0 && s.state == "":
		s.state = "TCP_SYN_SENT"
		return
	case s.state == "":
		s.state = "TCP_ESTABLISHED" // the capture began later
	}
	// A FIN counts once all before it has come, which its ACK says: the kernel sends that at once.
	if s.gotFIN && k.Flags&analysis.FlagACK != 0 && !before(k.Ack, s.theirs) {
		s.gotFIN = false
		switch s.state {
		case "TCP_ESTABLISHED", "TCP_SYN_RECV":
			s.state = "TCP_CLOSE_WAIT"
		case "TCP_FIN_WAIT1":
			s.state = "TCP_CLOSING"
		case "TCP_FIN_WAIT2":
			s.state = "TCP_TIME_WAIT"
		}
	}
	if k.Flags&analysis.FlagFIN != 0 {
		s.fin, s.sent = k.Next(), true
		switch s.state {
		case "TCP_ESTABLISHED", "TCP_SYN_RECV":
			s.state = "TCP_FIN_WAIT1"
		case "TCP_CLOSE_WAIT":
			s.state = "TCP_LAST_ACK"
		}
	}
}

func (s *socket) receive(k *Packet) {
	syn, ack := k.Flags&analysis.FlagSYN != 0, k.Flags&analysis.FlagACK != 0
	switch {
	case k.Flags&analysis.FlagRST != 0:
		s.state = "TCP_CLOSE"
	case syn && !ack && (s.state == "" || s.state == "TCP_SYN_SENT"):
		s.state = "TCP_SYN_RECV"
	case syn && ack && s.state == "TCP_SYN_SENT", ack && s.state == "TCP_SYN_RECV", s.state == "":
		s.state = "TCP_ESTABLISHED"
	}
	if ack && s.sent && !before(k.Ack, s.fin) {
		switch s.state {
		case "TCP_FIN_WAIT1":
			s.state = "TCP_FIN_WAIT2"
		case "TCP_CLOSING":
			s.state = "TCP_TIME_WAIT"
		case "TCP_LAST_ACK":
			s.state = "TCP_CLOSE"
		}
	}
	if k.Flags&analysis.FlagFIN != 0 {
		s.theirs, s.gotFIN = k.Next(), true
	}
}
