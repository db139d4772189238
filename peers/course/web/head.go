package web

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// A Request is where a HEAD request goes, and for what.
type Request struct {
	Address string        // of the server: host and port
	Host    string        // header Host; "": Address
	Path    string        // "": /
	Timeout time.Duration // for connecting, and then for the answer; 0: 10 s
}

// An Answer is the head of an answer.
type Answer struct {
	Status int
	Header textproto.MIMEHeader
}

// maxHead is the most that the head of an answer may have, in bytes. Interim answers count.
const maxHead = 64 << 10

// ErrAnswer is what is no answer to a HEAD request.
var ErrAnswer = errors.New("no HTTP answer")

// Head asks a server for the head of an answer, on a connection of its own. When the context ends the error is its cause.
func Head(ctx context.Context, r Request) (Answer, error) {
	return ask(ctx, r, func(Answer, *bufio.Reader) error { return nil })
}

// ask sends a HEAD request, reads the head of the answer, and has the rest read.
func ask(ctx context.Context, r Request, rest func(Answer, *bufio.Reader) error) (a Answer, err error) {
	r.Host, r.Path, r.Timeout = cmp.Or(r.Host, r.Address), cmp.Or(r.Path, "/"), cmp.Or(r.Timeout, 10*time.Second)
	for _, word := range []string{r.Host, r.Path} {
		if strings.ContainsAny(word, " \r\n") { // it would be a request of somebody else's
			return a, fmt.Errorf("HEAD %q of %q: a blank or an end of line in it", r.Path, r.Host)
		}
	}
	conn, err := serve.Dial(ctx, r.Address, r.Timeout)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(r.Timeout)); err != nil {
		return a, conn.Explain(err)
	}
	if _, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.Path, r.Host); err != nil {
		return a, conn.Explain(fmt.Errorf("send HEAD %s: %w", r.Path, err))
	}
	limited := &io.LimitedReader{R: conn, N: maxHead}
	reader := bufio.NewReader(limited)
	if a, err = readHead(reader, limited); err == nil {
		limited.N = math.MaxInt64
		err = rest(a, reader)
	}
	if err != nil {
		return a, conn.Explain(fmt.Errorf("answer to HEAD %s: %w", r.Path, err))
	}
	return a, nil
}

// readHead reads the head of an answer, and passes over those that only say that it is coming (1xx: RFC 9110, section 15.2).
func readHead(reader *bufio.Reader, limited *io.LimitedReader) (a Answer, err error) {
	lines := textproto.NewReader(reader)
	for a.Status == 0 || a.Status/100 == 1 && a.Status != http.StatusSwitchingProtocols {
		line, err := lines.ReadLine()
		if err == nil {
			a.Status, err = parseStatus(line)
		}
		if err == nil {
			a.Header, err = lines.ReadMIMEHeader()
		}
		if err != nil {
			return a, explain(err, limited)
		}
	}
	return a, nil
}

// explain says of an end that it is the limit's, and not the stream's; and what is no answer.
func explain(err error, limited *io.LimitedReader) error {
	var malformed textproto.ProtocolError
	switch {
	case limited.N == 0:
		return fmt.Errorf("%w: its head has more than %d bytes", ErrAnswer, maxHead)
	case errors.As(err, &malformed):
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseStatus is the number in a line such as "HTTP/1.1 200 OK".
func parseStatus(line string) (int, error) {
	version, rest, _ := strings.Cut(line, " ")
	number, _, _ := strings.Cut(rest, " ")
	status, err := strconv.ParseUint(number, 10, 16)
	if _, _, ok := http.ParseHTTPVersion(version); !ok || err != nil || len(number) != 3 || status < 100 {
		return 0, fmt.Errorf("%w: its first line is %.60q", ErrAnswer, line)
	}
	return int(status), nil
}

// HeadAndBody is the wrong [Head]: it reads a body as well. It is here to be seen failing.
func HeadAndBody(ctx context.Context, r Request) (Answer, error) {
	return ask(ctx, r, func(a Answer, rest *bufio.Reader) error {
		length, err := strconv.ParseInt(a.Header.Get("Content-Length"), 10, 64)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, rest, length) // WRONG: that is the length of what GET would be answered by
		return err
	})
}
