package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/probe"
)

// An icmpText is what an error means: its name, and what to think of it.
type icmpText struct{ name, means, next string }

const (
	nextRouter = "That router's routes, and what is behind it."
	nextFilter = "That router's firewall rules: who may connect to what."
)

// icmpTexts are by type and code, of ICMP (RFC 792, RFC 1122, RFC 1812) and of ICMPv6 (RFC 4443).
var icmpTexts = map[bool]map[[2]uint8]icmpText{
	false: {
		{3, 0}:  {"network unreachable", "A router knows no way to the network.", nextRouter},
		{3, 1}:  {"host unreachable", "The last router does not find the host on its link, or knows no way.", nextRouter + " Is the host up?"},
		{3, 2}:  {"protocol unreachable", "The host does not speak TCP, or a firewall pretends so.", nextFilter},
		{3, 3}:  {"port unreachable", "A firewall rejects: of TCP a host itself answers with a reset.", nextFilter},
		{3, 9}:  {"network administratively prohibited", "A firewall rejects.", nextFilter},
		{3, 10}: {"host administratively prohibited", "A firewall rejects.", nextFilter},
		{3, 13}: {"communication administratively prohibited", "A firewall rejects.", nextFilter},
		{11, 0}: {"time to live exceeded", "The packet went in a circle: routers send it to each other.", "The routes of that router and its neighbours."},
	},
	true: {
		{1, 0}: {"no route to destination", "A router knows no way to the network.", nextRouter},
		{1, 1}: {"communication administratively prohibited", "A firewall rejects.", nextFilter},
		{1, 3}: {"address unreachable", "The last router does not find the host on its link.", nextRouter + " Is the host up?"},
		{1, 4}: {"port unreachable", "A firewall rejects: of TCP a host itself answers with a reset.", nextFilter},
		{1, 5}: {"source address failed policy", "A router does not accept packets from this machine's address.", nextFilter},
		{1, 6}: {"reject route to destination", "A router has a route that rejects.", nextRouter},
		{3, 0}: {"hop limit exceeded", "The packet went in a circle: routers send it to each other.", "The routes of that router and its neighbours."},
		{4, 1}: {"unrecognized next header", "The host does not speak TCP, or a firewall pretends so.", nextFilter},
	},
}

// String is like "host unreachable (type 3, code 1)".
func (i ICMP) String() string {
	kind := fmt.Sprintf("type %d, code %d", i.Type, i.Code)
	if t, known := icmpTexts[i.IPv6][[2]uint8{i.Type, i.Code}]; known {
		return fmt.Sprintf("%s (%s)", t.name, kind)
	}
	return kind
}

// means says what the error means, and what to do next.
func (i ICMP) means(to netip.Addr) (means, next string) {
	t, known := icmpTexts[i.IPv6][[2]uint8{i.Type, i.Code}]
	if !known {
		t = icmpText{means: "A router rejects.", next: nextRouter}
	}
	if i.From == to {
		return t.means + " It is the server's own host that says so.", "The server's firewall and routes."
	}
	return t.means, t.next
}

// what is asked for, in words.
func (o Options) what() string {
	text := "connect"
	switch {
	case o.HTTP != "" && o.Upload > 0:
		text = fmt.Sprintf("POST %s with %d bytes", o.HTTP, o.Upload)
	case o.HTTP != "":
		text = "GET " + o.HTTP
	case len(o.Send)+int(o.Upload) > 0:
		text = fmt.Sprintf("send %d bytes", len(o.Send)+int(o.Upload))
	case o.Wait:
		text = "wait for the greeting"
	case o.TLS:
		text = "TLS handshake"
	}
	if o.TLS && text != "TLS handshake" {
		text += " over TLS"
	}
	return text
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	default:
		return fmt.Sprintf("%d times", n)
	}
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func either[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

func percent(part, of int) float64 { return 100 * float64(part) / float64(max(of, 1)) }

// middle is the median; 0 of nothing.
func middle(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[(len(list)-1)/2]
}

// short is a time with three digits.
func short(d time.Duration) string { return probe.Short(d) }
