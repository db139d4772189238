package diagnose

import (
	"fmt"
	"slices"
	"time"
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

func (j *judgement) find(f Finding) {
	f.Status = f.Kind.ExitStatus()
	j.findings = append(j.findings, f)
}

func (j *judgement) found(kinds ...Kind) bool {
	return slices.ContainsFunc(j.findings, func(f Finding) bool { return slices.Contains(kinds, f.Kind) })
}

func (j *judgement) name() {
	n := j.Name
	f := Finding{Sure: Certain, Tried: "resolve " + j.Options.Host, Seen: n.Err}
	f.Next = "Look at /etc/resolv.conf and at the way to the server there; try an address in place of the name."
	switch {
	case n.Err == "":
		return
	case n.NotFound && n.Server == "":
		f.Kind, f.Means = NoSuchName, "No DNS server was asked, and this machine's own list does not have the name."
		f.Next = "Look at /etc/hosts, and at the line hosts of /etc/nsswitch.conf: without dns there, no DNS server is asked."
	case n.NotFound:
		f.Kind, f.Means = NoSuchName, "There is no such name, or it has no address of that family."
		f.Next = "Look at the spelling and at the search list (/etc/resolv.conf); ask another resolver: dig " + j.Options.Host + " @9.9.9.9."
	case n.Misbehaves:
		f.Kind, f.Means = NoResolver, "The resolver answers that it cannot say: it does not reach the servers of that domain, or does not believe them (DNSSEC), or refuses this client."
		f.Next = "The resolver's log. Ask another one: dig " + j.Options.Host + " @9.9.9.9."
	default:
		f.Kind, f.Means = NoResolver, "No resolver has answered: whether there is such a name is not known."
	}
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
