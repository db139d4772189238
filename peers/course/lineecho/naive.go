package lineecho

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// Naive is the wrong server: it takes what one Read returns for one line. It is here to be seen failing.
type Naive struct{ Server }

// Serve is as Server.Serve.
func (s Naive) Serve(ctx context.Context, listener net.Listener) error {
	s.MaxLine = cmp.Or(s.MaxLine, DefaultMaxLine)
	s.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	return s.serve(ctx, listener, func(conn net.Conn, session *Session) error {
		buffer := make([]byte, s.MaxLine)
		for {
			if err := conn.SetReadDeadline(time.Now().Add(s.Timeout)); err != nil {
				return err
			}
			n, err := conn.Read(buffer) // WRONG: it may be less than a line, or more
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			line := strings.TrimRight(string(buffer[:n]), "\r\n")
			if line == quit {
				return nil
			}
			if err := s.write(conn, []byte(prefix+line+"\n")); err != nil {
				return err
			}
			session.Lines++
		}
	})
}

// WriteFirst is the wrong PlainEcho: it writes all, and then reads. It is here to be seen failing.
func WriteFirst(ctx context.Context, conn net.Conn, data []byte, timeout time.Duration) ([]byte, error) {
	c := serve.NewConn(ctx, conn)
	defer c.Close()
	if err := sendPlain(c, data, timeout); err != nil { // WRONG: nobody takes what comes back meanwhile
		return nil, c.Explain(fmt.Errorf("before the first read: %w", err))
	}
	echoed, err := receivePlain(c, len(data), timeout)
	return echoed, c.Explain(err)
}
