package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

var (
	local  = netip.MustParseAddrPort("10.0.1.1:40000")
	remote = netip.MustParseAddrPort("10.0.2.2:80")
)

func socket(state kernel.State, info tcpinfo.Info, change ...func(*kernel.Socket)) *kernel.Socket {
	s := &kernel.Socket{
		Family: kernel.IPv4, Local: local, Remote: remote, State: state, Cookie: 1, Inode: 7,
		Timer: kernel.Timer{Kind: kernel.TimerOff}, TCPInfo: &info,
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// info parses a struct tcp_info that the kernel has filled.
func info(change func(*unix.TCPInfo)) tcpinfo.Info {
	i := tcpinfo.Parse(make([]byte, 1024))
	if change != nil {
		change(&i.TCPInfo)
	}
	return *i
}

// watcher is one without a kernel: at has it see sockets at a time.
type watcher struct {
	*Watcher
	begin time.Time
}

func newWatcher() watcher {
	return watcher{&Watcher{options: Options{}.withDefaults(), tracks: map[uint64]track{}}, time.Now()}
}

func (w watcher) at(after time.Duration, sockets ...*kernel.Socket) *listing {
	l := &listing{
		now: w.begin.Add(after), before: w.last, passes: func(*kernel.Socket) bool { return true }, halfOpen: map[localPort]int{},
		sickest: newBest(10, Sick.less), busiest: newBest(10, Busy.less), listed: newBest(100, Addresses.less),
	}
	w.generation++
	l.turned = w.windows.turn(l.now, w.options.Window)
	for _, s := range sockets {
		w.add(l, s, Filter{})
	}
	w.forget()
	w.last = l.now
	return l
}

func kinds(c Connection) []TroubleKind { return c.kinds[:c.found] }

// TestJudgement: each trouble is found where it is, alone, and in nothing that is healthy.
func TestJudgement(t *testing.T) {
	timer := func(kind kernel.TimerKind, retransmits uint8) func(*kernel.Socket) {
		return func(s *kernel.Socket) {
			s.Timer = kernel.Timer{Kind: kind, Retransmits: retransmits, Expires: time.Second}
		}
	}
	queues := func(receive, send uint32) func(*kernel.Socket) {
		return func(s *kernel.Socket) { s.ReceiveQueue, s.SendQueue = receive, send }
	}
	small := func(s *kernel.Socket) { s.TCPInfo = nil }
	open := func(i *unix.TCPInfo) { i.Snd_wnd = 65535 }
	for _, tt := range []struct {
		name  string
		first *kernel.Socket
		then  *kernel.Socket // a second later, and once more after 20 s
		want  []TroubleKind  // after a second
		late  []TroubleKind  // after 20 s
	}{
		{name: "idle", then: socket(kernel.Established, info(open))},
		{name: "sends", then: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Unacked = 10 }), timer(kernel.TimerOn, 0), queues(0, 14480))},
		{name: "tail loss probe", then: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Unacked = 1 }), timer(kernel.TimerOn, 0))},
		{
			name: "backed off", then: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Backoff = 3 }), timer(kernel.TimerOn, 3)),
			want: []TroubleKind{BackedOff}, late: []TroubleKind{BackedOff},
		},
		{
			name: "SYN", then: socket(kernel.SynSent, info(func(i *unix.TCPInfo) { i.Backoff, i.Total_retrans = 1, 1 }), timer(kernel.TimerOn, 1), queues(0, 1)),
			want: []TroubleKind{BackedOff}, late: []TroubleKind{BackedOff},
		},
		{
			name: "SYN, before its RTO doubles", then: socket(kernel.SynSent, info(nil), timer(kernel.TimerOn, 1), queues(0, 1)),
			want: []TroubleKind{BackedOff}, late: []TroubleKind{BackedOff},
		},
		{name: "first SYN", then: socket(kernel.SynSent, info(nil), timer(kernel.TimerOn, 0), queues(0, 1))},
		{name: "half open", then: socket(kernel.SynRecv, info(nil), small, timer(kernel.TimerKeepalive, 0))},
		{
			name: "SYN-ACK", then: socket(kernel.SynRecv, info(nil), small, timer(kernel.TimerKeepalive, 2)),
			want: []TroubleKind{BackedOff}, late: []TroubleKind{BackedOff},
		},
		{
			name: "zero window", then: socket(kernel.Established, info(nil), timer(kernel.TimerPersist, 1), queues(0, 5000)),
			want: []TroubleKind{ZeroWindow}, late: []TroubleKind{ZeroWindow},
		},
		{name: "zero window, and nothing to send", then: socket(kernel.Established, info(nil))},
		{
			name: "retransmits", first: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Total_retrans = 100 })),
			then: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Total_retrans = 101 })),
			want: []TroubleKind{Retransmitting},
		},
		{
			name: "retransmitted long ago", first: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Total_retrans = 100 })),
			then: socket(kernel.Established, info(func(i *unix.TCPInfo) { open(i); i.Total_retrans = 100 })),
		},
		{
			name: "keepalive is not answered", then: socket(kernel.Established, info(open), timer(kernel.TimerKeepalive, 4)),
		},
		{name: "not read", then: socket(kernel.Established, info(open), queues(77, 0)), late: []TroubleKind{Unread}},
		{name: "CLOSE-WAIT", then: socket(kernel.CloseWait, info(open), queues(1, 0)), late: []TroubleKind{CloseWait}},
		{
			name: "CLOSE-WAIT before the first look", then: socket(kernel.CloseWait, info(func(i *unix.TCPInfo) { open(i); i.Last_ack_recv = 60_000 })),
			want: []TroubleKind{CloseWait}, late: []TroubleKind{CloseWait},
		},
		{name: "FIN-WAIT-1", then: socket(kernel.FinWait1, info(open)), late: []TroubleKind{FinWait}},
		{name: "FIN-WAIT-2, without a process", then: socket(kernel.FinWait2, info(nil), small, timer(kernel.TimerTimeWait, 0)), late: []TroubleKind{FinWait}},
		{name: "CLOSING", then: socket(kernel.Closing, info(open)), late: []TroubleKind{FinWait}},
		{name: "LAST-ACK", then: socket(kernel.LastAck, info(open)), late: []TroubleKind{FinWait}},
		{name: "TIME-WAIT", then: socket(kernel.TimeWait, info(nil), small, timer(kernel.TimerTimeWait, 0))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWatcher()
			if tt.first != nil {
				w.at(0, tt.first)
			} else {
				w.at(0)
			}
			l := w.at(time.Second, tt.then)
			g.Expect(kinds(l.listed.list[0])).To(HaveExactElements(tt.want))
			g.Expect(l.sick).To(Equal(min(1, len(tt.want))))
			w.at(11*time.Second, tt.then)
			w.at(21*time.Second, tt.then)
			l = w.at(22*time.Second, tt.then)
			g.Expect(kinds(l.listed.list[0])).To(HaveExactElements(tt.late))
			for _, kind := range tt.late {
				g.Expect(l.listed.list[0].says(kind, time.Second)).NotTo(BeEmpty())
			}
		})
	}
}

// TestTracks: rates, ages and recent retransmits are of what has changed from one reading to the next.
func TestTracks(t *testing.T) {
	g := NewWithT(t)
	w := newWatcher()
	with := func(state kernel.State, acked, received uint64, retransmits, segments uint32) *kernel.Socket {
		return socket(state, info(func(i *unix.TCPInfo) {
			i.Bytes_acked, i.Bytes_received, i.Total_retrans, i.Data_segs_out = acked, received, retransmits, segments
		}))
	}
	c := w.at(0, with(kernel.Established, 1e6, 1e6, 10, 1000)).listed.list[0]
	g.Expect([]float64{c.SendRate, c.ReceiveRate}).To(Equal([]float64{0, 0}), "of the first reading nothing is known")
	g.Expect(c.AtLeast).To(BeTrue())
	g.Expect([]uint32{c.Retransmits, c.RecentRetransmits, c.RecentSegments}).To(Equal([]uint32{10, 0, 0}))

	c = w.at(2*time.Second, with(kernel.Established, 1e6+5000, 1e6+200, 11, 1040)).listed.list[0]
	g.Expect([]float64{c.SendRate, c.ReceiveRate}).To(Equal([]float64{2500, 100}))
	g.Expect(c.InState).To(Equal(2 * time.Second))
	g.Expect([]uint32{c.RecentRetransmits, c.RecentSegments}).To(Equal([]uint32{1, 40}))

	c = w.at(10*time.Second, with(kernel.CloseWait, 1e6+5000, 1e6+200, 12, 1050)).listed.list[0] // a window has passed
	g.Expect(c.InState).To(BeZero())
	g.Expect(c.AtLeast).To(BeFalse())
	g.Expect([]uint32{c.RecentRetransmits, c.RecentSegments}).To(Equal([]uint32{2, 50}), "since the reading 10 s ago")
	c = w.at(19*time.Second, with(kernel.CloseWait, 1e6+5000, 1e6+200, 12, 1050)).listed.list[0]
	g.Expect(c.InState).To(Equal(9 * time.Second))
	g.Expect(c.RecentRetransmits).To(BeEquivalentTo(2), "since the reading 19 s ago")
	c = w.at(20*time.Second, with(kernel.CloseWait, 1e6+5000, 1e6+200, 12, 1050)).listed.list[0]
	g.Expect(c.RecentRetransmits).To(BeZero(), "since the reading 10 s ago")

	// A listing that misses it once does not make it a new one; two do.
	w.at(21 * time.Second)
	g.Expect(w.at(22*time.Second, with(kernel.CloseWait, 1e6+5000, 1e6+200, 12, 1050)).listed.list[0].InState).To(Equal(12 * time.Second))
	w.at(23 * time.Second)
	w.at(24 * time.Second)
	g.Expect(w.tracks).To(BeEmpty())
	c = w.at(25*time.Second, with(kernel.Established, 700, 0, 3, 9)).listed.list[0]
	g.Expect([]uint32{c.RecentRetransmits, c.RecentSegments}).To(Equal([]uint32{3, 9}), "a new one has it all of its own")
	g.Expect(c.SendRate).To(Equal(700.0))
}

func TestHistories(t *testing.T) {
	g := NewWithT(t)
	var h histories
	var c counts
	c[kernel.Established], c[kernel.SynRecv], c[kernel.NewSynRecv] = 2, 1, 3
	states, sum := h.add(c)
	g.Expect(sum).To(Equal(6))
	g.Expect(states).To(Equal([]StateCount{{kernel.SynRecv, 4, []int{4}}, {kernel.Established, 2, []int{2}}}))
	for range 2 * mostHistory {
		states, _ = h.add(counts{})
	}
	g.Expect(states).To(HaveLen(2), "what was there before is still shown")
	g.Expect(states[1].History).To(HaveLen(mostHistory))
}

// TestBestIsTheBeginningOfAll: a heap of the first ones is what sorting all would give.
func TestBestIsTheBeginningOfAll(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		order, reverse := Order(random.IntN(len(orders))), random.IntN(2) == 1
		var all []Connection
		b := newBest(random.IntN(12), order.ordered(reverse))
		for i := range random.IntN(40) {
			c := Connection{
				Cookie: uint64(i), Local: netip.AddrPortFrom(local.Addr(), uint16(random.IntN(5))), RTT: time.Duration(random.IntN(5)),
				SendRate: float64(random.IntN(5)), Retransmits: random.Uint32N(5), RecentRetransmits: random.Uint32N(2), SendQueue: random.Uint32N(5),
				InState: time.Duration(random.IntN(5)), sickness: float64(random.IntN(3)),
			}
			all = append(all, c)
			b.offer(&c)
		}
		order.Sort(all, reverse)
		g.Expect(b.sorted()).To(Equal(append([]Connection{}, all[:min(len(all), b.most)]...)), "%v", order)
	}
}

func TestOrders(t *testing.T) {
	g := NewWithT(t)
	o := Sick
	for _, name := range Orders() {
		g.Expect(ParseOrder(name)).To(Equal(o))
		o = o.Next()
	}
	g.Expect(o).To(Equal(Sick))
	_, err := ParseOrder("size")
	g.Expect(err).To(MatchError(ContainSubstring(`order "size": allowed are sick, busy`)))
}

func TestFilter(t *testing.T) {
	g := NewWithT(t)
	for typed, want := range map[string]Filter{
		"":                               {},
		"pid 12 port 80":                 {PID: 12, Port: 80},
		":443 sick":                      {Port: 443, Sick: true},
		"state close-wait":               {State: kernel.CloseWait},
		"state ESTABLISHED":              {State: kernel.Established},
		"state tcp_fin_wait1":            {State: kernel.FinWait1},
		"10.0.0.7":                       {Prefix: netip.MustParsePrefix("10.0.0.7/32")},
		"::ffff:10.0.0.7":                {Prefix: netip.MustParsePrefix("10.0.0.7/32")},
		"10.0.0.7/8":                     {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		"fd00::/8 nginx state time-wait": {Prefix: netip.MustParsePrefix("fd00::/8"), Name: "nginx", State: kernel.TimeWait},
	} {
		f, err := ParseFilter(typed)
		g.Expect(err).NotTo(HaveOccurred(), typed)
		g.Expect(f).To(Equal(want), typed)
		again, err := ParseFilter(f.String())
		g.Expect(err).NotTo(HaveOccurred(), f.String())
		g.Expect(again).To(Equal(f), f.String())
	}
	for typed, says := range map[string]string{
		"pid": "pid needs a value", "pid x": `pid "x": want a number`, "port 0": `port "0": want 1 to 65535`, ":70000": `port "70000"`,
		"state asleep": "allowed are listen, syn-sent",
	} {
		_, err := ParseFilter(typed)
		g.Expect(err).To(MatchError(ContainSubstring(says)), typed)
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("pid 1 :80 state estab sick 10.0.0.0/8 x")
	f.Fuzz(func(t *testing.T, typed string) {
		filter, err := ParseFilter(typed)
		if err != nil {
			return
		}
		if again, err := ParseFilter(filter.String()); err != nil || again != filter {
			t.Errorf("%q is %+v, and %q is %+v, %v", typed, filter, filter, again, err)
		}
	})
}

func TestFilterMatches(t *testing.T) {
	g := NewWithT(t)
	s := socket(kernel.NewSynRecv, info(nil))
	for typed, want := range map[string]bool{
		"": true, "port 80": true, ":40000": true, "port 81": false, "state syn-recv": true, "state estab": false,
		"10.0.1.0/24": true, "10.0.2.2": true, "10.0.3.0/24": false, "port 80 10.0.3.0/24": false,
	} {
		f, err := ParseFilter(typed)
		g.Expect(err).NotTo(HaveOccurred())
		matches, err := f.matcher("/proc")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(matches(s)).To(Equal(want), typed)
	}
}

// fakeProc is a /proc of processes with descriptors.
type fakeProc struct {
	t    *testing.T
	path string
}

func (p fakeProc) has(pid int, name string, links ...string) {
	p.t.Helper()
	dir := filepath.Join(p.path, strconv.Itoa(pid))
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "fd"), 0o755), os.WriteFile(filepath.Join(dir, "comm"), []byte(name+"\n"), 0o600))
	for i, link := range links {
		err = errors.Join(err, os.Symlink(link, filepath.Join(dir, "fd", strconv.Itoa(i))))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestOwners(t *testing.T) {
	g := NewWithT(t)
	p := fakeProc{t, t.TempDir()}
	p.has(3, "three", "/dev/null", "socket:[30]", "socket:[x]", "pipe:[31]")
	p.has(4, "four", "socket:[40]", "socket:[41]")
	g.Expect(os.Mkdir(filepath.Join(p.path, "self"), 0o755)).To(Succeed())
	o := owners{proc: p.path}
	defer o.close()
	later := func() time.Time { return time.Now().Add(time.Minute) }

	o.find([]uint32{30, 41, 41, 0}, later())
	g.Expect(o.searching()).To(BeFalse())
	g.Expect(o.of(30)).To(Equal(&Owner{3, "three"}))
	g.Expect(o.of(41)).To(Equal(&Owner{4, "four"}))
	g.Expect(o.of(0)).To(BeNil())

	// One that nobody has is looked for in a whole round, and then not for a while.
	o.find([]uint32{30, 99}, later())
	g.Expect(o.searching()).To(BeFalse())
	g.Expect(o.of(99)).To(BeNil())
	p.has(5, "five", "socket:[99]")
	o.find([]uint32{30, 99}, later())
	g.Expect(o.of(99)).To(BeNil())
	for range missedFor {
		o.find([]uint32{99}, later())
	}
	g.Expect(o.of(99)).To(Equal(&Owner{5, "five"}))

	// One that was given away has another owner.
	g.Expect(os.RemoveAll(filepath.Join(p.path, "3"))).To(Succeed())
	p.has(6, "six", "socket:[30]")
	o.find([]uint32{30}, later())
	g.Expect(o.of(30)).To(Equal(&Owner{6, "six"}))
}

// TestOwnersAreFoundInPieces: a search ends in time, and the next one goes on.
func TestOwnersAreFoundInPieces(t *testing.T) {
	g := NewWithT(t)
	p := fakeProc{t, t.TempDir()}
	var inodes []uint32
	for pid := 1; pid <= 20; pid++ {
		var links []string
		for i := range 30 {
			inodes = append(inodes, uint32(100*pid+i))
			links = append(links, fmt.Sprintf("socket:[%d]", 100*pid+i))
		}
		p.has(pid, "many", links...)
	}
	o := owners{proc: p.path}
	defer o.close()
	o.find(inodes, time.Now()) // there is no time
	g.Expect(o.searching()).To(BeTrue())
	g.Expect(o.of(100)).To(BeNil())
	for n := 0; o.searching(); n++ {
		g.Expect(n).To(BeNumerically("<", 100))
		o.find(inodes, time.Now()) // which forgets nothing
		o.step()
	}
	o.find(inodes, time.Now().Add(time.Minute))
	for _, inode := range inodes {
		g.Expect(o.of(inode)).To(Equal(&Owner{int(inode / 100), "many"}))
	}
}

func TestFilterByProcess(t *testing.T) {
	g := NewWithT(t)
	p := fakeProc{t, t.TempDir()}
	p.has(3, "web-server", "socket:[7]")
	p.has(4, "other", "socket:[8]")
	s := socket(kernel.Established, info(nil))
	for typed, want := range map[string]bool{"pid 3": true, "pid 4": false, "web": true, "other": false, "nobody": false, "pid 3 other": false} {
		f, err := ParseFilter(typed)
		g.Expect(err).NotTo(HaveOccurred())
		matches, err := f.matcher(p.path)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(matches(s)).To(Equal(want), typed)
	}
	_, err := Filter{PID: 5}.matcher(p.path)
	g.Expect(err).To(MatchError(ErrNoProcess))
	g.Expect(explainProcess(5, fs.ErrPermission)).To(MatchError(ContainSubstring("another user's")))
}

func TestNamespaces(t *testing.T) {
	g := NewWithT(t)
	n, err := OpenNamespace(strconv.Itoa(os.Getpid()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(BeNil(), "this process's own needs no leave")
	n.Close()
	g.Expect(n.String()).To(BeEmpty())
	_, err = OpenNamespace("999999999")
	g.Expect(err).To(MatchError(ErrNoNamespace))
	g.Expect(err).To(MatchError(ContainSubstring("process 999999999's network namespace")))
	g.Expect(explainNamespace(unix.EPERM)).To(MatchError(ContainSubstring("needs root")))
}

func TestOptionsAndShort(t *testing.T) {
	g := NewWithT(t)
	_, err := New(nil, Options{Long: -1, Search: -1})
	g.Expect(err).To(MatchError(And(ContainSubstring("Options.Long"), ContainSubstring("Options.Search"))))
	for want, d := range map[string]time.Duration{
		"0": 0, "7ns": 7, "12.3us": 12345, "1.23ms": 1234567, "45.6s": 45600 * time.Millisecond, "2m03s": 123 * time.Second, "1h01m": 61 * time.Minute,
		"5d": 125 * time.Hour, "-1s": -time.Second,
	} {
		g.Expect(Short(d)).To(Equal(want))
	}
}

// TestTextIsHarmless: a process may call itself anything.
func TestTextIsHarmless(t *testing.T) {
	g := NewWithT(t)
	var out fmtBuffer
	r := &Reading{
		Sickest:   []Connection{{State: kernel.CloseWait, Local: local, Remote: remote, Owner: &Owner{1, "\x1b[2J\nsick"}}},
		Listeners: []Listener{{Local: local, Owner: &Owner{1, "\u202e\x9b"}}},
	}
	g.Expect(r.Text(&out)).To(Succeed())
	g.Expect(slices.ContainsFunc([]rune(string(out)), func(c rune) bool { return c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 || c == 0x202e })).To(BeFalse(), "%q", out)
	g.Expect(string(out)).NotTo(ContainSubstring("\nsick"))
}

type fmtBuffer []byte

func (b *fmtBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
