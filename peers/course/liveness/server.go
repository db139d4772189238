package liveness

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/framing"
)

// A Server answers messages, and pings. It needs no heartbeat of its own where its clients have one: it notices with
// Silence that they no longer send it.
type Server struct {
	Silence    time.Duration // how long a client may send nothing, not even a ping; a minute if it is 0
	Write      time.Duration // how long a client may take no answer; a minute if it is 0
	MaxClients int           // as in framing.Server

	// Answer returns the answer to a message, or nil for none. It is called from one goroutine for each client. Without Answer it is
	// the message.
	Answer func(message []byte) []byte
}

// Serve accepts clients until the context ends, and then returns nil. It closes the listener.
func (s Server) Serve(ctx context.Context, listener net.Listener) error {
	return framing.Server{
		Framing: framed, MaxClients: s.MaxClients,
		Timeouts: framing.Timeouts{Idle: cmp.Or(s.Silence, time.Minute), Message: cmp.Or(s.Write, time.Minute)},
		Handle:   s.handle,
	}.Serve(ctx, listener)
}

func (s Server) handle(_ net.Addr, message []byte) ([]byte, error) {
	switch {
	case message[0] == kindPing && len(message) == 1:
		return []byte{kindPong}, nil
	case message[0] != kindMessage || len(message) == 1:
		return nil, errKind(message)
	case s.Answer == nil:
		return message, nil
	}
	answer := s.Answer(message[1:])
	if answer == nil {
		return nil, nil
	}
	return append([]byte{kindMessage}, answer...), nil
}
