package reconnect

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// A Ledger knows which messages have been processed. It has to live as long as what processing them changes: as one that is in memory
// does where that is in memory as well. Where messages go to a database, the last number of each client belongs there, and is written
// in the same transaction.
type Ledger struct {
	id uint64

	mu      sync.Mutex
	clients map[uint64]*account
}

// An account is what a ledger knows of a client.
type account struct {
	turn chan struct{} // has an element while a message of this client is processed, or last is read
	last uint64
	conn net.Conn // the present one; of the ledger's mutex
}

// processed returns the last number that was processed. It waits for a message that is in the works.
func (a *account) processed() uint64 {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	return a.last
}

// maxClients bounds what clients with ever new IDs can make a ledger remember.
const maxClients = 100_000

// NewLedger makes an empty ledger with an ID of its own.
func NewLedger() *Ledger {
	return &Ledger{id: rand.Uint64(), clients: map[uint64]*account{}} //nolint:gosec // no secret
}

// open returns a client's account, and makes conn the one connection of that client: one that was there before is closed.
func (l *Ledger) open(id uint64, conn net.Conn) (*account, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.clients[id]
	if a == nil {
		if len(l.clients) == maxClients {
			return nil, fmt.Errorf("client %d: there are %d clients already", id, maxClients)
		}
		a = &account{turn: make(chan struct{}, 1)}
		l.clients[id] = a
	}
	if a.conn != nil {
		a.conn.Close()
	}
	a.conn = conn
	return a, nil
}

// leave forgets a connection.
func (l *Ledger) leave(a *account, conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.conn == conn {
		a.conn = nil
	}
}

// Last returns the last number that has been processed of each client.
func (l *Ledger) Last() map[uint64]uint64 {
	l.mu.Lock()
	accounts := maps.Clone(l.clients)
	l.mu.Unlock()
	last := map[uint64]uint64{}
	for id, a := range accounts {
		last[id] = a.processed()
	}
	return last
}

// A Server processes messages.
type Server struct {
	Ledger *Ledger

	// Handle processes a message. Messages of one client come one after the other, in the order of their numbers.
	Handle func(client, number uint64, payload []byte)

	// Timeout is for a hello, for the rest of a message that has begun, and for each write; 5 s if it is 0. A client that has nothing
	// to say may stay.
	Timeout time.Duration

	// MaxConnections are served at a time; 1000 if it is 0. Others wait in the accept queue.
	MaxConnections int
}

// Serve serves connections until the context ends, and returns nil then. It closes the listener, and no connection is left. Its error
// is that of a listener which accepts no more.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return serve.Run(ctx, listener, cmp.Or(s.MaxConnections, 1000), func(conn net.Conn) {
		_ = s.serve(conn) // how a connection ended is its client's concern, which comes again
	})
}

func (s *Server) timeout() time.Duration { return cmp.Or(s.Timeout, defaultTimeout) }

// serve serves one connection.
func (s *Server) serve(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(s.timeout()))
	id, err := readNumber(conn)
	if err != nil {
		return err
	}
	a, err := s.Ledger.open(id, conn)
	if err != nil {
		return err
	}
	defer s.Ledger.leave(a, conn)
	// A message of the connection before may be in the works: the welcome counts it.
	if err := writeNumbers(conn, s.Ledger.id, a.processed()); err != nil {
		return err
	}
	patient := &patient{conn: conn, timeout: s.timeout()}
	for {
		patient.next()
		number, payload, err := readMessage(patient)
		if err != nil {
			return err
		}
		s.process(a, id, number, payload)
		_ = conn.SetWriteDeadline(time.Now().Add(s.timeout()))
		if err := writeNumbers(conn, number); err != nil {
			return err
		}
	}
}

// process processes a message, unless it was processed before. It may come by a connection that the client has given up: what a later
// one brings again is then known.
func (s *Server) process(a *account, id, number uint64, payload []byte) {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	if number > a.last {
		s.Handle(id, number, payload)
		a.last = number
	}
}

// A patient reader waits for the first byte of a message as long as it takes, and then for the rest no longer than a time-out.
type patient struct {
	conn    net.Conn
	timeout time.Duration
	begun   bool
}

func (p *patient) next() {
	p.begun = false
	_ = p.conn.SetReadDeadline(time.Time{})
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.conn.Read(b)
	if n > 0 && !p.begun {
		p.begun = true
		_ = p.conn.SetReadDeadline(time.Now().Add(p.timeout))
	}
	return n, err
}
