package servers

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/peers/course/framing"
)

// What a server does where its [Config] says nothing.
const (
	DefaultMaxClients = 1000
	DefaultTimeout    = time.Minute
)

const (
	// maxRefused is how many clients are being refused at a time. More wait in the accept queue.
	maxRefused = 100

	// What a client sends that is refused is read for a while, and dropped: see serve.Finish.
	finishBytes = 1 << 20
	finishTime  = 5 * time.Second
)

// A Config is what the servers have in common. The zero value echoes.
type Config struct {
	MaxMessage int              // bytes of a request and of an answer; 0: framing.DefaultMax
	MaxClients int              // who comes when as many are there is refused; 0: DefaultMaxClients
	Timeouts   framing.Timeouts // Idle: for a request to begin; Message: for it to come whole, and for answers to be taken; 0: DefaultTimeout

	// Handle returns the answer to a request, which is valid until it returns. Its error is what the client is told, and ends the
	// connection. It may be called from several goroutines at a time. Without Handle the answer is the request.
	Handle func(request []byte) (answer []byte, err error)

	// Closed is called when a connection has ended; nil is allowed. It must not wait.
	Closed func(Session)
}

func (c Config) withDefaults() Config {
	c.MaxMessage = cmp.Or(c.MaxMessage, framing.DefaultMax)
	c.MaxClients = cmp.Or(c.MaxClients, DefaultMaxClients)
	c.Timeouts.Idle = cmp.Or(c.Timeouts.Idle, DefaultTimeout)
	c.Timeouts.Message = cmp.Or(c.Timeouts.Message, DefaultTimeout)
	if c.Handle == nil {
		c.Handle = func(request []byte) ([]byte, error) { return request, nil }
	}
	return c
}

// finishTime is how long a refused client may take to close.
func (c Config) finishTime() time.Duration { return min(c.Timeouts.Message, finishTime) }

func (c Config) closed(s Session) {
	if c.Closed != nil {
		c.Closed(s)
	}
}

// A Session is what became of one connection.
type Session struct {
	Remote   netip.AddrPort
	Requests int   // that were answered
	Err      error // nil: the client has closed after a whole request
}

// Why a client is not served.
var (
	ErrBusy    = errors.New("busy")
	ErrTimeout = errors.New("time-out")
)

// The first byte of an answer.
const (
	answered = '+'
	refused  = '-'
)

// An exchange is the framing of one side, which reads one kind of message and writes the other.
type exchange struct{ read, write framing.Prefixed }

// requests and answers are the framings of the two directions.
func requests(maxMessage int) framing.Prefixed { return framing.Prefixed{Max: maxMessage} }

func answers(maxMessage int) framing.Prefixed {
	return framing.Prefixed{Max: max(maxMessage, maxReason) + 1} // and the first byte
}

// Append implements [framing.Framing].
func (e exchange) Append(stream, message []byte) ([]byte, error) {
	return e.write.Append(stream, message)
}

// Read implements [framing.Framing].
func (e exchange) Read(stream *bufio.Reader, buffer []byte) ([]byte, error) {
	return e.read.Read(stream, buffer)
}

// maxReason is the longest reason of a refusal, in bytes.
const maxReason = 200

// refusal is the message that tells a client why it is not served: in the same words by all servers, or in those of Handle.
func refusal(why error) []byte {
	text := why.Error()
	for _, known := range []error{ErrBusy, ErrTimeout, framing.ErrTooLong, framing.ErrEmpty} {
		if errors.Is(why, known) {
			text = known.Error()
		}
	}
	if errors.Is(why, io.ErrUnexpectedEOF) {
		text = "a request without an end"
	}
	return append([]byte{refused}, text[:min(len(text), maxReason)]...)
}
