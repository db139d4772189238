package analysis

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestClassifyAgreesOnRandomConversations compares conversations that are plausible
// and troubled: lost, repeated, reordered and duplicated segments, windows that
// close, resets, reused ports, and captures that miss things. What differs is cut
// down to the segments that matter.
//
//	TCPLAB_SEEDS=500 TCPLAB_SEED=1000 go test -run RandomConversations ./harness/analysis
func TestClassifyAgreesOnRandomConversations(t *testing.T) {
	needTshark(t)
	seeds, first := setting(t, "TCPLAB_SEEDS", 40), setting(t, "TCPLAB_SEED", 1)
	const perFile = 50
	var total agreement
	for at := first; at < first+seeds; at += perFile {
		var conversations [][]Segment
		for seed := at; seed < min(at+perFile, first+seeds); seed++ {
			segments := randomConversation(uint64(seed))
			if touchesZero(segments) {
				segments = nil
			}
			conversations = append(conversations, segments)
		}
		for i, differences := range differing(t, conversations, &total) {
			if len(differences) == 0 {
				continue
			}
			small, differences := shrink(t, conversations[i])
			t.Errorf("seed %d differs:\n%s", at+i, describe(small, differences))
			if t.Failed() && i > 2 {
				break
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Log(&total)
}

func setting(t *testing.T, name string, normal int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return normal
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// differing compares each of the conversations, all in one file.
func differing(t *testing.T, conversations [][]Segment, total *agreement) [][]difference {
	t.Helper()
	var all []Segment
	var owner []int
	for i, segments := range conversations {
		for _, s := range segments {
			all = append(all, withPort(s, uint16(20000+i)))
			owner = append(owner, i)
		}
	}
	file := captureFile(t, all)
	w := tshark(t, file)
	found := compareFrames(w, ours(classifyFile(t, file, &Classifier{})))
	if total != nil {
		total.add(w, found)
	}
	by := make([][]difference, len(conversations))
	first := make([]int, len(conversations))
	for i := len(owner) - 1; i >= 0; i-- {
		first[owner[i]] = i
	}
	for _, d := range found {
		o := owner[d.frame-1]
		d.frame -= first[o]
		by[o] = append(by[o], d)
	}
	return by
}

// withPort moves a conversation to another port of the client.
func withPort(s Segment, port uint16) Segment {
	move := func(a *netip.AddrPort) {
		if a.Port() != 80 {
			*a = netip.AddrPortFrom(a.Addr(), port)
		}
	}
	move(&s.Src)
	move(&s.Dst)
	return s
}

// shrink removes what can be removed so that a difference remains.
func shrink(t *testing.T, segments []Segment) ([]Segment, []difference) {
	t.Helper()
	differences := differing(t, [][]Segment{segments}, nil)[0]
	for size := len(segments) / 2; size > 0; {
		var candidates [][]Segment
		for at := 0; at < len(segments); at += size {
			candidates = append(candidates, slices.Delete(slices.Clone(segments), at, min(at+size, len(segments))))
		}
		found := differing(t, candidates, nil)
		i := slices.IndexFunc(found, func(d []difference) bool { return len(d) > 0 })
		if i < 0 {
			size /= 2
			continue
		}
		segments, differences = candidates[i], found[i]
		size = min(size, len(segments))
	}
	return segments, differences
}

func describe(segments []Segment, differences []difference) string {
	out := ""
	for i, s := range segments {
		s.Frame = i + 1
		out += fmt.Sprintf("%v mss %d scale %v/%d sack %v\n", s, s.Options.MSS, s.Options.HasWindowScale, s.Options.WindowScale, s.Options.SACK())
	}
	for _, d := range differences {
		out += d.String() + "\n"
	}
	return out
}

// talker is one side of a random conversation.
type talker struct {
	addr     netip.AddrPort
	isn, nxt uint32 // next to send
	una      uint32 // oldest not acknowledged by the other
	rcv      uint32 // next expected of the other
	window   uint16
	scale    int
	mss      int
	sack     []Block
	lastSeq  []Segment // what was sent with sequence numbers, the newest last
	last     Segment
}

type generator struct {
	r    *rand.Rand
	at   time.Duration
	side [2]*talker
	out  []Segment
	// seldom is the likelihood of not being captured.
	uncaptured float64
}

func (g *generator) chance(p float64) bool { return g.r.Float64() < p }

// wait lets time pass, around the limits that matter.
func (g *generator) wait() {
	pauses := []time.Duration{time.Microsecond, 50 * time.Microsecond, time.Millisecond, 2999 * time.Microsecond, 3 * time.Millisecond, 10 * time.Millisecond,
		20*time.Millisecond - 1, 20 * time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond, time.Second}
	// Short ones are more likely.
	i := g.r.IntN(len(pauses))
	if g.chance(0.7) {
		i = g.r.IntN(3)
	}
	g.at += pauses[i]
	if g.chance(0.01) {
		g.at -= min(g.at, time.Millisecond) // clocks step back
	}
}

// emit captures a segment, perhaps late, twice or not at all.
func (g *generator) emit(from int, s Segment) {
	me, other := g.side[from], g.side[1-from]
	s.Src, s.Dst, s.TTL = me.addr, other.addr, 64
	if s.Options.SACKPermitted || s.Flags&FlagSYN == 0 && len(me.sack) > 0 && s.Flags&FlagACK != 0 {
		s.Options.sackCount = uint8(copy(s.Options.sack[:], me.sack))
		if s.Flags&FlagSYN != 0 {
			s.Options.sackCount = 0
		}
	}
	me.last = s
	if s.SequenceLength() > 0 && s.Flags&FlagRST == 0 {
		me.lastSeq = append(me.lastSeq, s)
	}
	if g.chance(g.uncaptured) {
		return
	}
	g.put(s)
	if g.chance(0.02) {
		g.put(s)
	}
	if n := len(g.out); n > 2 && g.chance(0.04) { // overtaken
		g.out[n-1], g.out[n-2] = g.out[n-2], g.out[n-1]
		g.out[n-1].At, g.out[n-2].At = g.out[n-2].At, g.out[n-1].At
	}
}

func (g *generator) put(s Segment) {
	g.wait()
	s.At = g.at
	g.out = append(g.out, s)
}

func (g *generator) data(from int) {
	me := g.side[from]
	n := []int{1, 1, 2, 100, me.mss, me.mss, me.mss, me.mss, 4 * me.mss}[g.r.IntN(9)]
	if g.chance(0.1) { // just to the edge of the window
		other := g.side[1-from]
		edge := int32(other.rcv + uint32(other.window)<<max(other.scale, 0) - me.nxt)
		if edge > 0 && edge < 60000 {
			n = int(edge)
		}
	}
	s := Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagACK, Window: me.window, Length: n}
	if g.chance(0.3) {
		s.Flags |= FlagPSH
	}
	me.nxt += uint32(n)
	g.emit(from, s)
}

func (g *generator) ack(from int) {
	me, other := g.side[from], g.side[1-from]
	switch g.r.IntN(6) {
	case 0: // nothing new
	case 1:
		if len(other.lastSeq) > 0 {
			s := other.lastSeq[g.r.IntN(len(other.lastSeq))]
			if before(me.rcv, s.NextSeq()) {
				me.rcv = s.NextSeq()
			}
		}
	case 2:
		me.rcv += uint32(g.r.IntN(int(other.nxt-me.rcv)&0xffff + 1))
	default:
		me.rcv = other.nxt
	}
	if before(other.una, me.rcv) {
		other.una = me.rcv
	}
	me.sack = me.sack[:0]
	if g.chance(0.3) {
		left := me.rcv
		for range 1 + g.r.IntN(4) {
			left += uint32(1 + g.r.IntN(3000))
			right := left + uint32(1+g.r.IntN(3000))
			me.sack = append(me.sack, Block{left, right})
			left = right
		}
	}
	g.emit(from, Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagACK, Window: me.window})
}

func (g *generator) repeatACK(from int) {
	me := g.side[from]
	for range 1 + g.r.IntN(4) {
		g.emit(from, Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagACK, Window: me.window})
	}
}

func (g *generator) retransmit(from int) {
	me := g.side[from]
	if len(me.lastSeq) == 0 {
		return
	}
	n := len(me.lastSeq)
	s := me.lastSeq[n-1-g.r.IntN(min(n, 8))]
	if g.chance(0.5) { // what the other asks for
		for _, l := range me.lastSeq {
			if l.Seq == g.side[1-from].rcv {
				s = l
			}
		}
	}
	s.Ack, s.Window = me.rcv, me.window
	if s.Flags&FlagACK == 0 {
		s.Ack = 0
	}
	if s.Length > 1 && g.chance(0.2) {
		s.Length = 1 + g.r.IntN(s.Length)
	}
	s.Options.sackCount = 0
	g.emit(from, s)
}

func (g *generator) windowChange(from int) {
	me := g.side[from]
	me.window = []uint16{0, 0, 0, 1, 500, 1000, 65535}[g.r.IntN(7)]
	if g.chance(0.7) {
		g.emit(from, Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagACK, Window: me.window})
	}
}

func (g *generator) probe(from int) {
	me, other := g.side[from], g.side[1-from]
	if g.chance(0.5) {
		other.window = 0
		g.emit(1-from, Segment{Seq: other.nxt, Ack: other.rcv, Flags: FlagACK})
	}
	for range 1 + g.r.IntN(3) {
		g.emit(from, Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagACK, Window: me.window, Length: 1})
		if g.chance(0.8) {
			g.emit(1-from, Segment{Seq: other.nxt, Ack: other.rcv, Flags: FlagACK, Window: other.window})
		}
	}
}

func (g *generator) keepAlive(from int) {
	me, other := g.side[from], g.side[1-from]
	for range 1 + g.r.IntN(2) {
		g.emit(from, Segment{Seq: me.nxt - 1, Ack: me.rcv, Flags: FlagACK, Window: me.window, Length: g.r.IntN(2)})
		if g.chance(0.8) {
			g.emit(1-from, Segment{Seq: other.nxt, Ack: other.rcv, Flags: FlagACK, Window: other.window})
		}
	}
}

func (g *generator) fin(from int) {
	me := g.side[from]
	s := Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagFIN | FlagACK, Window: me.window}
	if g.chance(0.3) {
		s.Length = 1 + g.r.IntN(1000)
	}
	me.nxt = s.NextSeq()
	g.emit(from, s)
}

func (g *generator) reset(from int) {
	me := g.side[from]
	s := Segment{Seq: me.nxt, Ack: me.rcv, Flags: FlagRST | FlagACK, Window: me.window}
	if g.chance(0.3) {
		s.Flags, s.Ack = FlagRST, 0
	}
	if g.chance(0.3) {
		s.Window = 0
	}
	g.emit(from, s)
}

func (g *generator) handshake() {
	c, s := g.side[0], g.side[1]
	scaling, sacking := g.chance(0.8), g.chance(0.8)
	for _, t := range g.side {
		t.isn = g.r.Uint32()
		if g.chance(0.3) { // wraps around soon
			t.isn = -uint32(1 + g.r.IntN(5000))
		}
		t.nxt, t.una = t.isn, t.isn
		t.window = []uint16{65535, 29200, 1000, 0}[g.r.IntN(4)]
		t.mss = []int{536, 1448, 1460, 8960}[g.r.IntN(4)]
		t.scale = -1
		t.sack, t.lastSeq = nil, nil
		if scaling && g.chance(0.95) {
			t.scale = g.r.IntN(16)
		}
	}
	options := func(t *talker) Options {
		o := Options{MSS: uint16(t.mss), SACKPermitted: sacking}
		if t.scale >= 0 {
			o.HasWindowScale, o.WindowScale = true, uint8(t.scale)
		}
		return o
	}
	if g.chance(0.1) { // mid-connection
		c.nxt, s.nxt = c.isn+1, s.isn+1
		c.rcv, s.rcv = s.nxt, c.nxt
		return
	}
	syn := Segment{Seq: c.isn, Flags: FlagSYN, Window: c.window, Options: options(c)}
	if g.chance(0.1) {
		syn.Length = 1 + g.r.IntN(500)
	}
	c.nxt = syn.NextSeq()
	c.rcv, s.rcv = s.nxt, c.nxt // for what is said before there is an answer; never 0
	for range 1 + g.r.IntN(5)/4*2 {
		g.emit(0, syn)
	}
	if g.chance(0.1) {
		g.emit(1, Segment{Seq: 0, Ack: c.nxt, Flags: FlagRST | FlagACK})
		return
	}
	s.rcv = c.nxt
	if syn.Length > 0 && g.chance(0.5) {
		s.rcv = c.isn + 1
		c.nxt = s.rcv
	}
	answer := Segment{Seq: s.isn, Ack: s.rcv, Flags: FlagSYN | FlagACK, Window: s.window, Options: options(s)}
	if g.chance(0.05) { // simultaneous open
		g.emit(1, Segment{Seq: s.isn, Flags: FlagSYN, Window: s.window, Options: options(s)})
	}
	s.nxt = answer.NextSeq()
	for range 1 + g.r.IntN(6)/5 {
		g.emit(1, answer)
	}
	c.rcv = s.nxt
	g.emit(0, Segment{Seq: c.nxt, Ack: c.rcv, Flags: FlagACK, Window: c.window})
}

func randomConversation(seed uint64) []Segment {
	g := &generator{r: rand.New(rand.NewPCG(seed, 4711))}
	client, server := client4, server4
	if g.chance(0.2) {
		client, server = client6, server6
	}
	if g.chance(0.5) { // so that each side comes to be the first
		client, server = netip.AddrPortFrom(server.Addr(), client.Port()), netip.AddrPortFrom(client.Addr(), server.Port())
	}
	g.side = [2]*talker{{addr: client}, {addr: server}}
	g.uncaptured = []float64{0, 0.02, 0.1}[g.r.IntN(3)]
	g.handshake()
	busy := g.r.IntN(2)
	for len(g.out) < 60+g.r.IntN(200) {
		from := busy
		if g.chance(0.15) {
			from = 1 - busy
		}
		switch n := g.r.IntN(100); {
		case n < 45:
			for range 1 + g.r.IntN(6) {
				g.data(from)
			}
		case n < 70:
			g.ack(1 - from)
		case n < 78:
			g.repeatACK(1 - from)
			if g.chance(0.6) {
				g.retransmit(from)
			}
		case n < 85:
			g.retransmit(from)
		case n < 89:
			g.windowChange(1 - from)
		case n < 92:
			g.probe(from)
		case n < 95:
			g.keepAlive(from)
		case n < 97:
			g.fin(from)
		case n < 98:
			g.reset(from)
		default:
			if g.chance(0.3) {
				g.handshake()
			}
		}
	}
	return withoutLateZeroResets(g.out)
}

// withoutLateZeroResets leaves out resets with number 0 of a side that was heard
// before: there Wireshark forgets what that side had sent, and we do not. See
// docs/analysis.md.
func withoutLateZeroResets(segments []Segment) []Segment {
	heard := make(map[netip.AddrPort]bool)
	syn := int64(-1)
	return slices.DeleteFunc(segments, func(s Segment) bool {
		if SYNs(s) && int64(s.Seq) != syn {
			syn = int64(s.Seq)
			clear(heard)
		}
		late := s.Flags&FlagRST != 0 && s.Seq == 0 && heard[s.Src]
		heard[s.Src] = true
		return late
	})
}
