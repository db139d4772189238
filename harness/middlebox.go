package harness

import (
	"errors"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/results"
)

// A Middlebox is what a router does beside forwarding, from its start until its Stop. What its rules did can be read at any time.
type Middlebox struct {
	ending
	host      *Host
	installed *middlebox.Installed
	record    int               // which of the record's impairments it is
	counts    []middlebox.Count // once it is stopped
}

// Middlebox makes a box of the host, a router: a NAT, a firewall, one that clamps the MSS, or strips options, or clears ECN. It is
// read back and recorded, with what each of its rules did. A box that knows connections does not know those that were there before
// it: make it first.
//
//	box := net.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: net.ToServer.Name(), IdleTimeout: 20 * time.Second})
//
// On a kernel that lacks what a box needs the spec is skipped with the reason.
func (h *Host) Middlebox(box middlebox.Box) *Middlebox {
	ginkgo.GinkgoHelper()
	check(box.Validate())
	check(h.lab.jitterWithin())
	at := h.lab.elapsed()
	installed, err := middlebox.Apply(h.FD(), box)
	if errors.Is(err, middlebox.ErrNotSupported) {
		unavailable(err)
	}
	if err != nil {
		check(fmt.Errorf("%s: %w", h.Name(), err))
	}
	asked, err := results.Raw(box)
	check(err)
	m := &Middlebox{host: h, installed: installed, record: len(h.lab.record.Impairments)}
	h.lab.record.Impairments = append(h.lab.record.Impairments, results.Impairment{
		At: at, End: h.Name(), Direction: "forwarding", Asked: asked,
	})
	h.lab.add(m)
	return m
}

// Counts is what each of the box's rules has done, in their order.
func (m *Middlebox) Counts() []middlebox.Count {
	ginkgo.GinkgoHelper()
	if m.stopped {
		return m.counts
	}
	check(m.host.lab.faulty("count what the middlebox did at " + m.host.Name()))
	counts, err := m.installed.Counts()
	check(err)
	return counts
}

// Packets is how many packets the rules of that text have acted on, in all chains: "drop", "reject with tcp reset". If there is no
// such rule it fails the spec, and says which there are.
func (m *Middlebox) Packets(rule string) int {
	ginkgo.GinkgoHelper()
	packets, found := 0, false
	for _, c := range m.Counts() {
		if c.Rule == rule {
			packets, found = packets+int(c.Packets), true
		}
	}
	if !found {
		check(fmt.Errorf("the middlebox at %s has no rule %q, but %q", m.host.Name(), rule, m.installed.Rules()))
	}
	return packets
}

// Stop removes the box: the router forwards again, and no more. Connections that a NAT has changed do not survive that.
func (m *Middlebox) Stop() *Middlebox {
	ginkgo.GinkgoHelper()
	check(m.host.lab.jitterWithin())
	check(m.stop())
	return m
}

func (m *Middlebox) stage() stage { return stageRules }

// stop keeps what the rules did, and removes them.
func (m *Middlebox) stop() error {
	return m.once(func() error {
		counts, counted := m.installed.Counts()
		m.counts = counts
		applied, err := results.Raw(counts)
		if err == nil {
			m.host.lab.record.Impairments[m.record].Applied = applied
		}
		if err := errors.Join(counted, err, m.installed.Remove()); err != nil {
			return fmt.Errorf("%s: %w", m.host.Name(), err)
		}
		return nil
	})
}
