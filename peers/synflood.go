package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// SYNFlood sends SYNs from a raw socket with spoofed source addresses. It needs CAP_NET_RAW.
//
// The answers of the server must be lost. The server needs a route to the sources, or it drops the SYN; and an ICMP
// unreachable message or an RST makes it drop the request. Unused addresses of the client's subnet fulfil that, on a
// link without neighbour discovery. An address of the client's own host is refused. With sysctl rp_filter, the route
// to the sources must lead where the SYNs come from.
//
// The n-th SYN, from 0, has sequence number n, source port 1024 + n, and the source address n modulo their number.
type SYNFlood struct {
	Connect netip.AddrPort `json:"connect"`
	From    netip.Prefix   `json:"from"` // the source addresses: all but the first and the last of 4 or more
	// AwaitBegin lets it start when Peer.Begin is called, rather than at once. Its socket is made before.
	AwaitBegin bool `json:"await_begin,omitempty"`

	Count    int           `json:"count,omitempty"`       // up to 64,512; 0 is 1
	Interval time.Duration `json:"interval_ns,omitempty"` // from one to the next; 0 is as fast as it can
}

// FloodResult sums up a SYNFlood.
type FloodResult struct {
	Sent    int           `json:"sent"`
	Elapsed time.Duration `json:"elapsed_ns"` // from before the first until after the last
}

const (
	firstFloodPort = 1024
	maxFlood       = 1<<16 - firstFloodPort // each has a source port of its own
	floodMSS       = 1460
	floodWindow    = 64240 // what Linux announces at an MSS of 1460
	floodTTL       = 64
)

func (SYNFlood) program() string { return "syn-flood" }

// Validate implements [Program].
func (f SYNFlood) Validate() error {
	c := check{program: f.program()}
	c.connect(f.Connect)
	if f.Connect.Addr().Zone() != "" {
		c.fail("Connect", f.Connect, "must not have a zone: a raw socket takes none")
	}
	switch {
	case !f.From.IsValid():
		c.fail("From", nil, "needs the addresses to send from, as in netip.MustParsePrefix(\"10.0.0.0/24\")")
	case f.From != f.From.Masked():
		c.fail("From", f.From, fmt.Sprintf("has bits beyond the prefix; use %v", f.From.Masked()))
	case f.From.Addr().Is4() != f.Connect.Addr().Is4():
		c.fail("From", f.From, "must be of the same family as Connect")
	}
	c.atMost("Count", int64(f.Count), maxFlood)
	c.duration("Interval", f.Interval)
	return c.err
}

func (f SYNFlood) run(s *session) (*Result, error) {
	if err := f.checkSources(); err != nil {
		return nil, err
	}
	fd, err := f.rawSocket()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := s.ready(netip.AddrPort{}); err != nil {
		return nil, err
	}
	if err := s.awaitBegin(f.AwaitBegin); err != nil {
		return &Result{Err: peerError("", "", err)}, nil
	}
	flood := &FloodResult{}
	start := time.Now()
	err = f.flood(s, fd, start, flood)
	flood.Elapsed = time.Since(start)
	return &Result{Flood: flood, Err: peerError("send SYN", f.Connect.String(), err)}, nil
}

// checkSources refuses addresses of this host: its kernel would answer the SYN-ACK with RST.
func (f SYNFlood) checkSources() error {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this host's addresses: %w", err)
	}
	for _, a := range own {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && f.From.Contains(prefix.Addr()) {
			return &PeerError{Op: "syn-flood", Addr: prefix.Addr().String(), Message: fmt.Sprintf(
				"this host's address is one of the sources, %v, and would answer with an RST: use a prefix without it", f.From)}
		}
	}
	return nil
}

// rawSocket makes a socket for packets with an IP header of their own. It blocks: only the queue of the kernel can
// make a send wait.
func (f SYNFlood) rawSocket() (int, error) {
	family := unix.AF_INET
	if f.Connect.Addr().Is6() {
		family = unix.AF_INET6
	}
	// IPPROTO_RAW means that the header is included, in both families (raw(7), and inet6_create in net/ipv6/af_inet6.c).
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		p := peerError("raw socket", "", err)
		if errors.Is(err, unix.EPERM) {
			p.Message = "needs CAP_NET_RAW: run it as root, or in a host of a lab"
		}
		return -1, p
	}
	return fd, nil
}

// flood sends until all are sent, or until the first stop, which is a normal end.
func (f SYNFlood) flood(s *session, fd int, start time.Time, result *FloodResult) error {
	to, err := toSockaddr(netip.AddrPortFrom(f.Connect.Addr(), 0)) // a raw socket for IPv6 wants port 0
	if err != nil {
		return err
	}
	for n := range max(f.Count, 1) {
		if s.sleep(time.Until(start.Add(time.Duration(n)*f.Interval))) != nil {
			return nil
		}
		packet, err := f.packet(n)
		if err != nil {
			return err
		}
		if err := unix.Sendto(fd, packet, 0, to); err != nil {
			return err
		}
		result.Sent++
	}
	return nil
}

// packet returns the n-th SYN with its IP header.
func (f SYNFlood) packet(n int) ([]byte, error) {
	from := f.source(n)
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(firstFloodPort + n), DstPort: layers.TCPPort(f.Connect.Port()),
		Seq: uint32(n), SYN: true, Window: floodWindow,
		Options: []layers.TCPOption{{
			OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, floodMSS),
		}},
	}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	}
	if from.Is4() {
		ip = &layers.IPv4{
			Version: 4, TTL: floodTTL, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment,
			SrcIP: from.AsSlice(), DstIP: f.Connect.Addr().AsSlice(),
		}
	} else {
		ip = &layers.IPv6{
			Version: 6, HopLimit: floodTTL, NextHeader: layers.IPProtocolTCP,
			SrcIP: from.AsSlice(), DstIP: f.Connect.Addr().AsSlice(),
		}
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp)
	return b.Bytes(), err
}

// source returns the source address of the n-th SYN.
func (f SYNFlood) source(n int) netip.Addr {
	bits := f.From.Addr().BitLen() - f.From.Bits()
	first, size := 0, 1<<min(bits, 16) // more than maxFlood are not asked for
	if size >= 4 {
		// The first is the subnet's own, or the routers' anycast; the last is for broadcast.
		first, size = 1, size-2
	}
	b := f.From.Addr().AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(first+n%size))
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
