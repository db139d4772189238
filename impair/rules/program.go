package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

// Return values of a program in clsact (linux/pkt_cls.h).
const (
	tcUnspec = -1 // go on to the next filter
	tcOK     = 0
	tcShot   = 2
	tcStolen = 4
)

// Offsets in frames.
const (
	ethernetHeader = 14
	ipv6Header     = 40
)

// fds are the maps that the program works on.
type fds struct {
	settings, counters, conversations, blank, pieces, scratch, ring int
}

// A program is the main one, on egress. These registers keep their role throughout, under these names in the C beside the
// instructions, which says what they do:
//
//	R6  skb   the packet (struct __sk_buff)
//	R7  p     scratch memory (struct packet)
//	R8  c     the conversation (struct conversation); until it is known, at: the offset of the next header
//	R9  r     the settings of the rule that is looked at (struct ruleSettings); while parsing, left: bytes from the next
//	          header to the end
//
// The structs are this package's, in layout.go. Fields that are not of any, such as iph->tos, are of the header that was
// loaded to p->Header.
type program struct {
	assembler
	fds
	extent
	ringBytes int
}

// An extent is what a program can do, which takes the verifier time in proportion.
type extent struct {
	capacity int  // how many rules it asks
	options  bool // it looks at the options of TCP
}

// assemble makes the main program.
func assemble(f fds, ringBytes int, e extent) asm.Instructions {
	p := &program{fds: f, ringBytes: ringBytes, extent: e}
	p.enter()
	p.parse()
	p.findConversation()
	p.follow()
	p.mark("rules")
	for i := range p.capacity {
		p.rule(i)
	}
	p.mark("decided")
	p.report()
	p.act()
	p.mark("pass")
	p.exit(tcOK)
	return p.code
}

// enter lets pass what the program has dealt with before, or has nothing to do with.
func (p *program) enter() {
	// if (skb->mark >> 16 == MARK_MAGIC >> 16) {
	// 	skb->mark = 0;
	// 	return TC_ACT_OK;
	// }
	p.add(asm.Mov.Reg(asm.R6, asm.R1))
	p.load(asm.R2, asm.R6, skbMark)
	p.add(
		asm.Mov.Reg32(asm.R1, asm.R2),
		asm.RSh.Imm32(asm.R1, 16),
		asm.JNE.Imm(asm.R1, markMagic>>16, "fresh"),
		asm.Mov.Imm(asm.R1, 0),
	)
	p.store(asm.R6, skbMark, asm.R1)
	p.exit(tcOK)

	// if (!(settings.Count | settings.Trace)) goto pass;
	p.mark("fresh")
	p.add(asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R2, asm.R1, unsafe.Offsetof(settings{}.Count))
	p.load(asm.R3, asm.R1, unsafe.Offsetof(settings{}.Trace))
	p.add(
		asm.Or.Reg(asm.R2, asm.R3),
		asm.JEq.Imm(asm.R2, 0, "pass"),
	)
	// if (skb->gso_segs > 1) { counters.Offloaded++; goto pass; }
	single := p.label("single")
	p.load(asm.R1, asm.R6, skbGSOSegs)
	p.add(asm.JLE.Imm(asm.R1, 1, single))
	p.count(p.counters, unsafe.Offsetof(counters{}.Offloaded))
	p.goTo("pass")

	// p = bpf_map_lookup_elem(&scratch, &(u32){0});
	// if (!p) goto pass;
	p.mark(single)
	p.add(asm.StoreImm(asm.RFP, -4, 0, asm.Word))
	p.lookUp(p.scratch, func() { p.add(asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4)) })
	p.add(
		asm.JEq.Imm(asm.R0, 0, "pass"), // an array's element is always there; the verifier does not know
		asm.Mov.Reg(asm.R7, asm.R0),
	)
	// memset(p, 0, offsetof(struct packet, Piece));
	for offset := uintptr(0); offset < unsafe.Offsetof(packet{}.Piece); offset += 4 {
		p.storeConst(asm.R7, offset, 0)
	}
	// p->Kinds = KIND_PACKET;
	// p->Now = bpf_ktime_get_ns();
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Kinds), int32(kindPacket))
	p.call(asm.FnKtimeGetNs)
	p.add(asm.StoreMem(asm.R7, int16(unsafe.Offsetof(packet{}.Now)), asm.R0, asm.DWord))
}

// lookUp leaves the address of a map's value in R0, or 0. setKey sets R2.
func (p *program) lookUp(mapFD int, setKey func()) {
	// bpf_map_lookup_elem(map, key)
	setKey()
	p.add(asm.LoadMapPtr(asm.R1, mapFD))
	p.call(asm.FnMapLookupElem)
}

// keyInScratch sets R2 to a key inside of the scratch memory.
func (p *program) keyInScratch(offset uintptr) func() {
	// key = (void *)p + offset;
	return func() { p.add(asm.Mov.Reg(asm.R2, asm.R7), asm.Add.Imm(asm.R2, int32(offset))) }
}
