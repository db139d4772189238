package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// A Peer is a program that runs in one of the lab's hosts.
type Peer struct {
	*peers.Peer
	host    *netns.Host
	program peers.Program
}

// Start starts a program in a host and waits until it is ready: until a server listens, until a
// client has its socket. A program that is still running when the spec ends is killed.
func (l *Lab) Start(host *netns.Host, program peers.Program) *Peer {
	ginkgo.GinkgoHelper()
	name := fmt.Sprintf("%s-%d", host.Name(), len(l.peers)+1)
	check(l.jitter())
	started, err := peers.Start(l.life, host, name, program)
	check(err)
	peer := &Peer{Peer: started, host: host, program: program}
	l.peers = append(l.peers, peer)
	_, err = started.Ready(l.ctx)
	check(err)
	return peer
}

// Started waits until a program has its first connection: a client's is established, a server
// has accepted one.
func (l *Lab) Started(peer *Peer) peers.Started {
	ginkgo.GinkgoHelper()
	started, err := peer.Peer.Started(l.ctx)
	check(err)
	return started
}

// Wait waits until a program has ended and returns what it reported. That it could not do its
// work fails the spec.
func (l *Lab) Wait(peer *Peer) peers.Result {
	ginkgo.GinkgoHelper()
	result, err := peer.Peer.Wait(l.ctx)
	check(err)
	return result
}

// Waiting waits until a script stands at an Await: it has done all the steps before.
func (l *Lab) Waiting(peer *Peer) {
	ginkgo.GinkgoHelper()
	_, err := peer.Peer.Waiting(l.ctx)
	check(err)
}

// Continue waits as Waiting does, and lets the script go on.
func (l *Lab) Continue(peer *Peer) {
	ginkgo.GinkgoHelper()
	check(l.jitter())
	check(peer.Peer.Continue(l.ctx))
}

// Stop asks a program to finish, and then does as Wait.
func (l *Lab) Stop(peer *Peer) peers.Result {
	ginkgo.GinkgoHelper()
	check(l.jitter())
	result, err := peer.Peer.Stop(l.ctx)
	check(err)
	return result
}

// recordPeer ends a peer, if it still runs, and records what is known of it.
func (l *Lab) recordPeer(peer *Peer) error {
	record := results.Peer{Name: peer.Name(), Host: peer.host.Name(), Program: peers.NameOf(peer.program)}
	select {
	case <-peer.Done():
	default:
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
	if err != nil && record.Error == "" {
		record.Error = err.Error()
	}
	if result.Program != "" {
		record.Result = raw(result)
	}
	l.record.Peers = append(l.record.Peers, record)
	if output := peer.Output(); len(output) > 0 {
		errs = append(errs, os.WriteFile(filepath.Join(l.dir, peer.Name()+".stderr.txt"), output, 0o644))
	}
	return errors.Join(errs...)
}
