// Package packetfilter compiles expressions such as "tcp port 443 and host 192.0.2.1" to classic BPF, which the kernel runs on each
// packet of a capture. The words are those of tcpdump (pcap-filter(7)) that a capture of TCP needs:
//
//	ip  ip6  tcp  udp  icmp             protocols; icmp is that of either family
//	host ADDRESS  net PREFIX  port N    of either side; src or dst before it: of that side
//	and  or  not  ( )                   or &&, ||, !; a protocol before host, net or port needs no and
//
// As there, ports are those of TCP and UDP, not of later fragments, and not behind IPv6 extension headers; tunnels are not looked into.
package packetfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/ethernet"
)

// A Link is what a packet begins with.
type Link int

// The links.
const (
	Ethernet Link = iota
	Loopback      // Ethernet, and each packet is seen twice: only the incoming one passes
	Raw           // IP
)

// keep is how much of a packet that passes: all of it, whatever its length.
const keep = 262144

// Compile returns the program of an expression: it passes what the expression is true of. The empty one passes all.
func Compile(expression string, link Link) ([]bpf.RawInstruction, error) {
	program, err := compile(expression, link)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", expression, err)
	}
	if link == Loopback {
		program = append([]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtType}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1}, bpf.RetConstant{},
		}, program...)
	}
	if len(program) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("filter %q: %d instructions: the kernel takes %d", expression, len(program), unix.BPF_MAXINSNS)
	}
	return bpf.Assemble(program)
}

func compile(expression string, link Link) ([]bpf.Instruction, error) {
	c := &compiler{words: words(expression), network: ethernet.HeaderLength, link: link}
	if link == Raw {
		c.network = 0
	}
	if len(c.words) == 0 {
		return []bpf.Instruction{bpf.RetConstant{Val: keep}}, nil
	}
	program, err := c.or(0)
	if err == nil && len(c.words) > 0 {
		err = fmt.Errorf("%q where and, or or the end was expected", c.words[0])
	}
	if err != nil {
		return nil, err
	}
	return append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1}, bpf.RetConstant{Val: keep}, bpf.RetConstant{}), nil
}

// words are those of an expression.
func words(expression string) []string {
	for _, sign := range []string{"(", ")", "!", "&&", "||"} {
		expression = strings.ReplaceAll(expression, sign, " "+sign+" ")
	}
	list := strings.Fields(expression)
	for i, word := range list {
		if name := map[string]string{"!": "not", "&&": "and", "||": "or"}[word]; name != "" {
			list[i] = name
		}
	}
	return list
}

// A compiler makes of each part of an expression instructions that leave 1 in the accumulator if it is true, and 0 otherwise. What
// the left side of and and or was, waits in a scratch word: those below depth are in use.
type compiler struct {
	words   []string
	network uint32 // where the IP header begins
	link    Link
}

func (c *compiler) next() string {
	if len(c.words) == 0 {
		return ""
	}
	return c.words[0]
}

// take takes a word if it is the next one.
func (c *compiler) take(word string) bool {
	if c.next() != word {
		return false
	}
	c.words = c.words[1:]
	return true
}

func (c *compiler) or(depth int) ([]bpf.Instruction, error) {
	return c.joined("or", depth, bpf.ALUOpOr, c.and)
}

func (c *compiler) and(depth int) ([]bpf.Instruction, error) {
	return c.joined("and", depth, bpf.ALUOpAnd, c.factor)
}

func (c *compiler) joined(word string, depth int, by bpf.ALUOp, part func(int) ([]bpf.Instruction, error)) ([]bpf.Instruction, error) {
	program, err := part(depth)
	for err == nil && c.take(word) {
		var right []bpf.Instruction
		if depth >= unix.BPF_MEMWORDS {
			return nil, errors.New("too many parentheses")
		}
		right, err = part(depth + 1)
		program = append(append(program, bpf.StoreScratch{Src: bpf.RegA, N: depth}), right...)
		program = append(program, bpf.LoadScratch{Dst: bpf.RegX, N: depth}, bpf.ALUOpX{Op: by})
	}
	return program, err
}

func (c *compiler) factor(depth int) ([]bpf.Instruction, error) {
	switch {
	case c.take("not"):
		program, err := c.factor(depth)
		return append(program, bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: 1}), err
	case c.take("("):
		program, err := c.or(depth)
		if err == nil && !c.take(")") {
			err = errors.New("a parenthesis is not closed")
		}
		return program, err
	}
	return c.primitive(depth)
}

// A check is what a part of a packet has to be.
type check struct {
	load []bpf.Instruction // into the accumulator
	mask uint32            // 0: all of it
	want uint32
}

// primitive takes one word, or a word and its value.
func (c *compiler) primitive(depth int) ([]bpf.Instruction, error) {
	if len(c.words) == 0 {
		return nil, errors.New("it ends where a word such as host or port was expected")
	}
	word := c.next()
	if alternatives, is := c.protocol(word); is {
		c.words = c.words[1:]
		program := anyOf(alternatives)
		switch c.next() {
		case "host", "net", "port", "src", "dst": // tcp port 80
			c.words = append([]string{"and"}, c.words...)
			return c.rest(program, depth)
		}
		return program, nil
	}
	sides := []side{source, destination}
	switch word {
	case "src":
		sides, c.words = sides[:1], c.words[1:]
	case "dst":
		sides, c.words = sides[1:], c.words[1:]
	}
	kind := c.next()
	if kind != "host" && kind != "net" && kind != "port" {
		return nil, fmt.Errorf("%q where ip, ip6, tcp, udp, icmp, host, net or port was expected", kind)
	}
	if len(c.words) == 1 {
		return nil, fmt.Errorf("%s needs a value", kind)
	}
	value := c.words[1]
	c.words = c.words[2:]
	if kind == "port" {
		return c.port(value, sides)
	}
	return c.address(kind, value, sides)
}

// rest joins a protocol with what it is of.
func (c *compiler) rest(left []bpf.Instruction, depth int) ([]bpf.Instruction, error) {
	first := true
	return c.joined("and", depth, bpf.ALUOpAnd, func(depth int) ([]bpf.Instruction, error) {
		if first {
			first = false
			return left, nil
		}
		return c.primitive(depth)
	})
}

type side int

const (
	source side = iota
	destination
)

// Numbers of protocols (IANA).
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
)

func (c *compiler) protocol(word string) (alternatives [][]check, is bool) {
	v4 := func(n uint32) []check { return append(c.ipv4(), c.byteAt(9, n)) }
	v6 := func(n uint32) []check { return append(c.ipv6(), c.byteAt(6, n)) }
	switch word {
	case "ip":
		return [][]check{c.ipv4()}, true
	case "ip6":
		return [][]check{c.ipv6()}, true
	case "tcp":
		return [][]check{v4(protocolTCP), v6(protocolTCP)}, true
	case "udp":
		return [][]check{v4(protocolUDP), v6(protocolUDP)}, true
	case "icmp":
		return [][]check{v4(protocolICMP), v6(protocolICMPv6)}, true
	}
	return nil, false
}

func (c *compiler) ipv4() []check { return c.family(unix.ETH_P_IP, 4) }
func (c *compiler) ipv6() []check { return c.family(unix.ETH_P_IPV6, 6) }

func (c *compiler) family(etherType, version uint32) []check {
	if c.link == Raw {
		return []check{{load: []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 1}}, mask: 0xf0, want: version << 4}}
	}
	const typeOffset = 12
	return []check{{load: []bpf.Instruction{bpf.LoadAbsolute{Off: typeOffset, Size: 2}}, want: etherType}}
}

// byteAt is a check of a byte of the IP header.
func (c *compiler) byteAt(offset, want uint32) check {
	return check{load: []bpf.Instruction{bpf.LoadAbsolute{Off: c.network + offset, Size: 1}}, want: want}
}

func (c *compiler) port(value string, sides []side) ([]bpf.Instruction, error) {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: want 0 to 65535", value)
	}
	const (
		ipv6Header     = 40
		fragmentOffset = 0x1fff
	)
	var alternatives [][]check
	for _, s := range sides {
		at := c.network + 2*uint32(s) //nolint:gosec // 0 or 1
		for _, protocol := range []uint32{protocolTCP, protocolUDP} {
			alternatives = append(alternatives,
				append(c.ipv4(), c.byteAt(9, protocol),
					check{load: []bpf.Instruction{bpf.LoadAbsolute{Off: c.network + 6, Size: 2}}, mask: fragmentOffset, want: 0},
					check{load: []bpf.Instruction{bpf.LoadMemShift{Off: c.network}, bpf.LoadIndirect{Off: at, Size: 2}}, want: uint32(port)}),
				append(c.ipv6(), c.byteAt(6, protocol), check{load: []bpf.Instruction{bpf.LoadAbsolute{Off: at + ipv6Header, Size: 2}}, want: uint32(port)}))
		}
	}
	return anyOf(alternatives), nil
}

func (c *compiler) address(kind, value string, sides []side) ([]bpf.Instruction, error) {
	prefix, err := netip.ParsePrefix(value)
	if kind == "host" {
		var address netip.Addr
		address, err = netip.ParseAddr(value)
		address = address.Unmap().WithZone("")
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	prefix = prefix.Masked()
	head, at := c.ipv4(), c.network+12
	if prefix.Addr().Is6() {
		head, at = c.ipv6(), c.network+8
	}
	bytes := prefix.Addr().AsSlice()
	var alternatives [][]check
	for _, s := range sides {
		checks := append([]check{}, head...)
		for i := 0; i < len(bytes); i += 4 {
			bits := min(32, prefix.Bits()-8*i)
			if bits <= 0 {
				break
			}
			offset := at + uint32(int(s)*len(bytes)+i) //nolint:gosec // up to 28
			checks = append(checks, check{
				load: []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: 4}}, mask: ^uint32(0) << (32 - bits), want: binary.BigEndian.Uint32(bytes[i:]),
			})
		}
		alternatives = append(alternatives, checks)
	}
	return anyOf(alternatives), nil
}

// anyOf is true if all checks of one of the alternatives hold.
func anyOf(alternatives [][]check) []bpf.Instruction {
	var program []bpf.Instruction
	var succeed []int // instructions that jump to the end
	for _, checks := range alternatives {
		var fail []int // those that jump to the next alternative
		for _, k := range checks {
			program = append(program, k.load...)
			if k.mask != 0 {
				program = append(program, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: k.mask})
			}
			fail = append(fail, len(program))
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: k.want})
		}
		succeed = append(succeed, len(program))
		program = append(program, bpf.Jump{})
		for _, i := range fail {
			jump := program[i].(bpf.JumpIf)
			jump.SkipTrue = uint8(len(program) - i - 1) //nolint:gosec // an alternative is some 20 instructions
			program[i] = jump
		}
	}
	program = append(program, bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, bpf.Jump{Skip: 1}, bpf.LoadConstant{Dst: bpf.RegA, Val: 1})
	for _, i := range succeed {
		program[i] = bpf.Jump{Skip: uint32(len(program) - 1 - i - 1)} //nolint:gosec // not negative
	}
	return program
}
