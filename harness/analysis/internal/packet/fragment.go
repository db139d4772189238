package packet

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// fragment is a part of what an IP packet carries.
type fragment struct {
	id   fragmentID
	at   int  // where it begins
	more bool // others follow
	data []byte
	// length is how many bytes it is of, of which data was captured.
	length int
	next   byte // of IPv6: the header in it
	v6     bool
}

// fragmentID is what the fragments of one packet have in common (RFC 791, RFC 8200).
type fragmentID struct {
	src, dst netip.Addr
	number   uint32
	protocol byte // of IPv4
}

const (
	// maxAssembling is of how many packets fragments are kept, and maxFragments of how many parts each may have.
	maxAssembling = 64
	maxFragments  = 256
	// fragmentTimeout is how long the rest is waited for (RFC 8200, section 4.5: 60 s; Linux 30 s, net.ipv4.ipfrag_time).
	fragmentTimeout = 30 * time.Second
)

// fragments are packets that are not whole yet, the oldest first.
type fragments struct{ list []*assembly }

// assembly is what is there of a packet.
type assembly struct {
	id      fragmentID
	started time.Duration
	parts   []fragment // in order of their places
	first   IP         // what the header of the first said
	end     int        // of the whole, or 0
	got     int
}

// fragment keeps a fragment, and goes on with the whole packet where it is the last that was missing. RFC 5722: fragments that overlap
// make the packet invalid; one that is there twice does not count.
func (w *walk) fragment(f fragment) Verdict {
	if f.length <= 0 || len(f.data) > f.length || f.more && f.length%8 != 0 || f.at+f.length > 0xffff {
		return Damaged
	}
	if !w.deeper(inFragment) {
		return Damaged
	}
	all := &w.d.fragments
	a := all.of(f.id, w.at)
	f.data = bytes.Clone(f.data)
	if !a.add(f) {
		all.drop(a)
		return w.passOver(whatFragment, 0)
	}
	if f.at == 0 {
		a.first = w.ip
	}
	if a.end == 0 || a.got < a.end {
		return w.passOver(whatFragment, 0)
	}
	all.drop(a)
	whole := a.assemble()
	direction := w.ip.Direction
	w.ip = a.first
	w.ip.Direction = direction
	if f.v6 {
		return w.extensions(a.parts[0].next, whole, 0, a.end)
	}
	return w.protocol(f.id.protocol, whole, a.end, inIPv4)
}

// of is the packet that a fragment belongs to, made if there is none.
func (all *fragments) of(id fragmentID, now time.Duration) *assembly {
	for i, a := range all.list {
		if a.id != id {
			continue
		}
		if age := now - a.started; age >= 0 && age < fragmentTimeout {
			return a
		}
		all.list = slices.Delete(all.list, i, i+1) // another packet of that number
		break
	}
	if len(all.list) >= maxAssembling {
		all.list = slices.Delete(all.list, 0, 1)
	}
	a := &assembly{id: id, started: now}
	all.list = append(all.list, a)
	return a
}

func (all *fragments) drop(a *assembly) {
	all.list = slices.DeleteFunc(all.list, func(x *assembly) bool { return x == a })
}

// add reports whether the packet is still valid.
func (a *assembly) add(f fragment) bool {
	i, there := slices.BinarySearchFunc(a.parts, f.at, func(p fragment, at int) int { return p.at - at })
	if there {
		return a.parts[i].length == f.length
	}
	end := f.at + f.length
	overlaps := i > 0 && a.parts[i-1].at+a.parts[i-1].length > f.at || i < len(a.parts) && a.parts[i].at < end
	if overlaps || len(a.parts) >= maxFragments || a.end != 0 && (end > a.end || !f.more) {
		return false
	}
	if !f.more {
		if i < len(a.parts) {
			return false
		}
		a.end = end
	}
	a.parts = slices.Insert(a.parts, i, f)
	a.got += f.length
	return true
}

// assemble is what was captured of the whole, up to the first gap.
func (a *assembly) assemble() []byte {
	var whole []byte
	for _, p := range a.parts {
		whole = append(whole, p.data...)
		if len(p.data) < p.length {
			break
		}
	}
	return whole
}
