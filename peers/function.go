package peers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/harness/invalid"
)

// A Function is a Go function that can be started as a peer, in a process of its own: an HTTP server, a client with
// retries, whatever is to be tested on a bad link. It takes one argument and returns one result, of any types that
// encoding/json can carry. [Func] makes one.
type Function[Argument, Value any] struct{ name string }

// functions are the functions of this program, by name.
var functions = map[string]func(*Task, json.RawMessage) (json.RawMessage, error){}

// Func makes a function a peer under a name, which stands in results and in the process list. Call it where a package variable is
// set, so that the peer's process, which is this program once more, knows the function as well:
//
//	var serve = peers.Func("serve", func(t *peers.Task, greeting string) (served int, err error) { ... })
//
//	server, err := peers.Start(ctx, host, "server", serve.With("hello"))
//
// The function has to call [Task.Ready]. Its output goes to the standard error of the peer. An error that it returns
// is the Err of the [Result], and [Peer.Wait] returns it, with its text and with its errno for [errors.Is]. An error
// before Ready is returned by [Peer.Ready] as well.
//
// Func panics if the name is taken, if it has blanks, or if [Main] has run already.
func Func[Argument, Value any](name string, run func(*Task, Argument) (Value, error)) Function[Argument, Value] {
	switch {
	case name == "" || len(name) > maxNameLength || strings.ContainsFunc(name, isBlank):
		panic(fmt.Sprintf("peers.Func: name %q: allowed are 1 to %d bytes without blanks", name, maxNameLength))
	case mainCalled.Load():
		panic(fmt.Sprintf("peers.Func: %q comes after Main, so that its process would not know it: set a package variable to it", name))
	case slices.Contains(Programs(), name) || name == (Command{}).program():
		panic(fmt.Sprintf("peers.Func: name %q is taken: package peers has programs %q, and each Func needs a name of its own",
			name, Programs()))
	}
	functions[name] = func(t *Task, text json.RawMessage) (json.RawMessage, error) {
		var argument Argument
		if err := decodeStrict(text, &argument); err != nil {
			return nil, fmt.Errorf("argument: %w", err)
		}
		value, err := run(t, argument)
		encoded, encodeErr := json.Marshal(value)
		if encodeErr != nil {
			return nil, errors.Join(err, fmt.Errorf("value: %w", encodeErr))
		}
		return encoded, err
	}
	return Function[Argument, Value]{name}
}

// With returns the program that calls the function with an argument.
func (f Function[Argument, Value]) With(argument Argument) Program {
	text, err := json.Marshal(argument)
	return call{f.name, text, err}
}

// Value returns the result of the function, from the result of its peer; also if the function returned an error. The
// error is ErrNoValue if the function did not return, as after a panic, or if the result is of another program.
func (f Function[Argument, Value]) Value(r Result) (Value, error) {
	var value Value
	if r.Program != f.name || r.Value == nil {
		return value, fmt.Errorf("%w of %s: the peer is %q, a %s", ErrNoValue, f.name, r.Peer, r.Program)
	}
	if err := json.Unmarshal(r.Value, &value); err != nil {
		return value, fmt.Errorf("value of %s: %w", f.name, err)
	}
	return value, nil
}

// ErrNoValue says that a result has no value of a [Function].
var ErrNoValue = errors.New("no value")

// A call is the program of a Function with an argument.
type call struct {
	name     string
	argument json.RawMessage
	unfit    error // why the argument cannot be sent
}

func (c call) program() string { return c.name }

// MarshalJSON returns the argument: that is a call's configuration.
func (c call) MarshalJSON() ([]byte, error) { return c.argument, nil }

// Validate implements [Program].
func (c call) Validate() error {
	switch {
	case functions[c.name] == nil:
		return fmt.Errorf("function %q: make it by Func", c.name)
	case c.unfit != nil:
		return &invalid.FieldError{
			Of: c.name, Field: "argument", Value: fmt.Sprintf("what does not fit into JSON (%v)", c.unfit),
			Allowed: "want fields that are exported, and no functions or channels",
		}
	}
	return nil
}

func (c call) run(s *session) (*Result, error) {
	task := &Task{session: s}
	value, err := functions[c.name](task, c.argument)
	if !task.ready {
		return nil, callError(c.name, cmp.Or(err, errNotReady))
	}
	return &Result{Value: value, Err: callError(c.name, err)}, nil
}

// errNotReady is the error of a function that returned without calling Ready.
var errNotReady = errors.New("it has returned and not called Task.Ready, for which whoever starts it waits")

// callError keeps the text of an error of the user's, and the errno in it.
func callError(op string, err error) *PeerError {
	if err == nil {
		return nil
	}
	return &PeerError{Op: op, Errno: errnoIn(err), Message: err.Error()}
}

// A Task connects a [Function] to the process that has started it.
type Task struct {
	session *session
	ready   bool
}

// Context ends when [Peer.Stop] is called: a server then ends in order, and returns.
func (t *Task) Context() context.Context { return t.session.soft }

// Ready reports that the peer can be used: [Peer.Ready] returns, and so does the Start of a Lab. A server passes the
// address of its listener once it listens, a client nil. Further calls have no effect.
func (t *Task) Ready(listening net.Addr) error {
	if t.ready {
		return nil
	}
	t.ready = true
	return t.session.ready(addrPort(listening))
}

// Started reports that the work has begun, on this connection: [Peer.Started] returns. Only the first call counts.
func (t *Task) Started(c net.Conn) {
	t.session.started(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
}

// Await waits for [Peer.Continue]: so a scenario can change something at a defined point of the function. Its error
// is that of the Context.
func (t *Task) Await() error { return t.session.awaitContinue() }

// addrPort is an address of package net, if it is one of the Internet's.
func addrPort(address net.Addr) netip.AddrPort {
	internet, ok := address.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	a := internet.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
