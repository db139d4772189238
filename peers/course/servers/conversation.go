package servers

import (
	"errors"
	"io"
	"slices"
)

// A conversation is what an epoll server knows of one client, without its socket: bytes that came go in, and bytes to send come out.
// It never waits, and so can be given whatever came, in any pieces.
type conversation struct {
	config  *Config
	session Session

	in   []byte // the beginning of a request; and whole ones, while answers are not taken
	out  []byte // answers that are not sent yet
	over bool   // no request is handled any more: what is in out is the last
}

// take takes bytes that came. They are the caller's again when it returns.
func (c *conversation) take(bytes []byte) {
	if c.over {
		return
	}
	stream := bytes
	if len(c.in) > 0 {
		c.in = append(c.in, bytes...)
		stream = c.in
	}
	c.keep(c.answer(stream))
}

// more answers requests that came before, now that there may be room for answers.
func (c *conversation) more() {
	if len(c.in) > 0 && !c.over {
		c.keep(c.answer(c.in))
	}
}

// keep keeps what was not handled, and no memory for nothing.
func (c *conversation) keep(rest []byte) {
	if len(rest) == 0 || c.over {
		c.in = nil
		return
	}
	c.in = append(c.in[:0], rest...)
}

// answer answers the whole requests of a stream, as long as there is room for answers, and returns what is left.
func (c *conversation) answer(stream []byte) (rest []byte) {
	for !c.over && len(c.out) < c.config.MaxMessage {
		request, rest, err := requests(c.config.MaxMessage).Cut(stream)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err == nil {
			err = c.handle(request)
		}
		if err != nil {
			c.refuse(err)
		}
		stream = rest
	}
	return stream
}

func (c *conversation) handle(request []byte) error {
	answer, err := c.config.Handle(request)
	if err != nil {
		return err
	}
	message := slices.Concat([]byte{answered}, answer)
	if c.out, err = answers(c.config.MaxMessage).Append(c.out, message); err != nil {
		return err
	}
	c.session.Requests++
	return nil
}

// refuse has the conversation end by a refusal.
func (c *conversation) refuse(why error) {
	c.session.Err, c.over, c.in = why, true, nil
	c.out, _ = answers(c.config.MaxMessage).Append(c.out, refusal(why)) // its length is in order
}

// end says that nothing more comes.
func (c *conversation) end() {
	switch {
	case c.over:
	case len(c.in) > 0:
		c.refuse(io.ErrUnexpectedEOF)
	default:
		c.over = true
	}
}
