package broadcast

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/tcplab/tcplab/peers/course/framing"
)

// ErrSlow says that a client's queue was full.
var ErrSlow = errors.New("evicted: too many messages wait for the client")

// A member is a client in the registry.
type member struct {
	conn  *framing.Conn
	queue chan []byte             // what waits for it
	evict context.CancelCauseFunc // closes its connection: the first cause counts
}

// A registry has the clients that are there, in the order in which they joined.
type registry struct {
	lock    sync.Mutex
	members []*member
}

func (r *registry) join(m *member) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.members = append(r.members, m)
}

// leave has no effect on who was evicted.
func (r *registry) leave(m *member) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.members = slices.DeleteFunc(r.members, func(other *member) bool { return other == m })
}

// publish puts a message into the queue of everybody else, and never waits: the lock is held for some microseconds. Who has no room is
// evicted. The message is not to be changed any more.
func (r *registry) publish(from *member, message []byte) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.members = slices.DeleteFunc(r.members, func(m *member) bool {
		if m == from {
			return false
		}
		select {
		case m.queue <- message:
			return false
		default:
			m.evict(ErrSlow)
			return true
		}
	})
}

// reset has the kernel drop what it still has for a client, when the connection is closed. Without it a socket with a full buffer
// stays for minutes after it was closed, to send the rest to a client that takes nothing.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed in any case
	}
}
