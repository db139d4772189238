package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/onsi/ginkgo/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/results"
)

// ruleSet is the rules on one link end.
type ruleSet struct {
	ending
	end  *End
	set  *rules.Set
	list []*Rule

	traced bool
	counts []rules.Count // once it is stopped
	hits   []rules.Hit   // likewise
}

func (s *ruleSet) stage() stage { return stageRules }

// stop keeps what the rules did, and removes them. What is known is kept, also if it is not all.
func (s *ruleSet) stop() error {
	return s.once(func() error {
		var errs []error
		if s.used() {
			var err error
			s.counts, err = s.set.Counts()
			errs = append(errs, err)
			s.hits, err = s.set.Hits()
			if !errors.Is(err, rules.ErrIncomplete) { // Counts has said so
				errs = append(errs, err)
			}
		}
		return errors.Join(append(errs, s.set.Close())...)
	})
}

// used tells whether anything was asked of the set, which every end has that is impaired.
func (s *ruleSet) used() bool { return len(s.list) > 0 || s.traced }

// A Rule is one that acts on chosen packets at a link end, from its start until its Stop. What it did can be read at any time.
type Rule struct {
	installed *rules.Installed
	end       *End
	record    int // which of the record's impairments it is
}

// Rule lets a rule act on the packets that leave through the end, from now on and beside what Impair does there; a
// packet comes to the rule first. Several rules on an end see a packet in their order, and the first that selects it
// acts. It is recorded; each packet that it hit stands in rules.json.
func (e *End) Rule(rule rules.Rule) *Rule {
	ginkgo.GinkgoHelper()
	check(rule.Validate()) // before the end gets a set
	set := e.ruleSet()
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	installed, err := set.set.Add(rule)
	check(err)
	asked, err := results.Raw(installed.Rule())
	check(err)
	r := &Rule{installed: installed, end: e, record: len(e.lab.record.Impairments)}
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{
		At: at, End: e.String(), Direction: "egress", Asked: asked,
	})
	set.list = append(set.list, r)
	return r
}

// ruleSet returns the set of the end, which the first rule makes.
func (e *End) ruleSet() *ruleSet {
	ginkgo.GinkgoHelper()
	if s := e.rules(); s != nil {
		return s
	}
	if e.lab.offload {
		check(fmt.Errorf("rules on %s: the topology was built with Offload, so that packets have several segments: build it without", e))
	}
	s, err := e.openRules()
	check(err)
	return s
}

// rules returns the set of an end that has one.
func (e *End) rules() *ruleSet {
	sets := recordersOf[*ruleSet](e.lab)
	i := slices.IndexFunc(sets, func(s *ruleSet) bool { return s.end == e })
	if i < 0 {
		return nil
	}
	return sets[i]
}

func (e *End) openRules() (*ruleSet, error) {
	set, err := rules.Open(e.Device())
	if err != nil {
		return nil, err
	}
	s := &ruleSet{end: e, set: set}
	e.lab.add(s)
	return s, nil
}

// readyForRules opens the set of the end before netem comes there. Later it would empty netem's queue (see [rules.Open]), so that
// the first rule of a scenario would lose what is on its way.
func (e *End) readyForRules() error {
	if e.lab.offload || e.rules() != nil || e.policed() {
		return nil
	}
	_, err := e.openRules()
	if errors.Is(err, rules.ErrNotSupported) {
		return nil // then there will be no rules
	}
	return err
}

// Hits are the packets that the rule acted on, in the order in which they came. An account that is not complete fails
// the spec.
func (r *Rule) Hits() []rules.Hit {
	ginkgo.GinkgoHelper()
	check(r.end.lab.faulty("read what a rule hit at " + r.end.String()))
	hits, err := r.installed.Hits()
	check(err)
	return hits
}

// Count is how many packets the rule selected, and acted on.
func (r *Rule) Count() rules.Count {
	ginkgo.GinkgoHelper()
	check(r.end.lab.faulty("count what a rule hit at " + r.end.String()))
	count, err := r.installed.Count()
	check(err)
	return count
}

// Stop ends what the rule does. What it holds still comes.
func (r *Rule) Stop() *Rule {
	ginkgo.GinkgoHelper()
	check(r.end.lab.jitterWithin())
	check(r.installed.Disable())
	return r
}

// Resume lets the rule act again, as if it had been added now; its numbers go on.
func (r *Rule) Resume() {
	ginkgo.GinkgoHelper()
	check(r.end.lab.jitterWithin())
	check(r.installed.Enable())
}

// Blackhole drops everything that leaves through the end, until its Stop. Nobody is told, as behind a cable that was cut.
// Both directions of a topology are two blackholes.
func (e *End) Blackhole() *Rule {
	ginkgo.GinkgoHelper()
	return e.Rule(rules.Blackhole().Named(e.blackholeName()))
}

// BlackholeFor drops everything that leaves through the end, for a time. The kernel ends it, on the nanosecond.
func (e *End) BlackholeFor(d time.Duration) *Rule {
	ginkgo.GinkgoHelper()
	return e.Rule(rules.Blackhole().For(d).Named(e.blackholeName()))
}

// blackholeName numbers the blackholes of an end: two rules need two names.
func (e *End) blackholeName() string {
	if s := e.rules(); s != nil && len(s.list) > 0 {
		return fmt.Sprintf("blackhole #%d", len(s.list)+1)
	}
	return "blackhole"
}

// A Trace records every packet that is offered to the link at an end, from its start until its Stop. It can be read at any time.
type Trace struct{ set *ruleSet }

// Trace starts to record every packet that is offered to the link at the end, before rules and netem.
func (e *End) Trace() *Trace {
	ginkgo.GinkgoHelper()
	set := e.ruleSet()
	check(set.set.Trace(true))
	set.traced = true
	return &Trace{set}
}

// Stop ends the trace.
func (t *Trace) Stop() *Trace {
	ginkgo.GinkgoHelper()
	check(t.set.set.Trace(false))
	return t
}

// Offered are the packets that were offered to the link while it was traced. What of them a capture on the same end
// does not have, the link lost.
func (t *Trace) Offered() []rules.Offered {
	ginkgo.GinkgoHelper()
	offered, err := t.set.set.Offered()
	check(err)
	return offered
}

// Unreachable is a destination that a router reports as unreachable.
type Unreachable struct {
	router *Host
	dst    netip.Addr
}

// Unreachable lets the host, a router, answer what it should forward to an address with ICMP: host unreachable (RFC 1812,
// section 5.2.7.1), or for IPv6 no route to destination (RFC 4443, section 3.1), until its Stop. The kernel bounds how
// many such messages it sends to one host (net.ipv4.icmp_ratelimit, net.ipv6.icmp.ratelimit).
func (h *Host) Unreachable(dst netip.Addr) *Unreachable {
	ginkgo.GinkgoHelper()
	if !dst.IsValid() {
		check(fmt.Errorf("make an address unreachable at %s: the address is not valid", h.Name()))
	}
	u := &Unreachable{router: h, dst: dst}
	check(h.lab.jitterWithin())
	check(u.failed("make", h.Netlink().RouteAdd(u.route())))
	return u
}

// Stop lets the router forward to the address again.
func (u *Unreachable) Stop() {
	ginkgo.GinkgoHelper()
	check(u.router.lab.jitterWithin())
	check(u.failed("end making", u.router.Netlink().RouteDel(u.route())))
}

// route is of one host, which comes before that of its link.
func (u *Unreachable) route() *netlink.Route {
	bits := u.dst.BitLen()
	return &netlink.Route{
		Dst:  &net.IPNet{IP: u.dst.AsSlice(), Mask: net.CIDRMask(bits, bits)},
		Type: unix.RTN_UNREACHABLE,
	}
}

func (u *Unreachable) failed(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %v unreachable at %s: %w", operation, u.dst, u.router.Name(), err)
}

// rulesFile has all that the rules did: for each end its rules' counts and hits.
const rulesFile = "rules.json"

// recordRules puts what the rules did into the record, and their hits beside it. They have been stopped.
func (l *Lab) recordRules() error {
	type hit struct {
		At time.Duration `json:"at_ns"` // since the start of the spec
		rules.Hit
	}
	type account struct {
		End    string        `json:"end"`
		Counts []rules.Count `json:"counts"`
		Hits   []hit         `json:"hits"`
	}
	var accounts []account
	var errs []error
	for _, s := range recordersOf[*ruleSet](l) {
		if !s.used() {
			continue
		}
		a := account{End: s.end.String(), Counts: s.counts}
		for _, h := range s.hits {
			a.Hits = append(a.Hits, hit{h.Time.Sub(l.start), h})
		}
		accounts = append(accounts, a)
		for i, r := range s.list {
			if i >= len(s.counts) {
				break
			}
			applied, err := results.Raw(s.counts[i])
			errs = append(errs, err)
			l.record.Impairments[r.record].Applied = applied
		}
	}
	if len(accounts) == 0 {
		return errors.Join(errs...)
	}
	text, err := json.MarshalIndent(accounts, "", "  ")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(l.dir, rulesFile), append(text, '\n'), 0o644)
	}
	return errors.Join(append(errs, err)...)
}
