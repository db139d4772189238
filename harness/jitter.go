package harness

import (
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/results"
)

// mostJitter is how long an action of the harness is put off at most: three ticks of a kernel at 250 Hz.
const mostJitter = 12 * time.Millisecond

// jitter puts an action of the harness off by a time that follows from the seed, to the nanosecond. In virtual time a peer
// would start, and an impairment change, at the same moment of a tick in each run, until another build of the kernel or of a
// program moves it. By this another build is no more than another seed.
//
// A scenario cannot depend on when its actions are to the tick; those that have to follow each other closely are steps of one
// script. On the real clock they vary anyhow.
func (l *Lab) jitter() error {
	if clock() != results.ClockVirtual {
		return nil
	}
	// Not time.Sleep, which the runtime may round up to the millisecond of epoll_wait.
	wait := unix.NsecToTimespec(l.actions.Int64N(int64(mostJitter)))
	for {
		err := unix.Nanosleep(&wait, &wait)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// jitterWithin is jitter of a change on the network, which matters only once something runs there.
func (l *Lab) jitterWithin() error {
	if len(l.peers) == 0 {
		return nil
	}
	return l.jitter()
}

// actionsOf returns the source of jitter of a scenario.
func actionsOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
