package servers

import (
	"cmp"
	"context"
	"errors"
	"net"
)

// OneRead is the wrong edge-triggered server: it reads once for each edge, and so leaves what does not fit. It is here to be seen failing.
type OneRead struct {
	Config
	Size int // of a read, in bytes; 0: 4096
}

// Serve is Serve of [EdgeTriggered], wrongly.
func (s OneRead) Serve(ctx context.Context, listener net.Listener) error {
	return s.serveEpoll(ctx, listener, oneRead{}, cmp.Or(s.Size, 4096))
}

type oneRead struct{ edge }

func (oneRead) turn(l *loop, c *conn) error {
	err := l.flush(c)
	if err == nil {
		err = l.read(c) // WRONG: there may be more, and no edge will say so
	}
	if err == nil {
		err = l.flush(c)
	}
	if errors.Is(err, errAgain) {
		return nil
	}
	return err
}
