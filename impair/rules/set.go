package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// Options of a set. The zero value works.
type Options struct {
	// RingBytes is the size of the ring for unread reports: a power of two, 64 KiB to 256 MiB; 0 means 4 MiB, which
	// holds 20,000 packets. A reader empties it when it is half full.
	RingBytes int
}

const (
	defaultRingBytes = 4 << 20
	minRingBytes     = 64 << 10
	maxRingBytes     = 256 << 20
)

func (o *Options) complete() error {
	if o.RingBytes == 0 {
		o.RingBytes = defaultRingBytes
	}
	if n := o.RingBytes; n < minRingBytes || n > maxRingBytes || n&(n-1) != 0 {
		return refusal("Options.RingBytes", n,
			fmt.Sprintf("a power of two from %d to %d, or 0 for %d", minRingBytes, maxRingBytes, defaultRingBytes))
	}
	return nil
}

// A Set has the rules on the egress of one device. Its methods may be called from any goroutine.
type Set struct {
	device   netdev.Device
	link     *link
	maps     maps
	programs []*ebpf.Program
	reporter *reporter

	ringBytes int

	mu        sync.Mutex
	closed    bool
	settings  settings
	extent    // of the program; zero while there is none
	installed []*Installed
	pairs     map[time.Duration]int // index of the near end, by the delay of its pair
	corrupts  bool                  // the filters for Corrupt are there
}

// maps are the program's.
type maps struct {
	settings, counters, conversations, blank, pieces, scratch, ring *ebpf.Map
}

// Open prepares a device for rules: see [Set.Add]. With several options only the first counts.
//
// Open empties the queue of the device: the kernel deactivates a device while a clsact is added or removed
// (qdisc_graft, dev_deactivate in net/sched). So open a set before netem has packets, and close it when they have
// left. Rules can be added at any time.
//
// Errors: [*invalid.FieldError], [ErrNotSupported], [ErrNotPermitted], [netdev.ErrNoDevice], [ErrBusy].
func Open(d netdev.Device, options ...Options) (_ *Set, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open rules on %s: %w", d, err)
		}
	}()
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Set{device: d, pairs: map[time.Duration]int{}}
	if s.link, err = openLink(d); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	s.ringBytes = o.RingBytes
	if err := s.link.addClsact(); err != nil {
		return nil, err
	}
	return s, nil
}

// load installs the program with the first rule, so that a device without rules is not slowed down.
func (s *Set) load(options bool) (err error) {
	if s.capacity > 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.unload())
		}
	}()
	if err := s.maps.create(s.ringBytes); err != nil {
		return err
	}
	if s.reporter, err = startReporter(s.maps.ring); err != nil {
		return err
	}
	return s.grow(extent{firstCapacity, options})
}

// grow installs a program that can do that much. The kernel replaces the old one between two packets (cls_bpf_change).
// The state of conversations is in the maps, and stays.
func (s *Set) grow(to extent) error {
	if to == s.extent {
		return nil
	}
	main, err := s.loadProgram("tcplab_rules", assemble(s.maps.fds(), s.ringBytes, to))
	if err != nil {
		return err
	}
	if err := s.link.addProgram(s.link.index, egress, priorityRules, "rules", main); err != nil {
		return err
	}
	s.extent = to
	return nil
}

func (m *maps) create(ringBytes int) error {
	array := func(of ebpf.MapType, value uintptr) *ebpf.MapSpec {
		return &ebpf.MapSpec{Type: of, KeySize: 4, ValueSize: uint32(value), MaxEntries: 1}
	}
	hash := func(key, value uintptr) *ebpf.MapSpec {
		return &ebpf.MapSpec{
			Type: ebpf.Hash, KeySize: uint32(key), ValueSize: uint32(value), MaxEntries: maxConversations,
			Flags: unix.BPF_F_NO_PREALLOC,
		}
	}
	for _, made := range []struct {
		to   **ebpf.Map
		name string
		spec *ebpf.MapSpec
	}{
		{&m.settings, "settings", array(ebpf.Array, unsafe.Sizeof(settings{}))},
		{&m.counters, "counters", array(ebpf.Array, unsafe.Sizeof(counters{}))},
		{&m.blank, "blank", array(ebpf.Array, unsafe.Sizeof(conversation{}))},
		{&m.scratch, "scratch", array(ebpf.PerCPUArray, unsafe.Sizeof(packet{}))},
		{&m.conversations, "conversations", hash(unsafe.Sizeof(conversationKey{}), unsafe.Sizeof(conversation{}))},
		{&m.pieces, "pieces", hash(unsafe.Sizeof(pieceKey{}), 4)},
		{&m.ring, "ring", &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(ringBytes)}},
	} {
		made.spec.Name = made.name
		var err error
		if *made.to, err = ebpf.NewMap(made.spec); err != nil {
			return fmt.Errorf("create map %s: %w", made.name, translate(err))
		}
	}
	return nil
}

func (m *maps) all() []*ebpf.Map {
	return []*ebpf.Map{m.settings, m.counters, m.conversations, m.blank, m.pieces, m.scratch, m.ring}
}

func (m *maps) fds() fds {
	return fds{
		settings: m.settings.FD(), counters: m.counters.FD(), conversations: m.conversations.FD(), blank: m.blank.FD(),
		pieces: m.pieces.FD(), scratch: m.scratch.FD(), ring: m.ring.FD(),
	}
}

// Installed is a rule of a set.
type Installed struct {
	set   *Set
	index int
	rule  Rule
}

// Rule returns the rule. Its name is never empty.
func (i *Installed) Rule() Rule { return i.rule }

// Add adds a rule after the existing ones, and lets it act.
//
// Errors: [*invalid.FieldError] (joined; nothing was done), [ErrNotSupported], or that the set is full or closed.
func (s *Set) Add(r Rule) (_ *Installed, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("add rule %q on %s: %w", r.title(), s.device, err)
		}
	}()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case len(s.installed) == maxRules:
		return nil, errFull
	}
	if err := s.load(r.Match.option != 0); err != nil {
		return nil, err
	}
	named := func(name string) bool {
		return slices.ContainsFunc(s.installed, func(other *Installed) bool { return other.rule.Name == name })
	}
	switch {
	case r.Name == "":
		r.Name = r.title()
		for n := 2; named(r.Name); n++ {
			r.Name = fmt.Sprintf("%s #%d", r.title(), n)
		}
	case named(r.Name):
		return nil, refusal("Rule.Name", r.Name, "a name that no other rule of the set has")
	}
	encoded := r.encode()
	switch r.Action.verb {
	case verbDelay:
		encoded.Operand, err = s.pair(r.Action.delay)
	case verbCorrupt:
		err = s.prepareCorrupt()
	}
	if err != nil {
		return nil, err
	}
	i := &Installed{set: s, index: len(s.installed), rule: r}
	needed := s.extent
	if i.index == s.capacity {
		needed.capacity = min(2*s.capacity, maxRules)
	}
	needed.options = needed.options || r.Match.option != 0
	if err := s.grow(needed); err != nil {
		return nil, err
	}
	// The kernel copies settings without a lock: a rule becomes active only once the rest of it is there.
	s.settings.Rules[i.index] = encoded
	s.settings.Count++
	if err := s.write(); err != nil {
		s.settings.Count--
		return nil, err
	}
	s.installed = append(s.installed, i)
	return i, i.enable()
}

// title is the rule's name, or what stands for it.
func (r Rule) title() string {
	if r.Name != "" {
		return r.Name
	}
	return r.String()
}

// encode is the rule as the program reads it, not active yet.
func (r Rule) encode() ruleSettings {
	m := r.Match
	e := ruleSettings{
		Kinds:      uint32(m.kind),
		SourcePort: uint32(m.sourcePort), DestinationPort: uint32(m.destinationPort),
		First: m.first, Last: m.last, Step: max(m.step, 1), Times: max(m.times, 1),
		Limit: uint32(r.Limit), Verb: uint32(r.Action.verb),
		Operand: uint32(raw(byte(r.Action.flags>>8), byte(r.Action.flags))),
	}
	if m.step > 1 && m.first == 0 {
		e.First, e.Last = m.step, always
	}
	if m.kind == kindData {
		e.Distinct = 1
	}
	if m.source.IsValid() {
		e.HasSource, e.Source = 1, m.source.As16()
	}
	if m.destination.IsValid() {
		e.HasDestination, e.Destination = 1, m.destination.As16()
	}
	e.Flags, e.FlagMask = uint32(m.with), uint32(m.with|m.without)
	e.PayloadMax = math.MaxUint32 // of whatever is not a segment
	if m.hasPayload {
		e.PayloadMin, e.PayloadMax = uint32(m.payloadMin), uint32(m.payloadMax)
	}
	e.ECN, e.Option = uint32(m.ecn), uint32(m.option)
	if m.icmpType >= 0 {
		e.ICMP, e.ICMPMask = uint32(m.icmpType)<<8, 0xff00
	}
	if m.icmpCode >= 0 {
		e.ICMP, e.ICMPMask = e.ICMP|uint32(m.icmpCode), e.ICMPMask|0xff
	}
	return e
}

// write gives the settings to the program.
func (s *Set) write() error {
	if err := s.maps.settings.Put(uint32(0), &s.settings); err != nil {
		return fmt.Errorf("write settings: %w", translate(err))
	}
	return nil
}

// Enable lets the rule act (again). Its Delay and Length count from now; its numbers continue.
func (i *Installed) Enable() error {
	i.set.mu.Lock()
	defer i.set.mu.Unlock()
	return i.enable()
}

func (i *Installed) enable() error {
	if i.set.closed {
		return i.failed("enable", errClosed)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return i.failed("enable", err)
	}
	own := &i.set.settings.Rules[i.index]
	if own.Active == 1 { // the times change, which must not be seen half done
		if err := i.disable(); err != nil {
			return err
		}
	}
	own.Begin, own.End = 0, 0
	begin := uint64(now.Nano()) + uint64(i.rule.Delay)
	if i.rule.Delay > 0 {
		own.Begin = begin
	}
	if i.rule.Length > 0 {
		own.End = begin + uint64(i.rule.Length)
	}
	if own.Begin != 0 || own.End != 0 {
		if err := i.set.write(); err != nil {
			return i.failed("enable", err)
		}
	}
	own.Active = 1
	if err := i.set.write(); err != nil {
		return i.failed("enable", err)
	}
	return nil
}

// Disable stops the rule. Packets that it delays still leave at their time.
func (i *Installed) Disable() error {
	i.set.mu.Lock()
	defer i.set.mu.Unlock()
	return i.disable()
}

func (i *Installed) disable() error {
	if i.set.closed {
		return i.failed("disable", errClosed)
	}
	i.set.settings.Rules[i.index].Active = 0
	if err := i.set.write(); err != nil {
		return i.failed("disable", err)
	}
	return nil
}

func (i *Installed) failed(operation string, err error) error {
	return fmt.Errorf("%s rule %q on %s: %w", operation, i.rule.Name, i.set.device, err)
}

// Trace starts or stops reporting every packet that is offered to the link: see [Set.Offered].
func (s *Set) Trace(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("trace %s: %w", s.device, errClosed)
	}
	if err := s.load(false); err != nil {
		return fmt.Errorf("trace %s: %w", s.device, err)
	}
	s.settings.Trace = 0
	if on {
		s.settings.Trace = 1
	}
	if err := s.write(); err != nil {
		return fmt.Errorf("trace %s: %w", s.device, err)
	}
	return nil
}

// A Count is the number of packets that a rule matched and acted on so far.
type Count struct {
	Rule string `json:"rule"`
	// Matched counts the packets that the rule selected; Acted those of them that it acted on: not if an earlier rule
	// did, if its limit was reached, or if there was nothing to do (see [Hit.Done]).
	Matched uint64 `json:"matched"`
	Acted   uint64 `json:"acted"`
}

// Counts returns what each rule did, in the order in which they were added. With [ErrIncomplete] it also returns what
// is known.
func (s *Set) Counts() ([]Count, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.counters()
	if err != nil {
		return nil, err
	}
	counts := make([]Count, len(s.installed))
	for n, i := range s.installed {
		counts[n] = Count{i.rule.Name, c.Rules[n].Matched, c.Rules[n].Acted}
	}
	return counts, s.complete(c)
}

func (s *Set) counters() (counters, error) {
	var c counters
	if s.closed {
		return c, fmt.Errorf("count hits on %s: %w", s.device, errClosed)
	}
	if s.capacity == 0 {
		return c, nil // there was no rule yet
	}
	if err := s.maps.counters.Lookup(uint32(0), &c); err != nil {
		return c, fmt.Errorf("count hits on %s: %w", s.device, translate(err))
	}
	return c, nil
}

// complete returns an error that says what the set could not do or report.
func (s *Set) complete(c counters) error {
	var errs []error
	for _, fault := range []struct {
		n    uint64
		what string
	}{
		{c.Lost, "reports were lost, since the ring was full: ask for a larger one (Options.RingBytes)"},
		{c.Untracked, fmt.Sprintf("packets had no room in the tables (%d conversations and segments), and passed", maxConversations)},
		{c.Offloaded, "packets had several segments, and passed: build the link with one packet per segment (gso_max_segs 1, no Offload)"},
		{c.Failed, "actions were refused by the kernel, and the packets passed"},
	} {
		if fault.n > 0 {
			errs = append(errs, fmt.Errorf("%w: on %s, %d %s", ErrIncomplete, s.device, fault.n, fault.what))
		}
	}
	return errors.Join(errs...)
}

// Count returns what the rule did.
func (i *Installed) Count() (Count, error) {
	counts, err := i.set.Counts()
	if counts == nil {
		return Count{Rule: i.rule.Name}, err
	}
	return counts[i.index], err
}

// Hits returns every packet that a rule acted on, since the set was opened, in the order in which they came. With
// [ErrIncomplete] it also returns what is known.
func (s *Set) Hits() ([]Hit, error) { return s.hits(-1) }

// Hits returns every packet that the rule acted on, in the order in which they came.
func (i *Installed) Hits() ([]Hit, error) { return i.set.hits(i.index) }

// hits returns those of one rule, or of all if index is -1.
func (s *Set) hits(index int) ([]Hit, error) {
	var hits []Hit
	err := s.reports(func(one *report, i *Installed) {
		if i == nil || index >= 0 && i.index != index {
			return
		}
		hits = append(hits, Hit{
			Time: s.reporter.time(*one), Rule: i.rule.Name, Action: i.rule.Action.String(), Number: one.Number,
			Done: i.rule.Action.does(one), Length: one.Length, Packet: one.packet(),
		})
	})
	return hits, err
}

// Offered returns every packet that was offered to the link while it was traced, in order: the reference for a
// capture after a netem on the same device. Copies by Duplicate are not offered, and a delayed packet was offered
// when it arrived, not when it left.
func (s *Set) Offered() ([]Offered, error) {
	var list []Offered
	err := s.reports(func(one *report, i *Installed) {
		o := Offered{Time: s.reporter.time(*one), Length: one.Length, Packet: one.packet()}
		if i != nil {
			o.Rule = i.rule.Name
		}
		list = append(list, o)
	})
	return list, err
}

// reports calls f for each report, with the rule that acted if there is one.
func (s *Set) reports(f func(*report, *Installed)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.counters()
	if err != nil {
		return err
	}
	if s.capacity == 0 {
		return nil
	}
	list, err := s.reporter.collect()
	if err != nil {
		return fmt.Errorf("read hits on %s: %w", s.device, err)
	}
	for n := range list {
		one := &list[n]
		switch {
		case one.Rule == 0:
			f(one, nil)
		case int(one.Rule) <= len(s.installed):
			f(one, s.installed[one.Rule-1])
		default:
			return fmt.Errorf("read hits on %s: a report of rule %d, of %d", s.device, one.Rule, len(s.installed))
		}
	}
	return s.complete(c)
}

// Close removes everything: rules, filters, and delayed packets. A second Close does nothing. If the namespace is
// gone, all of it already is.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	errs = append(errs, s.link.delClsact())
	for _, near := range s.pairs {
		errs = append(errs, s.link.delPair(near))
	}
	errs = append(errs, s.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close rules on %s: %w", s.device, err)
	}
	return nil
}

// release closes all open resources.
func (s *Set) release() error {
	err := s.unload()
	if s.link != nil {
		s.link.close()
	}
	return err
}

// unload closes what load has opened.
func (s *Set) unload() error {
	var errs []error
	if s.reporter != nil {
		errs = append(errs, s.reporter.close())
	}
	for _, program := range s.programs {
		errs = append(errs, program.Close())
	}
	for _, m := range s.maps.all() {
		errs = append(errs, m.Close())
	}
	s.reporter, s.programs, s.maps = nil, nil, maps{}
	return errors.Join(errs...)
}
