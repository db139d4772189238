package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// A Lab is the world of one scenario: its topology, its lifetime, and the record of it. What a host does or has is the [Host]'s, what
// happens on a link is its [End]'s, and what a program does is the [Peer]'s. A Lab belongs to one spec and is used from its goroutine.
//
// Its methods, and theirs, fail the spec when something goes wrong, so that a scenario reads as topology,
// impairment, action and expectation.
type Lab struct {
	ctx    context.Context         // ends what waits: with the spec, or with a peer that ends as nobody asked for
	cancel context.CancelCauseFunc // of ctx
	life   context.Context         // of the lab: ends with it, and peers with it
	end    context.CancelFunc
	dir    string
	start  time.Time
	began  time.Duration // start by CLOCK_MONOTONIC, the clock of events and samples
	seed   uint64

	seeded  int        // impairments that have got a seed of their own
	actions *rand.Rand // when the harness acts: see jitter

	network *Network
	offload bool
	links   sync.Mutex // while an end is impaired, which schedules do in goroutines of their own
	peers   []*Peer
	record  *results.Record

	injections []injection // in their order

	recording sync.Mutex // of recorders, likewise
	recorders []recorder // in the order in which they were started

	busy        sync.Mutex // of moments, which the ends of peers add to, and so of what is added to peers
	moments     []moment   // how busy the guest was
	busyAllowed bool

	artefacts map[string]int // how many there are of each kind

	closed   sync.Once
	isClosed bool
}

// NewLab makes the lab of the running spec, which can have one. Everything in it goes when
// the spec ends. It is made in the It: all that waits in it waits with this context.
func NewLab(ctx ginkgo.SpecContext) *Lab {
	ginkgo.GinkgoHelper()
	requireKernel()
	lab, err := newLab(ctx)
	check(err)
	ginkgo.DeferCleanup(func() error {
		summary, err := lab.close(ginkgo.CurrentSpecReport())
		if summary != "" {
			showFailure(summary)
		}
		return err
	})
	return lab
}

func newLab(ctx ginkgo.SpecContext) (*Lab, error) {
	report := ginkgo.CurrentSpecReport()
	if node := currentNode(report); node != types.NodeTypeIt {
		return nil, fmt.Errorf("new lab: in a %s: make it in the It, since it waits with the context that it is made with, which ends with the node", node)
	}
	run, err := currentRun()
	if err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	began, err := monotonic()
	if err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	suiteConfig, _ := ginkgo.GinkgoConfiguration()
	lab := &Lab{
		dir:       run.Dir(suiteName, report.FullText()),
		start:     time.Now(),
		began:     began,
		seed:      uint64(suiteConfig.RandomSeed),
		actions:   actionsOf(uint64(suiteConfig.RandomSeed)),
		record:    &results.Record{},
		artefacts: map[string]int{},
	}
	if err := lab.mark(); err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	lab.ctx, lab.cancel = context.WithCancelCause(ctx)
	lab.life, lab.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := putLab(lab); err != nil {
		return nil, fmt.Errorf("new lab: %w", err)
	}
	// What an earlier run of the same scenario left would pass for evidence of this one.
	err = os.RemoveAll(lab.dir)
	if err == nil {
		err = os.MkdirAll(lab.dir, 0o755)
	}
	if err != nil {
		_, closing := lab.close(types.SpecReport{})
		return nil, fmt.Errorf("new lab: %w", errors.Join(err, closing))
	}
	return lab, nil
}

// currentNode is the type of the node that runs.
func currentNode(report ginkgo.SpecReport) types.NodeType {
	for _, event := range slices.Backward(report.SpecEvents) {
		if event.SpecEventType == types.SpecEventNodeStart {
			return event.NodeType
		}
	}
	return types.NodeTypeInvalid
}

// Dir is the folder of the spec's record. What is put there is an artefact.
func (l *Lab) Dir() string { return l.dir }

// Seed is the seed of all that is random in the lab.
func (l *Lab) Seed() uint64 { return l.seed }

func (l *Lab) elapsed() time.Duration { return time.Since(l.start) }

// close takes the lab down, and completes the record: first all that is evidence, as it was
// when the scenario ended, then what is running, then the network. Whatever fails on the way,
// all of it is done. Only the first call does anything.
//
// If the spec has failed, or fails by what is found here, it also keeps the state of the hosts
// and returns a summary of the evidence.
func (l *Lab) close(report types.SpecReport) (summary string, err error) {
	l.closed.Do(func() {
		defer func() {
			l.end()
			l.cancel(nil)
			if l.network != nil {
				err = errors.Join(err, l.network.topology.Close())
			}
			l.setClosed()
		}()
		errs := l.faults(report) // before anything that is done here can be the cause
		errs = append(errs, l.mark())
		l.record.Busy = l.howBusy()
		if l.network != nil {
			l.record.Topology = l.network.describe()
			errs = append(errs, l.recordCounters())
		}
		errs = append(errs, l.stopAll(), l.recordRules())
		for _, q := range recordersOf[*linkQueue](l) {
			l.record.Queues = append(l.record.Queues, q.record()...)
		}
		for _, c := range recordersOf[*Capture](l) {
			l.record.Captures = append(l.record.Captures, c.record()...)
		}
		if report.Failed() || errors.Join(errs...) != nil {
			summary = l.keepFailure()
		}
		for _, peer := range l.peers {
			errs = append(errs, l.recordPeer(peer))
		}
		err = errors.Join(errs...)
	})
	return summary, err
}

// The lab of the spec that runs in this process. A spec that is tried several times
// (MustPassRepeatedly, FlakeAttempts) makes one each time: the last is recorded.
var (
	labMutex   sync.Mutex
	currentLab *Lab
)

func putLab(lab *Lab) error {
	labMutex.Lock()
	defer labMutex.Unlock()
	if currentLab != nil && !currentLab.isClosed {
		return errors.New("the spec has one already")
	}
	currentLab = lab
	return nil
}

func takeLab() *Lab {
	labMutex.Lock()
	defer labMutex.Unlock()
	lab := currentLab
	currentLab = nil
	return lab
}

func (l *Lab) setClosed() {
	labMutex.Lock()
	defer labMutex.Unlock()
	l.isClosed = true
}

// check fails the spec at the line that called the Lab.
func check(err error) {
	ginkgo.GinkgoHelper()
	if err != nil {
		ginkgo.Fail(err.Error())
	}
}

var _ peers.Starter = (*netns.Host)(nil)
