package capture

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var nativeEndian = binary.NativeEndian

// ring is the memory of a TPACKET_V3 receive ring, shared with the kernel. It is
// an array of blocks that kernel and reader pass back and forth by a status word
// in each block's header. See include/uapi/linux/if_packet.h.
type ring struct {
	memory []byte
	next   int // the block to read next
}

// newRing gives the socket a ring. It must not be bound yet.
func newRing(fd, bytes int, timeout time.Duration) (*ring, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, fmt.Errorf("select TPACKET_V3: %w", err)
	}
	// In version 3 packets are packed, and the frame size only has to pass the
	// kernel's checks (packet_set_ring).
	const frame = 2048
	req := unix.TpacketReq3{
		Block_size:     blockBytes,
		Block_nr:       uint32(bytes / blockBytes),
		Frame_size:     frame,
		Frame_nr:       uint32(bytes / frame),
		Retire_blk_tov: uint32(timeout / time.Millisecond),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map it: %w", err)
	}
	return &ring{memory: memory}, nil
}

func (r *ring) current() []byte {
	return r.memory[r.next*blockBytes:][:blockBytes:blockBytes]
}

// status is the word that says whose the current block is. The accesses are
// atomic because they order those to the rest of the block.
func (r *ring) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.current()[blockStatus]))
}

// block returns the current block if the kernel has handed it over.
func (r *ring) block() ([]byte, bool) {
	if atomic.LoadUint32(r.status())&unix.TP_STATUS_USER == 0 {
		return nil, false
	}
	return r.current(), true
}

// release gives the current block back to the kernel and goes to the next.
func (r *ring) release() {
	atomic.StoreUint32(r.status(), unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % (len(r.memory) / blockBytes)
}

func (r *ring) close() {
	_ = unix.Munmap(r.memory) // fails for addresses that were never mapped only
}

// Offsets in struct tpacket_block_desc.
const (
	blockVersion     = 0
	blockStatus      = 8
	blockPackets     = 12
	blockFirstPacket = 16
	blockHeader      = 48
)

// Offsets in struct tpacket3_hdr, and in the struct sockaddr_ll after it.
const (
	packetNext    = 0
	packetSec     = 4
	packetNsec    = 8
	packetSnap    = 12
	packetLen     = 16
	packetStatus  = 20
	packetMAC     = 24
	packetTCI     = 32
	packetTPID    = 36
	packetAddress = 48 // TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
	packetType    = packetAddress + 10
	packetHeader  = packetAddress + 20
)

// packet is a packet in a block.
type packet struct {
	time   int64 // ns since 1970
	length int   // on the wire, without a VLAN tag that the kernel took out
	kind   uint8 // PACKET_HOST, PACKET_OUTGOING, ...
	tagged bool
	tag    [4]byte // VLAN: protocol and TCI in network byte order
	data   []byte  // valid until the block is released
}

// readBlock calls yield for each packet in a block.
func readBlock(block []byte, yield func(packet)) error {
	if len(block) < blockHeader {
		return fmt.Errorf("block of %d bytes: shorter than its header", len(block))
	}
	if v := nativeEndian.Uint32(block[blockVersion:]); v != unix.TPACKET_V3 {
		return fmt.Errorf("block of version %d: want %d (TPACKET_V3)", v, unix.TPACKET_V3)
	}
	n := nativeEndian.Uint32(block[blockPackets:])
	at := uint64(nativeEndian.Uint32(block[blockFirstPacket:]))
	for i := range n {
		if at+packetHeader > uint64(len(block)) {
			return fmt.Errorf("packet %d of %d: header at %d is outside the block of %d bytes", i, n, at, len(block))
		}
		h := block[at:]
		mac, snap := uint64(nativeEndian.Uint16(h[packetMAC:])), uint64(nativeEndian.Uint32(h[packetSnap:]))
		if mac < packetHeader || mac+snap > uint64(len(h)) {
			return fmt.Errorf("packet %d of %d: %d bytes at %d+%d are outside the block of %d bytes", i, n, snap, at, mac, len(block))
		}
		p := packet{
			time:   int64(nativeEndian.Uint32(h[packetSec:]))*1e9 + int64(nativeEndian.Uint32(h[packetNsec:])),
			length: int(nativeEndian.Uint32(h[packetLen:])),
			kind:   h[packetType],
			data:   h[mac : mac+snap],
		}
		if status := nativeEndian.Uint32(h[packetStatus:]); status&unix.TP_STATUS_VLAN_VALID != 0 {
			tpid := uint16(unix.ETH_P_8021Q)
			if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
				tpid = nativeEndian.Uint16(h[packetTPID:])
			}
			p.tagged = true
			binary.BigEndian.PutUint16(p.tag[:], tpid)
			binary.BigEndian.PutUint16(p.tag[2:], uint16(nativeEndian.Uint32(h[packetTCI:])))
		}
		yield(p)
		next := nativeEndian.Uint32(h[packetNext:])
		if next == 0 && i+1 < n {
			return fmt.Errorf("packet %d of %d: no offset of the next", i, n)
		}
		at += uint64(next)
	}
	return nil
}
