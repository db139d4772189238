package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Sample is the sockets of a host at a time.
type Sample struct {
	// At is when the listing began, as of an [Event].
	At      time.Duration `json:"at_ns"`
	Sockets []Socket      `json:"sockets"` // as ReadSockets returns them
}

// minPeriod keeps the watching from being what is watched: a listing of sockets goes through the kernel's whole hash table of
// connections, in up to a millisecond, as long as sockets come and go; when they stay the same each is asked for by itself.
const minPeriod = time.Millisecond

// awaitPeriod is how often Await looks at first. Later it is a hundredth of the time that it has
// waited: in a wait of minutes, to look every few milliseconds would be most of what the machine does.
const (
	awaitPeriod = 5 * time.Millisecond
	awaitShare  = 100
)

// A Sampler reads something of a host again and again: its sockets, or a qdisc.
type Sampler[T any] struct {
	what    string // for errors
	read    func() (T, error)
	close   func()
	stop    chan struct{}
	stopped chan struct{}
	samples []T
	err     error
}

// StartSampling lists the sockets of in (see [ReadSockets]) at once and then once each
// period of a millisecond or more, until [Sampler.Stop]. After a listing that took longer
// than the period the next one is skipped.
//
// It samples because there is no event for most of what changes in a socket. For
// changes of state, and for the congestion window at each acknowledgement, see
// [StartEvents].
func StartSampling(in Runner, period time.Duration, filter SocketFilter) (*Sampler[Sample], error) {
	if err := checkPeriod(period); err != nil {
		return nil, fmt.Errorf("sample sockets: %w", err)
	}
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, fmt.Errorf("sample sockets: %w", err)
	}
	return startSampler("sample sockets", period, d.sample, d.close)
}

func checkPeriod(period time.Duration) error {
	if period < minPeriod {
		return fmt.Errorf("period %v: want at least %v", period, minPeriod)
	}
	return nil
}

// startSampler reads once, and then on each period. It closes when it has stopped.
func startSampler[T any](what string, period time.Duration, read func() (T, error), close func()) (*Sampler[T], error) {
	first, err := read()
	if err != nil {
		close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	s := &Sampler[T]{
		what: what, read: read, close: close,
		stop: make(chan struct{}), stopped: make(chan struct{}), samples: []T{first},
	}
	go s.run(period)
	return s, nil
}

func (s *Sampler[T]) run(period time.Duration) {
	defer close(s.stopped)
	defer s.close()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for stopping := false; !stopping && s.err == nil; {
		select {
		case <-ticker.C:
		case <-s.stop:
			stopping = true
		}
		var next T
		if next, s.err = s.read(); s.err == nil {
			s.samples = append(s.samples, next)
		}
	}
}

// Stop takes a last sample and returns all, in order. With an error, it returns
// those before it. It must be called once.
func (s *Sampler[T]) Stop() ([]T, error) {
	close(s.stop)
	<-s.stopped
	if s.err != nil {
		return s.samples, fmt.Errorf("%s: %w", s.what, s.err)
	}
	return s.samples, nil
}

func (d *diag) sample() (Sample, error) {
	at, err := monotonic()
	if err != nil {
		return Sample{}, err
	}
	sockets, err := d.readAgain()
	return Sample{At: at, Sockets: sockets}, err
}

// A Point is one socket at a time.
type Point struct {
	At time.Duration `json:"at_ns"` // as of an [Event]
	Socket
}

// Series returns what the samples have of the socket between two addresses, in
// order: none where it was not there.
func Series(samples []Sample, local, remote netip.AddrPort) []Point {
	var series []Point
	for _, sample := range samples {
		for _, s := range sample.Sockets {
			if s.Local == local && s.Remote == remote {
				series = append(series, Point{sample.At, s})
			}
		}
	}
	return series
}

func monotonic() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// AwaitSockets lists the sockets of in (see [ReadSockets]) until they are as wanted,
// and returns them. If ctx ends first, it returns the last listing, and an error
// that wraps ctx's cause.
//
// It looks every 5 milliseconds, and after half a second whenever another hundredth of
// the time has passed: the kernel announces the end of sockets, but not the end of
// TIME-WAIT, nor any other change.
func AwaitSockets(ctx context.Context, in Runner, filter SocketFilter, wanted func([]Socket) bool) ([]Socket, error) {
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, fmt.Errorf("await sockets: %w", err)
	}
	defer d.close()
	began := time.Now()
	for {
		sockets, err := d.readAgain()
		if err != nil {
			return nil, fmt.Errorf("await sockets: %w", err)
		}
		if wanted(sockets) {
			return sockets, nil
		}
		select {
		case <-ctx.Done():
			return sockets, fmt.Errorf("await sockets (%v): after %v the last of the listings has%s: %w",
				filter, time.Since(began).Round(time.Millisecond), summary(sockets), context.Cause(ctx))
		case <-time.After(max(awaitPeriod, time.Since(began)/awaitShare)):
		}
	}
}

// summary lists the first few sockets in a line.
func summary(sockets []Socket) string {
	const most = 5
	if len(sockets) == 0 {
		return " none"
	}
	var s string
	for i, x := range sockets {
		if i == most {
			return s + fmt.Sprintf(", and %d more", len(sockets)-most)
		}
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf(" %v-%v %v", x.Local, x.Remote, x.State)
	}
	return s
}
