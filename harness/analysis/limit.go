package analysis

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// What a reader keeps in memory is bounded, whatever the numbers in a file say. No capture of a network comes near.
const (
	// maxBlock bounds a block of pcapng, and with it a packet. It is what Wireshark allows (MAX_BLOCK_SIZE in
	// wiretap/pcapng.c).
	maxBlock = 16 << 20
	// maxOptions bounds the options of a block: a comment has at most 64 KiB.
	maxOptions = 1 << 20
	// maxInterfaces bounds the interfaces of a section: the number of one has 16 bits in the Packet Block.
	maxInterfaces = 1 << 16
	// maxPacket bounds a packet of a pcap file. libpcap and Wireshark allow 256 KiB, and 128 MiB on D-Bus and USB.
	maxPacket = 16 << 20
)

// errLimit is that of a file that asks for more than a reader gives.
var errLimit = errors.New("beyond what tcplab reads")

// Types of blocks: draft-ietf-opsawg-pcapng, 4.
const (
	sectionHeader       = 0x0a0d0d0a // the same in both byte orders
	interfaceBlock      = 1
	packetBlock         = 2 // obsolete
	simplePacketBlock   = 3
	statisticsBlock     = 5
	enhancedPacketBlock = 6

	sectionMagic = 0x1a2b3c4d
)

// blockFilter passes on the blocks of a pcapng file that are about packets, and counts what pcapgo would keep of them.
// pcapgo keeps all interfaces, names and secrets, believes in lengths of packets, and reads on by itself until it comes
// to a packet: one can only bound what it reads. Names and secrets, and what else is not known, do not get there.
type blockFilter struct {
	in         *bufio.Reader
	order      binary.ByteOrder
	left       int64 // of the block that is being passed on
	interfaces int   // in this section
}

// longestHead is what has to be seen of a block: up to an Enhanced Packet Block's lengths.
const longestHead = 28

func (f *blockFilter) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if f.left == 0 {
			if n > 0 && f.in.Buffered() < longestHead {
				break // rather than wait for more
			}
			if err := f.next(); err != nil {
				return n, err
			}
		}
		part, err := f.in.Read(p[n:min(int64(len(p)), int64(n)+f.left)])
		n += part
		f.left -= int64(part)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// next looks at the next block, and passes over one that is not needed. What is cut off is left to pcapgo.
func (f *blockFilter) next() error {
	head, err := f.in.Peek(longestHead)
	if len(head) < 12 {
		f.left = int64(len(head))
		if len(head) > 0 {
			return nil
		}
		return err
	}
	if binary.BigEndian.Uint32(head) == sectionHeader {
		f.order, f.interfaces = binary.LittleEndian, 0
		if binary.BigEndian.Uint32(head[8:]) == sectionMagic {
			f.order = binary.BigEndian
		}
	}
	kind, length := f.order.Uint32(head), int64(f.order.Uint32(head[4:]))
	if length < 12 {
		return fmt.Errorf("a block of type %d has a length of %d: the least is 12", kind, length)
	}
	options := length
	switch kind {
	case sectionHeader, statisticsBlock:
	case interfaceBlock:
		if f.interfaces++; f.interfaces > maxInterfaces {
			return fmt.Errorf("%w: more than %d interfaces in a section", errLimit, maxInterfaces)
		}
	case packetBlock, enhancedPacketBlock:
		if len(head) < longestHead {
			break // cut off
		}
		captured := int64(f.order.Uint32(head[20:]))
		const lengthAgain = 4 // at the block's end
		if options = length - longestHead - captured - lengthAgain; options < 0 {
			return fmt.Errorf("a packet of %d bytes in a block of %d", captured, length)
		}
	case simplePacketBlock:
		options = 0
	default:
		if _, err := f.in.Discard(int(length)); err != nil {
			// pcapgo would take an end between two blocks for the file's.
			return fmt.Errorf("in a block of type %d: %w", kind, noEOF(err))
		}
		return nil
	}
	if length > maxBlock {
		return fmt.Errorf("%w: a block of %d bytes; at most %d", errLimit, length, maxBlock)
	}
	if options > maxOptions {
		return fmt.Errorf("%w: %d bytes of options of one block; at most %d", errLimit, options, maxOptions)
	}
	f.left = length
	return nil
}
