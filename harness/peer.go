package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// A Peer is a program that runs in one of the lab's hosts.
type Peer struct {
	*peers.Peer
	lab     *Lab
	host    *Host
	program peers.Program

	mayFail  bool
	outlived bool // it still ran when the scenario had ended: what becomes of it is the lab's doing
}

// A PeerOption says of a peer what its program does not.
type PeerOption func(*Peer)

// MayFail lets a program end in any way: by a signal, by a panic, with any exit status, and before it was ready. The spec looks
// for itself, at what [Peer.Wait] returns: the Command of a result has the status, and the Err of one of package peers' own
// programs says how it ended. Without it only what the spec has asked for by Signal, Kill or [Peer.Stop] is no failure. Where
// the status is known, the ExitStatuses of a [peers.Command] say more.
//
//	iperf := lab.Start(net.Client(), peers.Command{Path: "iperf3", Args: ...}, harness.MayFail)
//	Expect(iperf.Wait().Command.ExitCode).To(Or(Equal(0), Equal(1))) // whether it had begun or not
func MayFail(p *Peer) { p.mayFail = true }

// Start starts a program in a host and waits until it is ready: until a server listens, until a
// client has its socket, and as a Command's [peers.Readiness] says. A program that is still running when the spec ends is killed.
//
// One that ends as nobody asked for (see [peers.Peer.Fault]) fails the spec, whether somebody waits for it or not: a crash,
// a panic, the OOM killer, an exit status other than 0. Whatever the lab waits for just then fails at once, with that as
// the cause. [MayFail] allows it.
func (l *Lab) Start(host *Host, program peers.Program, options ...PeerOption) *Peer {
	ginkgo.GinkgoHelper()
	name := fmt.Sprintf("%s-%d", host.Name(), len(l.peers)+1)
	check(l.jitter())
	checkAvailable(host.checkPort(program), kernel.ErrNoSockDiag)
	started, err := peers.Start(l.life, listeners{host}, name, program)
	check(err)
	peer := &Peer{Peer: started, lab: l, host: host, program: program}
	for _, option := range options {
		option(peer)
	}
	l.busy.Lock()
	l.peers = append(l.peers, peer)
	l.busy.Unlock()
	go func() {
		<-peer.Done()
		if err := peer.fault(); err != nil {
			l.cancel(err)
		}
		_ = l.mark() // the next one says why it cannot
	}()
	_, err = started.Ready(l.ctx)
	peer.checkResult(err)
	check(l.mark())
	return peer
}

// listeners is a host that tells package peers who listens there.
type listeners struct{ *Host }

// AwaitListener implements [peers.ListenWatcher].
func (l listeners) AwaitListener(ctx context.Context, port uint16) error {
	_, err := kernel.AwaitSockets(ctx, l.Host, listening(port), func(list []kernel.Socket) bool { return len(list) > 0 })
	return err
}

func listening(port uint16) kernel.SocketFilter {
	return kernel.SocketFilter{States: []kernel.State{kernel.Listen}, Port: port}
}

// checkPort returns an error if somebody listens already where a program is to listen when it is ready: it would be taken for it.
func (h *Host) checkPort(program peers.Program) error {
	command, ok := program.(peers.Command)
	if !ok || command.Ready.Port <= 0 || command.Ready.Port > math.MaxUint16 {
		return nil
	}
	sockets, err := kernel.ReadSockets(h, listening(uint16(command.Ready.Port)))
	if err == nil && len(sockets) > 0 {
		err = fmt.Errorf("start %s in %s: somebody listens at %v before it does, so its port cannot tell when it is ready: use Ready.Line",
			command.Path, h.Name(), sockets[0].Local)
	}
	return err
}

// A fault is the end of a peer that nobody asked for.
type fault struct{ err error }

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// fault returns how the peer ended, if that fails the spec.
func (p *Peer) fault() error {
	if p.mayFail {
		return nil
	}
	if err := p.Peer.Fault(); err != nil {
		return &fault{err}
	}
	return nil
}

// faults are the ends that nobody asked for, when the spec has ended, without those that its failure tells already.
func (l *Lab) faults(report types.SpecReport) []error {
	var errs []error
	for _, peer := range l.peers {
		select {
		case <-peer.Done():
		default:
			peer.outlived = true // unless it has just died
		}
		if err := peer.fault(); err != nil {
			peer.outlived = false
			if !strings.Contains(report.Failure.Message, err.Error()) {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// faulty returns an error if a peer has ended as nobody asked for. It is for what a spec reads again and again until it is as
// expected: that may never be now.
func (l *Lab) faulty(operation string) error {
	var f *fault
	if errors.As(context.Cause(l.ctx), &f) {
		return fmt.Errorf("%s: %w", operation, f)
	}
	return nil
}

// runs tells whether the program has not ended yet.
func (p *Peer) runs() bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// check fails the spec if something that was asked of the peer failed, or if it has ended as nobody asked for.
func (p *Peer) check(err error) {
	ginkgo.GinkgoHelper()
	select {
	case <-p.Done():
		check(p.fault()) // which tells more
	default:
	}
	check(err)
}

// checkResult is check for what the peer has reported, which may be nothing if it may fail.
func (p *Peer) checkResult(err error) {
	ginkgo.GinkgoHelper()
	var exit *peers.ExitError
	if p.mayFail && (errors.As(err, &exit) || p.Peer.Fault() != nil) {
		return
	}
	p.check(err)
}

// Started waits until the program has its first connection: a client's is established, a server
// has accepted one.
func (p *Peer) Started() peers.Started {
	ginkgo.GinkgoHelper()
	started, err := p.Peer.Started(p.lab.ctx)
	p.check(err)
	return started
}

// Begin lets a program that was started with AwaitBegin begin.
func (p *Peer) Begin() {
	ginkgo.GinkgoHelper()
	p.check(p.Peer.Begin())
}

// Wait waits until the program has ended and returns what it reported. That it could not do its
// work fails the spec, and so does an end that nobody asked for: see [Lab.Start].
func (p *Peer) Wait() peers.Result {
	ginkgo.GinkgoHelper()
	result, err := p.Peer.Wait(p.lab.ctx)
	p.checkResult(err)
	check(p.lab.mark())
	return result
}

// Waiting waits until a script stands at an Await: it has done all the steps before.
func (p *Peer) Waiting() {
	ginkgo.GinkgoHelper()
	_, err := p.Peer.Waiting(p.lab.ctx)
	p.check(err)
}

// Continue waits as Waiting does, and lets the script go on.
func (p *Peer) Continue() {
	ginkgo.GinkgoHelper()
	check(p.lab.jitter())
	p.check(p.Peer.Continue(p.lab.ctx))
	check(p.lab.mark())
}

// Stop asks the program to finish, and then does as Wait.
func (p *Peer) Stop() peers.Result {
	ginkgo.GinkgoHelper()
	check(p.lab.jitter())
	result, err := p.Peer.Stop(p.lab.ctx)
	p.checkResult(err)
	check(p.lab.mark())
	return result
}

// recordPeer ends a peer, if it still runs, and records what is known of it.
func (l *Lab) recordPeer(peer *Peer) error {
	record := results.Peer{Name: peer.Name(), Host: peer.host.Name(), Program: peers.NameOf(peer.program)}
	if peer.outlived {
		record.Error = "still running when the scenario ended"
		peer.Kill()
	}
	var errs []error
	raw := func(v any) json.RawMessage {
		text, err := results.Raw(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("record peer %s: %w", peer.Name(), err))
		}
		return text
	}
	record.Config = raw(peer.program)
	result, err := peer.Peer.Wait(l.life)
	if err == nil && record.Error == "" {
		err = peer.Peer.Fault()
	}
	if err != nil && record.Error == "" {
		record.Error = err.Error()
	}
	if result.Program != "" {
		record.Result = raw(result)
	}
	l.record.Peers = append(l.record.Peers, record)
	if output := peer.Output(); len(output) > 0 {
		errs = append(errs, os.WriteFile(filepath.Join(l.dir, peer.stderrFile()), output, 0o644))
	}
	return errors.Join(errs...)
}

// stderrFile is where the peer's standard error is kept.
func (p *Peer) stderrFile() string { return p.Name() + ".stderr.txt" }
