package diagnose

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernel"
)

// A Machine is what this one knows of the way to a server, and of connections that other programs here have with it. What cannot be read
// is in Errs, and is no finding.
type Machine struct {
	Routes map[netip.Addr]Route `json:"routes"`
	// Counters are those of TCP and IP that grew meanwhile, on the whole machine.
	Counters kernel.Counters `json:"counters"`
	// States are how many connections were there before, by state.
	States map[string]int `json:"states,omitempty"`
	// Forgotten are those that stood in CLOSE-WAIT for long, Idle those that were idle for long without a keepalive.
	Forgotten int `json:"forgotten,omitempty"`
	Idle      int `json:"idle,omitempty"`
	// Listeners are those of the port, where the server is on this machine, with what each dropped meanwhile.
	Listeners []Listener `json:"listeners,omitempty"`
	Ports     int        `json:"ports,omitempty"` // in net.ipv4.ip_local_port_range
	Errs      []string   `json:"errors,omitempty"`

	counted kernel.Counters
}

// A Route is how packets leave for an address.
type Route struct {
	Local   bool       `json:"local,omitempty"` // the address is this machine's own
	Source  netip.Addr `json:"source,omitzero"`
	Gateway netip.Addr `json:"gateway,omitzero"`
	Device  string     `json:"device,omitempty"`
	Err     string     `json:"error,omitempty"`
}

// A Listener is a socket that listens.
type Listener struct {
	Address netip.AddrPort `json:"address"`
	Queued  uint32         `json:"queued"`  // connections that wait to be accepted, when it was looked at last
	Backlog uint32         `json:"backlog"` // of which there is one more place
	Dropped uint32         `json:"dropped"` // SYNs and ACKs meanwhile

	dropped uint32 // before
}

const (
	forgotten   = 5 * time.Second // in CLOSE-WAIT: a program that reads learns of the end at once
	idle        = time.Minute     // a minute of silence: nobody is in the middle of something
	manyWaiting = 10              // in CLOSE-WAIT
)

func (m *Machine) note(what string, err error) {
	if err != nil {
		m.Errs = append(m.Errs, what+": "+err.Error())
	}
}

func (m *Machine) before(addresses []netip.Addr, port uint16) {
	m.Routes, m.States = map[netip.Addr]Route{}, map[string]int{}
	for _, address := range addresses {
		m.Routes[address] = routeTo(address)
	}
	var err error
	m.counted, err = kernel.ReadCounters(nil)
	m.note("counters", err)
	m.Ports, err = localPorts()
	m.note("net.ipv4.ip_local_port_range", err)
	sockets, err := kernel.ReadSockets(nil, kernel.SocketFilter{Port: port})
	m.note("sockets", err)
	for _, s := range sockets {
		m.count(s, addresses, port)
	}
}

// count takes a socket of the port, if it is of a connection with one of the addresses, or a listener for it.
func (m *Machine) count(s kernel.Socket, addresses []netip.Addr, port uint16) {
	here := m.isLocal(addresses, s.Local.Addr())
	if s.State == kernel.Listen {
		if s.Local.Port() == port && here {
			l := Listener{Address: s.Local, Queued: s.ReceiveQueue, Backlog: s.SendQueue}
			if s.Memory != nil {
				l.dropped = s.Memory.Drops
			}
			m.Listeners = append(m.Listeners, l)
		}
		return
	}
	remote := s.Remote.Port() == port && slices.Contains(addresses, s.Remote.Addr())
	if !remote && (s.Local.Port() != port || !here) {
		return
	}
	m.States[s.State.String()]++
	if s.TCPInfo == nil || s.Inode == 0 {
		return
	}
	silent := func(milliseconds ...uint32) time.Duration {
		return time.Duration(slices.Min(milliseconds)) * time.Millisecond
	}
	switch {
	case s.State == kernel.CloseWait && silent(s.TCPInfo.Last_ack_recv, s.TCPInfo.Last_data_sent) >= forgotten:
		m.Forgotten++
	case s.State == kernel.Established && s.Timer.Kind == kernel.TimerOff && silent(s.TCPInfo.Last_data_recv, s.TCPInfo.Last_data_sent) >= idle:
		m.Idle++
	}
}

// isLocal tells whether a socket's own address is one of those that are asked about, and this machine's.
func (m *Machine) isLocal(addresses []netip.Addr, own netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return m.Routes[a].Local && (own == a || own.IsUnspecified()) })
}

func (m *Machine) after(port uint16) {
	if m.counted != nil {
		now, err := kernel.ReadCounters(nil)
		m.note("counters", err)
		m.Counters = kernel.Counters{}
		for name, n := range now.Since(m.counted) {
			if n > 0 && (strings.HasPrefix(name, "Tcp") || strings.HasPrefix(name, "Icmp")) && !settings[name] {
				m.Counters[name] = n
			}
		}
	}
	if len(m.Listeners) == 0 {
		return
	}
	sockets, err := kernel.ReadSockets(nil, kernel.SocketFilter{States: []kernel.State{kernel.Listen}, Port: port})
	m.note("sockets", err)
	for i := range m.Listeners {
		for _, s := range sockets {
			if l := &m.Listeners[i]; s.Local == l.Address {
				l.Queued, l.Backlog = s.ReceiveQueue, s.SendQueue
				if s.Memory != nil {
					l.Dropped = s.Memory.Drops - l.dropped
				}
			}
		}
	}
}

// settings are among the counters, and do not count.
var settings = map[string]bool{"TcpRtoAlgorithm": true, "TcpRtoMin": true, "TcpRtoMax": true, "TcpMaxConn": true, "TcpCurrEstab": true}

// dropped is what listeners dropped meanwhile.
func (m *Machine) dropped() (n uint32) {
	for _, l := range m.Listeners {
		n += l.Dropped
	}
	return n
}

func routeTo(address netip.Addr) Route {
	routes, err := netlink.RouteGet(address.AsSlice())
	if err != nil || len(routes) == 0 {
		return Route{Err: fmt.Sprint(err)}
	}
	r := Route{Local: routes[0].Type == unix.RTN_LOCAL}
	r.Source, _ = netip.AddrFromSlice(routes[0].Src)
	r.Gateway, _ = netip.AddrFromSlice(routes[0].Gw)
	r.Source, r.Gateway = r.Source.Unmap(), r.Gateway.Unmap()
	if link, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
		r.Device = link.Attrs().Name
	}
	return r
}

// localPorts is how many ports connect(2) chooses from.
func localPorts() (int, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, fmt.Errorf("%q: want two numbers", text)
	}
	low, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0, err
	}
	high, err := strconv.Atoi(fields[1])
	return high - low + 1, err
}

// peer looks for the server's side of a connection within this machine.
func (w *watch) peer() {
	local, remote := ends(w.fd)
	if !local.IsValid() || local.Addr() != remote.Addr() {
		return
	}
	sockets, err := kernel.ReadSockets(nil, kernel.SocketFilter{Port: local.Port()})
	if err != nil {
		return
	}
	for _, s := range sockets {
		if s.Local == remote && s.Remote == local {
			w.a.Unread, w.a.Unaccepted = s.ReceiveQueue, s.Inode == 0
		}
	}
}

// ends are the addresses of a connection; invalid where it is not one.
func ends(fd int) (local, remote netip.AddrPort) {
	own, err := unix.Getsockname(fd)
	if err != nil {
		return local, remote
	}
	other, err := unix.Getpeername(fd)
	if err != nil {
		return local, remote
	}
	return addrPort(own), addrPort(other)
}

func addrPort(address unix.Sockaddr) netip.AddrPort {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)) //nolint:gosec // a port
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)) //nolint:gosec // a port
	}
	return netip.AddrPort{}
}
