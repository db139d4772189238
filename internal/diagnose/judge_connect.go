package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

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
		f := j.failure(a, len(failed), len(failed)+len(good))
		if a.silent() && len(good) > 0 && f.Kind == Filtered {
			continue // other SYNs were answered
		}
		f.Address = address
		same := func(g Finding) bool {
			return g.Kind == f.Kind && g.Address == address && (g.Kind != Failed || g.Seen == f.Seen)
		}
		if !slices.ContainsFunc(j.findings, same) {
			j.find(f)
		}
	}
	j.lateConnects(address, good, failed)
}

// failure says why a connect(2) failed, one of so many.
func (j *judgement) failure(a Attempt, failed, all int) (f Finding) {
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
		f.Kind, f.Means, f.Next = Failed, "The kernel did not even try.", "socket(2), connect(2) and tcp(7) have the errno: limits of this process (ulimit -n), or of this machine."
	}
	return f
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
