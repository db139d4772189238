package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// A Lab is the world of one scenario. It belongs to one spec and is used from its goroutine.
//
// Its methods fail the spec when something goes wrong, so that a scenario reads as topology,
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

	topology  *netns.Topology
	offload   bool
	before    map[*netns.Host]kernel.Counters
	pressured []*netns.Host // whose memory may run short
	links     sync.Mutex    // while an end is impaired, which schedules do in goroutines of their own
	peers     []*Peer
	record    *results.Record

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
		before:    map[*netns.Host]kernel.Counters{},
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

// Direct builds client and server with one link between them: impairments act on the hosts'
// own egress, where they talk back to the sending TCP. See [Lab.Routed].
func (l *Lab) Direct(config ...netns.Config) *netns.Topology {
	ginkgo.GinkgoHelper()
	return l.build(netns.Direct, config)
}

// Routed builds client, router and server. Impairments act at the router: on its egress to
// the server (ToServer) and to the client (ToClient).
func (l *Lab) Routed(config ...netns.Config) *netns.Topology {
	ginkgo.GinkgoHelper()
	return l.build(netns.Routed, config)
}

// Path is [Lab.Routed] with half of a round trip of delay each way, at the router: what most scenarios begin with. A later
// [Lab.Impair] or [Lab.ImpairBoth] takes the delay's place.
func (l *Lab) Path(roundTrip time.Duration, config ...netns.Config) *netns.Topology {
	ginkgo.GinkgoHelper()
	net := l.Routed(config...)
	l.ImpairBoth(impair.Netem{Delay: roundTrip / 2})
	return net
}

// Dumbbell builds pairs of clients and servers that share one link between two routers.
func (l *Lab) Dumbbell(pairs int, config ...netns.Config) *netns.Topology {
	ginkgo.GinkgoHelper()
	return l.build(func(c netns.Config) (*netns.Topology, error) { return netns.Dumbbell(pairs, c) }, config)
}

func (l *Lab) build(make func(netns.Config) (*netns.Topology, error), config []netns.Config) *netns.Topology {
	ginkgo.GinkgoHelper()
	if l.topology != nil {
		check(errors.New("build topology: the lab has one"))
	}
	var c netns.Config
	switch len(config) {
	case 0:
	case 1:
		c = config[0]
	default:
		check(fmt.Errorf("build topology: %d configurations, at most one makes sense", len(config)))
	}
	check(useSmallTables())
	topology, err := make(c)
	check(err)
	l.topology, l.offload = topology, c.Offload
	for _, host := range topology.Hosts() {
		counters, err := kernel.ReadCounters(host)
		check(err)
		l.before[host] = counters
	}
	return topology
}

// Impair sets what the link does to packets that leave through an end. An end that is impaired
// already is changed in mid-run, without a loss of what is queued. A Netem without a seed
// gets one that follows from the lab's. What the kernel made of it is recorded.
func (l *Lab) Impair(end *netns.End, n impair.Netem) impair.Applied {
	ginkgo.GinkgoHelper()
	if n.Seed == 0 {
		n.Seed = l.nextSeed()
	}
	check(l.readyForRules(end))
	check(l.jitterWithin())
	at := l.elapsed()
	applied, setErr := l.setNetem(end, n)
	if setErr != nil && !isMismatch(setErr) {
		check(fmt.Errorf("%s: %w", end, setErr)) // nothing was done
	}
	check(l.recordImpairment(at, end, applied))
	if setErr != nil {
		check(fmt.Errorf("%s: %w", end, setErr))
	}
	return applied
}

// setNetem impairs an end, or changes how it is impaired. It can be called from any goroutine.
func (l *Lab) setNetem(end *netns.End, n impair.Netem) (impair.Applied, error) {
	l.links.Lock()
	defer l.links.Unlock()
	if l.queueOf(end) != nil {
		return impair.Change(device(end), n)
	}
	applied, err := impair.Apply(device(end), n)
	if err == nil || isMismatch(err) {
		l.add(&queue{end: end})
	}
	return applied, err
}

// A queue is the netem of an end from when it is impaired on: its own account is evidence.
type queue struct {
	ending
	end     *netns.End
	cleared bool
	stats   *impair.Stats // once it is stopped, if it could be read
}

func (q *queue) stage() stage { return stageQueues }

func (q *queue) stop() error {
	return q.once(func() error {
		if q.cleared {
			return nil
		}
		stats, err := impair.ReadStats(device(q.end))
		if err != nil {
			return fmt.Errorf("queue of %s: %w", q.end, err)
		}
		q.stats = &stats
		return nil
	})
}

// record is what the record has of the queue; nothing if there is no account.
func (q *queue) record() []results.Queue {
	s := q.stats
	if s == nil {
		return nil
	}
	return []results.Queue{{
		End: q.end.String(), Kind: "netem", Bytes: s.Bytes, Packets: s.Packets, Drops: uint64(s.Drops),
		Overlimits: uint64(s.Overlimits), Requeues: uint64(s.Requeues), Backlog: uint64(s.Backlog), Length: uint64(s.QueueLength),
	}}
}

// queueOf returns the queue of an end that is impaired.
func (l *Lab) queueOf(end *netns.End) *queue {
	for _, q := range recordersOf[*queue](l) {
		if q.end == end && !q.cleared {
			return q
		}
	}
	return nil
}

// isMismatch reports whether the kernel has set something, but not what was asked for.
func isMismatch(err error) bool {
	var mismatch *impair.MismatchError
	return errors.As(err, &mismatch)
}

// recordImpairment records what was set on an end, and what the kernel made of it.
func (l *Lab) recordImpairment(at results.Duration, end *netns.End, applied impair.Applied) error {
	asked, err := results.Raw(applied.Asked)
	if err != nil {
		return err
	}
	got, err := results.Raw(applied.Got)
	if err != nil {
		return err
	}
	l.record.Impairments = append(l.record.Impairments, results.Impairment{
		At: at, End: end.String(), Direction: "egress", Asked: asked, Applied: got, Notes: applied.Notes,
	})
	return nil
}

// nextSeed gives each impairment of a scenario a sequence of its own: two directions must not lose the same packets. The
// factor is 2^64 divided by the golden ratio, which spreads small numbers over all bits.
func (l *Lab) nextSeed() uint64 {
	seed := (l.seed+1)*0x9e3779b97f4a7c15 + uint64(l.seeded)
	l.seeded++
	return seed
}

// ImpairBoth sets the same on both directions of the topology.
func (l *Lab) ImpairBoth(n impair.Netem) {
	ginkgo.GinkgoHelper()
	if l.topology == nil {
		check(errors.New("impair both directions: the lab has no topology yet"))
	}
	l.Impair(l.topology.ToServer, n)
	l.Impair(l.topology.ToClient, n)
}

// ClearImpairment makes the link perfect again. What was queued is lost.
func (l *Lab) ClearImpairment(end *netns.End) {
	ginkgo.GinkgoHelper()
	check(l.jitterWithin())
	at := l.elapsed()
	check(impair.Clear(device(end)))
	l.links.Lock()
	if q := l.queueOf(end); q != nil {
		q.cleared = true
	}
	l.links.Unlock()
	l.record.Impairments = append(l.record.Impairments, results.Impairment{At: at, End: end.String(), Direction: "egress"})
}

// Queue reads the statistics of the qdisc on an impaired end: the link's own account of what it
// sent and dropped.
func (l *Lab) Queue(end *netns.End) impair.Stats {
	ginkgo.GinkgoHelper()
	check(l.faulty("read the queue of " + end.String()))
	stats, err := impair.ReadStats(device(end))
	check(err)
	return stats
}

func device(end *netns.End) impair.Device {
	return impair.Device{NetNS: end.Host().FD(), Name: end.Name(), Index: end.Index()}
}

// Counters are what a host's kernel counted since the topology was built, by nstat's names.
func (l *Lab) Counters(host *netns.Host) kernel.Counters {
	ginkgo.GinkgoHelper()
	check(l.faulty("read the counters of " + host.Name()))
	now, err := kernel.ReadCounters(host)
	check(err)
	return now.Since(l.before[host])
}

// Sysctl reads a number from a host's sysctls.
func (l *Lab) Sysctl(host *netns.Host, key string) int {
	ginkgo.GinkgoHelper()
	text, err := host.Sysctl(key)
	check(err)
	value, err := strconv.Atoi(text)
	if err != nil {
		check(fmt.Errorf("sysctl %s on %s: %w", key, host.Name(), err))
	}
	return value
}

// HasSysctl tells whether a host's kernel knows a sysctl.
func (l *Lab) HasSysctl(host *netns.Host, key string) bool {
	ginkgo.GinkgoHelper()
	_, err := host.Sysctl(key)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		check(err)
	}
	return err == nil
}

func (l *Lab) elapsed() results.Duration { return results.Duration(time.Since(l.start)) }

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
			if l.topology != nil {
				err = errors.Join(err, l.topology.Close())
			}
			l.setClosed()
		}()
		errs := l.faults(report) // before anything that is done here can be the cause
		errs = append(errs, l.mark())
		l.record.Busy = l.howBusy()
		if l.topology != nil {
			l.record.Topology = describe(l.topology, l.offload)
			errs = append(errs, l.recordCounters())
		}
		errs = append(errs, l.stopAll(), l.recordRules())
		for _, q := range recordersOf[*queue](l) {
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

func describe(t *netns.Topology, offload bool) *results.Topology {
	topology := &results.Topology{Kind: t.Kind}
	for _, host := range t.Hosts() {
		described := results.Host{Name: host.Name(), Sysctls: map[string]string{}}
		for _, end := range host.Ends() {
			described.Addresses = append(described.Addresses, end.IPv4().String(), end.IPv6().String())
		}
		for _, setting := range host.Sysctls() {
			described.Sysctls[setting.Key] = setting.Value
		}
		topology.Hosts = append(topology.Hosts, described)
	}
	for _, link := range t.Links {
		topology.Links = append(topology.Links, results.Link{
			Ends: [2]string{link.A.String(), link.B.String()}, MTU: link.A.MTU(), Offload: offload,
		})
	}
	return topology
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
