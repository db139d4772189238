package kernel

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A Sample is the sockets of a host at a time.
type Sample struct {
	// At is when the listing began, by CLOCK_MONOTONIC: the clock of the events.
	At      time.Duration `json:"at"`
	Sockets []Socket      `json:"sockets"`
}

// minPeriod keeps the watching from being what is watched: a listing goes through
// the kernel's whole hash table of connections, in up to a millisecond.
const minPeriod = time.Millisecond

// awaitPeriod is how often Await looks.
const awaitPeriod = 5 * time.Millisecond

// A Sampler lists the sockets of a host again and again.
type Sampler struct {
	stop    chan struct{}
	stopped chan struct{}
	samples []Sample
	err     error
}

// StartSampling lists the sockets of in (see [ReadSockets]) now and then on each
// period, which is at least a millisecond. A listing that takes longer than the
// period has the next one left out.
//
// It samples because there is no event for most of what changes in a socket. For
// changes of state, and for the congestion window at each acknowledgement, see
// [StartEvents].
func StartSampling(in Runner, period time.Duration, filter SocketFilter) (*Sampler, error) {
	if period < minPeriod {
		return nil, fmt.Errorf("sample sockets: period %v: want at least %v", period, minPeriod)
	}
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, fmt.Errorf("sample sockets: %w", err)
	}
	first, err := d.sample()
	if err != nil {
		d.close()
		return nil, fmt.Errorf("sample sockets: %w", err)
	}
	s := &Sampler{stop: make(chan struct{}), stopped: make(chan struct{}), samples: []Sample{first}}
	ticker := time.NewTicker(period)
	go func() {
		defer close(s.stopped)
		defer ticker.Stop()
		defer d.close()
		for stopping := false; !stopping && s.err == nil; {
			select {
			case <-ticker.C:
			case <-s.stop:
				stopping = true
			}
			var next Sample
			if next, s.err = d.sample(); s.err == nil {
				s.samples = append(s.samples, next)
			}
		}
	}()
	return s, nil
}

// Stop takes a last sample and returns all, in order. With an error, it returns
// those before it. It must be called once.
func (s *Sampler) Stop() ([]Sample, error) {
	close(s.stop)
	<-s.stopped
	if s.err != nil {
		return s.samples, fmt.Errorf("sample sockets: %w", s.err)
	}
	return s.samples, nil
}

func (d *diag) sample() (Sample, error) {
	at, err := monotonic()
	if err != nil {
		return Sample{}, err
	}
	sockets, err := d.read()
	return Sample{At: at, Sockets: sockets}, err
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
// It looks every 5 milliseconds: the kernel announces the end of sockets, but not
// the end of TIME-WAIT, nor any other change.
func AwaitSockets(ctx context.Context, in Runner, filter SocketFilter, wanted func([]Socket) bool) ([]Socket, error) {
	d, err := openDiag(in, filter)
	if err != nil {
		return nil, fmt.Errorf("await sockets: %w", err)
	}
	defer d.close()
	ticker := time.NewTicker(awaitPeriod)
	defer ticker.Stop()
	for {
		sockets, err := d.read()
		if err != nil {
			return nil, fmt.Errorf("await sockets: %w", err)
		}
		if wanted(sockets) {
			return sockets, nil
		}
		select {
		case <-ctx.Done():
			return sockets, fmt.Errorf("await sockets: %w: the last of the listings has%s", context.Cause(ctx), summary(sockets))
		case <-ticker.C:
		}
	}
}

// summary tells up to some sockets in a line.
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
