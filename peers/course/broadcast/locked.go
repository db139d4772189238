package broadcast

import (
	"context"
	"net"
)

// Locked is the wrong server: it writes to the clients while it holds the registry's lock. It is here to be seen failing.
type Locked struct{ Server }

// Serve is as Server.Serve.
func (s Locked) Serve(ctx context.Context, listener net.Listener) error {
	var r registry
	return s.serve(ctx, listener, &r, func(from *member, message []byte) {
		r.lock.Lock()
		defer r.lock.Unlock()
		for _, m := range r.members {
			if m == from {
				continue
			}
			if err := m.conn.Send(message); err != nil { // WRONG: this waits for one client, and all others wait for the lock
				m.evict(err)
			}
		}
	})
}
