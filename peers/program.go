package peers

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/invalid"
)

// Program is what a peer does: [BulkServer], [BulkClient], [EchoServer], [EchoClient], [Accept], [Dial],
// [Script], [SYNFlood], [ProbeReceiver], [ProbeSender], [Command], or a [Function] with its argument.
type Program interface {
	// Validate returns a *invalid.FieldError if the configuration is refused. Start calls it before anything is started.
	Validate() error

	program() string // the name in the protocol and in results
}

// runner is a program that runs in a process of ours, all but Command.
type runner interface {
	Program
	// run does the work. An error means that the work could not begin, as with a refused socket option; later errors
	// are in the result.
	run(*session) (*Result, error)
}

// programs are those that a process of ours runs. A new one is added here, and nowhere else.
var programs = []programType{
	typeOf[BulkServer](), typeOf[BulkClient](), typeOf[EchoServer](), typeOf[EchoClient](), typeOf[Accept](), typeOf[Dial](),
	typeOf[Script](), typeOf[SYNFlood](), typeOf[ProbeReceiver](), typeOf[ProbeSender](),
}

// A programType is a type of Program, as the process that runs it knows it: by its name.
type programType struct {
	name   string
	decode func(config []byte) (runner, error)
}

func typeOf[T runner]() programType {
	var p T
	return programType{p.program(), decodeRunner[T]}
}

// newRunner returns the program of that name with its configuration from JSON, validated.
func newRunner(name string, config []byte) (runner, error) {
	for _, p := range programs {
		if p.name == name {
			return p.decode(config)
		}
	}
	if functions[name] != nil {
		return call{name: name, argument: slices.Clone(config)}, nil
	}
	return nil, fmt.Errorf("unknown program %q, known are %q", name, Programs())
}

// NameOf returns the name that a program has in the protocol and in results: "bulk-client" of a [BulkClient].
func NameOf(p Program) string { return p.program() }

// Programs returns the names that [Run] knows, those of functions last.
func Programs() []string {
	var names []string
	for _, p := range programs {
		names = append(names, p.name)
	}
	return append(names, slices.Sorted(maps.Keys(functions))...)
}

func decodeRunner[T runner](config []byte) (runner, error) {
	var p T
	if err := decodeStrict(config, &p); err != nil {
		return nil, fmt.Errorf("%s: config: %w", p.program(), err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// encodeConfig returns what newRunner reads.
func encodeConfig(p Program) (json.RawMessage, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%s: config: %w", p.program(), err)
	}
	return b, nil
}

// UntilStopped is a time to hold connections: until [Peer.Stop].
const UntilStopped = time.Duration(math.MaxInt64)

// check keeps the first error of a configuration.
type check struct {
	program string
	err     error
}

func (c *check) fail(field string, value any, allowed string) {
	if c.err == nil {
		c.err = &invalid.FieldError{Of: c.program, Field: field, Value: value, Allowed: allowed}
	}
}

func (c *check) address(field string, a netip.AddrPort) {
	switch {
	case !a.IsValid():
		c.fail(field, nil, "needs an address and a port, as in netip.MustParseAddrPort(\"10.0.0.2:5001\")")
	case a.Addr().Is4In6():
		c.fail(field, a, "an IPv4 address inside an IPv6 one; use the IPv4 address itself")
	}
}

func (c *check) listen(a netip.AddrPort) { c.address("Listen", a) }

func (c *check) connect(a netip.AddrPort) {
	c.address("Connect", a)
	if a.IsValid() && a.Port() == 0 {
		c.fail("Connect", a, "needs a port; a server says its own in Ready")
	}
	if a.IsValid() && a.Addr().IsUnspecified() {
		c.fail("Connect", a, "needs the address of one host; a server that listens on all says no more than its port in Ready")
	}
}

func (c *check) atMost(field string, value, most int64) {
	if value < 0 || value > most {
		c.fail(field, value, fmt.Sprintf("want 0 to %d", most))
	}
}

func (c *check) duration(field string, d time.Duration) {
	if d < 0 {
		c.fail(field, d, "must not be negative")
	}
}

func (c *check) progress(d time.Duration) {
	if d != 0 && d < time.Millisecond {
		c.fail("ProgressInterval", d, "must be 0 for none, or at least 1ms")
	}
}
