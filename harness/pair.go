package harness

import (
	"net/netip"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/peers"
)

// pairPort is where the server of a Pair listens, unless its script says otherwise.
const pairPort = 80

// A Pair is a connection and the programs at its ends.
type Pair struct {
	Client, Server *Peer
	Local, Remote  netip.AddrPort // of the connection, as the client sees it
}

// Connect starts two scripts that are connected to each other, and returns when they are: the first connection is there
// on both sides. Scripts without Connect and Listen meet at port 80 of the server.
func (l *Lab) Connect(client, server *Host, clientScript, serverScript peers.Script) Pair {
	ginkgo.GinkgoHelper()
	if !serverScript.Listen.IsValid() {
		serverScript.Listen = server.Addr(pairPort)
	}
	if !clientScript.Connect.IsValid() {
		clientScript.Connect = serverScript.Listen
	}
	p := Pair{Server: l.Start(server, serverScript)}
	p.Client = l.Start(client, clientScript)
	started := p.Client.Started()
	p.Server.Started()
	p.Local, p.Remote = started.Local, started.Remote
	return p
}
