// Package closing shows how a connection ends: one that uploads a document and gets an answer, in each of the ways in which programs
// close, right and wrong.
//
// # Contract
//
// The client sends the document and then its FIN: the end of the stream is the end of the document. The server reads up to a limit, sends
// one line, "200 N\n" with the number of bytes or "413\n" if there are more, and then its own FIN. The client has done well once it has read the
// line and the FIN after it.
//
// So the connection is half-closed for a while: the client's direction has ended, and the server's has not. [net.TCPConn.CloseWrite] is
// shutdown(2) with SHUT_WR.
//
// # Where it goes wrong
//
//   - [Client.CloseAtOnce]: the client closes where it should half-close. Nobody is left to read the answer: it is answered by a reset.
//   - [Client.Linger0]: with SO_LINGER and a time of 0, close(2) throws away what has not been sent and resets the connection. Of the document
//     some part arrives, and its end is an error.
//   - [Server.CloseUnread]: a server that refuses a document closes while the rest of it is still coming. Closing a socket with unread data is
//     a reset, and so is the answer to data for a closed socket. A reset is not retransmitted, and ends all retransmissions: an answer that
//     the network has lost is lost for good. On Linux a client can still read what had arrived before the reset; other systems discard
//     it. The right server sends its FIN, reads on for a while and then closes ("lingering close").
//   - [Client.StopOnError]: a client whose write fails and that does not look for the answer, which says why.
//   - [Server.Forget]: a server that forgets to close keeps each connection in CLOSE_WAIT for ever, and its file descriptor.
package closing

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// A Server takes documents.
type Server struct {
	Limit   int64         // of a document, in bytes
	Timeout time.Duration // for a document and for the answer; 10 s if it is 0

	CloseUnread bool // wrong: it closes with the rest of a refused document unread
	Forget      bool // wrong: it does not close
}

const (
	maxConnections = 1000
	defaultTimeout = 10 * time.Second

	// What a server reads of a refused document before it closes all the same, and for how long.
	lingerBytes = 64 << 20
	lingerTime  = 10 * time.Second
)

// Serve serves connections until the context ends. It closes the listener, and no connection is left. Its error is that of a listener
// which accepts no more.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return serve.Run(ctx, listener, maxConnections, func(conn net.Conn) {
		_ = s.serve(conn) // the client knows by the answer that is missing
		if s.Forget {
			<-ctx.Done()
		}
	})
}

func (s *Server) serve(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(cmp.Or(s.Timeout, defaultTimeout))); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(conn, s.Limit+1))
	if err != nil {
		return err
	}
	if n <= s.Limit {
		_, err = fmt.Fprintf(conn, "200 %d\n", n)
		return err
	}
	if _, err := io.WriteString(conn, "413\n"); err != nil {
		return err
	}
	if !s.CloseUnread {
		serve.Finish(conn, lingerBytes, lingerTime)
	}
	return nil
}

// ErrTooLarge says that the server has refused the document.
var ErrTooLarge = errors.New("the document is too large for the server")

// ErrNoAnswer says that the client did not wait for one.
var ErrNoAnswer = errors.New("closed without reading the answer")

// A Client uploads documents.
type Client struct {
	Timeout time.Duration // for all of it; 10 s if it is 0

	CloseAtOnce bool // wrong: close where it should half-close
	StopOnError bool // wrong: does not read the answer when it cannot send
	Linger0     bool // wrong: the same, and with SO_LINGER of 0
}

// Upload sends a document over a connection, which it closes, and returns how many bytes the server has got. The error is [ErrTooLarge],
// or says what went wrong with the connection.
func (c *Client) Upload(conn *net.TCPConn, document io.Reader) (int64, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(cmp.Or(c.Timeout, defaultTimeout))); err != nil {
		return 0, err
	}
	_, sendErr := io.Copy(conn, document)
	if c.CloseAtOnce || c.Linger0 {
		if c.Linger0 {
			if err := conn.SetLinger(0); err != nil {
				return 0, err
			}
		}
		return 0, errors.Join(sendErr, conn.Close(), ErrNoAnswer)
	}
	if sendErr == nil {
		sendErr = conn.CloseWrite()
	}
	if sendErr != nil && c.StopOnError {
		return 0, sendErr
	}
	// A server that refuses may have closed while the document was on its way: then its answer says why.
	n, err := answer(conn)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = errors.Join(sendErr, err)
	}
	return n, err
}

// maxAnswer is more than any answer has.
const maxAnswer = 64

// answer reads the server's line, and its FIN.
func answer(r io.Reader) (int64, error) {
	lines := bufio.NewReader(io.LimitReader(r, maxAnswer))
	line, err := lines.ReadString('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	_, err = lines.ReadByte()
	if err == nil {
		err = errMore
	}
	if !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("wait for the end of the answer %q: %w", line, err)
	}
	if line == "413\n" {
		return 0, ErrTooLarge
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "200 ")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("answer %q: want 413, or 200 and a number", line)
	}
	return n, nil
}

// errMore says that there is something after the answer.
var errMore = errors.New("more than one line")
