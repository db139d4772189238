package picture

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/results"
)

// network is the hosts and links of a scenario. A nil one knows nothing.
type network struct {
	hosts     []string
	addresses map[netip.Addr]int
	next      [][]int // the neighbours of each host
}

func newNetwork(t *results.Topology) *network {
	if t == nil {
		return nil
	}
	n := &network{addresses: map[netip.Addr]int{}, next: make([][]int, len(t.Hosts))}
	for i, host := range t.Hosts {
		n.hosts = append(n.hosts, host.Name)
		for _, text := range host.Addresses {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				n.addresses[prefix.Addr()] = i
			}
		}
	}
	for _, link := range t.Links {
		a, b := n.hostOf(link.Ends[0]), n.hostOf(link.Ends[1])
		if a != None && b != None {
			n.next[a], n.next[b] = append(n.next[a], b), append(n.next[b], a)
		}
	}
	return n
}

// hostOf is the host of a link end, "host/interface", or None.
func (n *network) hostOf(end string) int {
	if n == nil {
		return None
	}
	name, _, _ := strings.Cut(end, "/")
	return slices.Index(n.hosts, name) // None if there is no such host
}

// path is the shortest way from one address to another; empty if there is none, or one of them is not known (behind a NAT).
func (n *network) path(from, to netip.Addr) []int {
	if n == nil {
		return nil
	}
	start, known := n.addresses[from.Unmap()]
	end, knownToo := n.addresses[to.Unmap()]
	if !known || !knownToo || start == end {
		return nil
	}
	before := make([]int, len(n.hosts))
	for i := range before {
		before[i] = None
	}
	before[start] = start
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		for _, next := range n.next[queue[0]] {
			if before[next] == None {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	if before[end] == None {
		return nil
	}
	var path []int
	for at := end; at != start; at = before[at] {
		path = append(path, at)
	}
	path = append(path, start)
	slices.Reverse(path)
	return path
}
