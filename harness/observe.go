package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/onsi/ginkgo/v2"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernel"
)

// monotonic is CLOCK_MONOTONIC, by which the kernel package tells times.
func monotonic() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// artefact returns the name of a new file of a kind: events.json, events-2.json, ...
func (l *Lab) artefact(kind, extension string) string {
	l.artefacts[kind]++
	if n := l.artefacts[kind]; n > 1 {
		return fmt.Sprintf("%s-%d.%s", kind, n, extension)
	}
	return kind + "." + extension
}

// writeRows writes a JSON object whose last field is a list with one element in each line.
func (l *Lab) writeRows(file, head string, headValue any, name string, rows func(yield func(any) bool)) error {
	var text bytes.Buffer
	value, err := json.Marshal(headValue)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Fprintf(&text, "{%q: %s, %q: [", head, value, name)
	separator := "\n"
	for row := range rows {
		line, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		text.WriteString(separator)
		text.Write(line)
		separator = ",\n"
	}
	text.WriteString("\n]}\n")
	return renameio.WriteFile(filepath.Join(l.dir, file), text.Bytes(), 0o644)
}

func anyRows[T any](rows []T) func(yield func(any) bool) {
	return func(yield func(any) bool) {
		for _, row := range rows {
			if !yield(row) {
				return
			}
		}
	}
}

// Sockets are the TCP sockets of a host, as they are each time that somebody looks:
//
//	Eventually(client.Sockets()).Should(HaveState(kernel.TimeWait, 100))
type Sockets struct {
	ending
	host     *Host
	filter   kernel.SocketFilter
	file     string
	readings []kernel.Sample
}

// Sockets returns the sockets of the host that pass the filter, if there is one. What is read is
// kept in the artefact sockets.json: of readings in a row with the same states, the last.
func (h *Host) Sockets(filter ...kernel.SocketFilter) *Sockets {
	ginkgo.GinkgoHelper()
	s := &Sockets{host: h, filter: atMostOne(filter), file: h.lab.artefact("sockets", "json")}
	h.lab.add(s)
	return s
}

// Stop ends the looking. What was read is kept, and nothing more can be.
func (s *Sockets) Stop() *Sockets {
	ginkgo.GinkgoHelper()
	check(s.stop())
	return s
}

// List reads the sockets.
func (s *Sockets) List() []kernel.Socket {
	ginkgo.GinkgoHelper()
	sockets, err := s.Read()
	check(err)
	return sockets
}

// Read is List for a matcher, which has a place for an error.
func (s *Sockets) Read() ([]kernel.Socket, error) {
	ginkgo.GinkgoHelper()
	if err := s.host.lab.faulty("read the sockets of " + s.host.Name()); err != nil {
		return nil, err
	}
	if s.stopped {
		return nil, fmt.Errorf("read the sockets of %s: they have been stopped", s.host.Name())
	}
	at := s.host.lab.elapsed()
	sockets, err := kernel.ReadSockets(s.host, s.filter)
	if errors.Is(err, kernel.ErrNoSockDiag) {
		unavailable(err)
	}
	if err == nil {
		s.keep(kernel.Sample{At: at, Sockets: sockets})
	}
	return sockets, err
}

func (s *Sockets) keep(reading kernel.Sample) {
	if n := len(s.readings); n > 0 && slices.EqualFunc(s.readings[n-1].Sockets, reading.Sockets, sameState) {
		s.readings[n-1] = reading
		return
	}
	s.readings = append(s.readings, reading)
}

func sameState(a, b kernel.Socket) bool {
	return a.Local == b.Local && a.Remote == b.Remote && a.State == b.State
}

func (s *Sockets) stage() stage { return stageWatchers }

func (s *Sockets) stop() error {
	return s.once(func() error {
		return s.host.lab.writeRows(s.file, "host", s.host.Name(), "readings", anyRows(s.readings))
	})
}

// AwaitSockets waits until the host has as many sockets that pass the filter as said, and returns
// them. It looks every 5 milliseconds, in long waits every hundredth of the time waited, and waits
// as long as the spec may take, or until it is plain that they cannot come any more: a peer has ended as nobody asked for,
// or listeners are wanted where no program runs any more. What it saw last is kept as [Host.Sockets] keeps it.
func (h *Host) AwaitSockets(count int, filter kernel.SocketFilter) []kernel.Socket {
	ginkgo.GinkgoHelper()
	s := h.Sockets(filter)
	ctx, giveUp := context.WithCancelCause(h.lab.ctx)
	defer giveUp(nil)
	sockets, err := kernel.AwaitSockets(ctx, h, filter, func(list []kernel.Socket) bool {
		if len(list) < count && slices.Equal(filter.States, []kernel.State{kernel.Listen}) {
			if err := h.noListener(); err != nil {
				giveUp(err)
			}
		}
		return len(list) == count
	})
	s.keep(kernel.Sample{At: h.lab.elapsed(), Sockets: sockets})
	if err != nil {
		err = fmt.Errorf("wait for %d sockets of %s: %w", count, h.Name(), err)
	}
	checkAvailable(err, kernel.ErrNoSockDiag)
	return sockets
}

// noListener returns an error if nobody is left in the host who could listen: its peers have ended, and so has all that they
// have started.
func (h *Host) noListener() error {
	var ended []string
	for _, peer := range h.lab.peers {
		if peer.host != h {
			continue
		}
		select {
		case <-peer.Done():
			ended = append(ended, peer.Name())
		default:
			return nil
		}
	}
	if len(ended) == 0 {
		return nil // the spec has means of its own
	}
	if left, err := h.Processes(); err != nil || len(left) > 0 {
		return err
	}
	return fmt.Errorf("no program runs in %s any more that could listen: ended are %s", h.Name(), strings.Join(ended, ", "))
}

// series is what a sampler reads.
type series[T any] struct {
	ending
	file    string
	sampler *kernel.Sampler[T]
	rebase  func(*T) // to the start of the spec
	write   func([]T) error
	list    []T // once it is stopped
}

func (s *series[T]) stage() stage { return stageWatchers }

func (s *series[T]) stop() error {
	return s.once(func() error {
		var err error
		s.list, err = s.sampler.Stop()
		for i := range s.list {
			s.rebase(&s.list[i])
		}
		return errors.Join(err, s.write(s.list))
	})
}

// List is what was read, in order. Times are since the start of the spec.
func (s *series[T]) List() []T {
	ginkgo.GinkgoHelper()
	check(s.over(s.file))
	return s.list
}

// Samples are the sockets of a host over time.
type Samples struct{ series[kernel.Sample] }

// Stop ends the sampling, for it to be read.
func (s *Samples) Stop() *Samples {
	ginkgo.GinkgoHelper()
	check(s.stop())
	return s
}

// Sample reads the sockets of the host that pass the filter, if there is one, on each period of a
// millisecond or more, until its Stop or the end of the spec. Where the machine is busy samples
// are late, by tens of milliseconds at times: what counts is the time that each has. The artefact is
// samples.json.
func (h *Host) Sample(period time.Duration, filter ...kernel.SocketFilter) *Samples {
	ginkgo.GinkgoHelper()
	sampler, err := kernel.StartSampling(h, period, atMostOne(filter))
	checkAvailable(err, kernel.ErrNoSockDiag)
	l, file := h.lab, h.lab.artefact("samples", "json")
	s := &Samples{series[kernel.Sample]{
		file:    file,
		sampler: sampler,
		rebase:  func(x *kernel.Sample) { x.At -= l.began },
		write: func(list []kernel.Sample) error {
			return l.writeRows(file, "host", h.Name(), "samples", anyRows(list))
		},
	}}
	l.add(s)
	return s
}

// Connection is the course of one side of a connection.
func (s *Samples) Connection(local, remote netip.AddrPort) []kernel.Point {
	ginkgo.GinkgoHelper()
	return kernel.Series(s.List(), local, remote)
}

// QueueSamples are the counters of a link end's qdisc over time: what waits in it, what it has
// sent and dropped.
type QueueSamples struct{ series[kernel.QdiscSample] }

// Stop ends the sampling, for it to be read.
func (s *QueueSamples) Stop() *QueueSamples {
	ginkgo.GinkgoHelper()
	check(s.stop())
	return s
}

// SampleQueue reads the counters of the end's root qdisc on each period of a millisecond or more,
// until its Stop or the end of the spec. The artefact is queue.json.
func (e *End) SampleQueue(period time.Duration) *QueueSamples {
	ginkgo.GinkgoHelper()
	sampler, err := kernel.StartSamplingQdisc(e.host, e.Name(), period)
	if err != nil {
		check(fmt.Errorf("%s: %w", e, err))
	}
	l, file := e.lab, e.lab.artefact("queue", "json")
	s := &QueueSamples{series[kernel.QdiscSample]{
		file:    file,
		sampler: sampler,
		rebase:  func(x *kernel.QdiscSample) { x.At -= l.began },
		write: func(list []kernel.QdiscSample) error {
			return l.writeRows(file, "end", e.String(), "samples", anyRows(list))
		},
	}}
	l.add(s)
	return s
}

// Events are what the kernel's tracepoints tell of the lab's hosts, from the start of the
// recording until its Stop.
type Events struct {
	ending
	lab     *Lab
	file    string
	hosts   []*Host
	running *kernel.Events
	list    []kernel.Event // once it is stopped
}

// Events starts to record what happens to the connections of some hosts, or of all of the
// topology's if none are named: changes of state, retransmissions, resets, congestion windows
// and dropped packets. The artefact is events.jsonl.
//
// Tracepoints tell no namespace, so events are the hosts' by their addresses; those of loopback
// are left out. Drops without an address are kept, whosever they are.
//
// Where the kernel has no tracefs, or lacks one of the events, the spec is skipped with the reason;
// with TCPLAB_REQUIRE=1 it fails.
func (l *Lab) Events(hosts ...*Host) *Events {
	ginkgo.GinkgoHelper()
	if l.network == nil {
		check(errors.New("record events: the lab has no topology yet"))
	}
	if len(hosts) == 0 {
		hosts = l.network.Hosts()
	}
	names := map[netip.Addr]string{}
	for _, host := range l.network.Hosts() {
		for _, end := range host.Ends() {
			names[end.IPv4().Addr()] = host.Name()
			names[end.IPv6().Addr()] = host.Name()
		}
	}
	delete(names, netip.Addr{}) // of ends without IPv6
	running, err := kernel.StartEvents(kernel.EventConfig{Host: func(a netip.Addr) string { return names[a] }})
	var lacking *kernel.MissingEventsError
	if errors.As(err, &lacking) {
		unavailable(err)
	}
	checkAvailable(err, kernel.ErrNoTracefs, os.ErrPermission)
	e := &Events{lab: l, file: l.artefact("events", "jsonl"), hosts: hosts, running: running}
	l.add(e)
	return e
}

// Stop ends the recording, for it to be read. Events that were lost for want of room fail the spec: nothing could be concluded from
// the rest.
func (e *Events) Stop() *Events {
	ginkgo.GinkgoHelper()
	check(e.stop())
	return e
}

// List is the events in order. Times are since the start of the spec.
func (e *Events) List() []kernel.Event {
	ginkgo.GinkgoHelper()
	list, err := e.Read()
	check(err)
	return list
}

// Read is List for a matcher, which has a place for an error.
func (e *Events) Read() ([]kernel.Event, error) { return e.list, e.over(e.file) }

// States are those that one side of a connection went through: the one that has the address local.
func (e *Events) States(local, remote netip.AddrPort) kernel.Path {
	ginkgo.GinkgoHelper()
	return kernel.PathOf(e.List(), local, remote)
}

func (e *Events) stage() stage { return stageWatchers }

func (e *Events) stop() error { return e.once(e.keep) }

// keep ends the recording, and writes what it has of the hosts.
func (e *Events) keep() error {
	all, lost, err := e.running.Stop()
	if err != nil {
		return fmt.Errorf("%s: %w", e.file, err)
	}
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, event := range all {
		if !e.wants(event) {
			continue
		}
		event.At -= e.lab.began
		e.list = append(e.list, event)
		if err := lines.Encode(event); err != nil {
			return fmt.Errorf("%s: %w", e.file, err)
		}
	}
	if lost > 0 {
		err = fmt.Errorf("%s: %d events were lost: the kernel's buffer was full", e.file, lost)
	}
	return errors.Join(err, renameio.WriteFile(filepath.Join(e.lab.dir, e.file), text.Bytes(), 0o644))
}

func (e *Events) wants(event kernel.Event) bool {
	if !event.Local.IsValid() {
		return event.Kind == kernel.Drop
	}
	return slices.ContainsFunc(e.hosts, func(host *Host) bool { return host.Name() == event.Host })
}

// atMostOne returns the filter, or the one that lists all.
func atMostOne(filters []kernel.SocketFilter) kernel.SocketFilter {
	ginkgo.GinkgoHelper()
	switch len(filters) {
	case 0:
		return kernel.SocketFilter{}
	case 1:
		return filters[0]
	default:
		check(fmt.Errorf("%d socket filters, at most one makes sense", len(filters)))
		return kernel.SocketFilter{}
	}
}

// checkAvailable is check, but skips the spec if the error is one of a kernel that lacks what is
// needed.
func checkAvailable(err error, lacks ...error) {
	ginkgo.GinkgoHelper()
	for _, lack := range lacks {
		if errors.Is(err, lack) {
			unavailable(err)
		}
	}
	check(err)
}

// First returns the first of what was observed. If there is nothing it fails the spec, and says what is missing.
func First[T any](observed []T, what string) T {
	ginkgo.GinkgoHelper()
	if len(observed) == 0 {
		ginkgo.Fail("there are no " + what)
	}
	return observed[0]
}
