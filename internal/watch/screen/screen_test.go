package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/internal/golden"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/watch"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// fixed answers each query with the same reading.
type fixed struct {
	reading *watch.Reading
	err     error
	asked   watch.Query
}

func (f *fixed) Read(q watch.Query) (*watch.Reading, error) {
	f.asked = q
	if f.err != nil {
		return nil, f.err
	}
	r := *f.reading
	r.Connections = append([]watch.Connection{}, f.reading.Connections...)
	r.Filter = q.Filter.String()
	if q.Order != watch.Sick { // which only a watcher knows
		q.Order.Sort(r.Connections, q.Reverse)
	}
	for _, c := range r.Connections {
		if c.Cookie == q.Open {
			info := tcpinfo.Parse(make([]byte, 104))
			info.Rtt, info.Snd_cwnd = 40_000, 10
			r.Opened = &watch.Opened{Connection: c, Socket: kernel.Socket{TCPInfo: info}}
		}
	}
	return &r, nil
}

// sample is a reading with all that can be in one.
func sample(name string) *watch.Reading {
	at := netip.MustParseAddrPort
	owner := &watch.Owner{PID: 4711, Name: name}
	r := &watch.Reading{
		At: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), Since: time.Second, Sockets: 16, Sick: 3,
		States: []watch.StateCount{
			{State: kernel.Listen, Count: 2, History: []int{2, 2, 2, 2}}, {State: kernel.Established, Count: 13, History: []int{0, 1, 6, 13}},
			{State: kernel.CloseWait, Count: 1, History: []int{0, 0, 1, 1}},
		},
		Listeners: []watch.Listener{
			{
				Family: kernel.IPv6, Local: at("[::]:8080"), Owner: owner, Waiting: 6, Backlog: 5, Drops: 12,
				Troubles: []watch.Trouble{{Kind: watch.BacklogFull, Text: "backlog full: 6 wait, and the program does not accept"}},
			},
			{Family: kernel.IPv4, Local: at("127.0.0.1:25"), Backlog: 128},
		},
		Connections: []watch.Connection{
			{
				Cookie: 1, State: kernel.Established, Family: kernel.IPv4, Local: at("10.0.2.2:8080"), Remote: at("10.0.1.1:40000"), Owner: owner,
				Timer: kernel.Timer{Kind: kernel.TimerOn, Expires: 199 * time.Millisecond}, Congestion: "cubic", InState: 75 * time.Second, RTT: 40100 * time.Microsecond, RTO: 240 * time.Millisecond, Cwnd: 10, InFlight: 7, SendQueue: 1_234_567,
				SendRate: 125_000, Retransmits: 120, RecentRetransmits: 12,
				Troubles: []watch.Trouble{{Kind: watch.Retransmitting, Text: "retransmitted 12 of 130 data segments in 14s"}},
			},
			{
				Cookie: 2, State: kernel.CloseWait, Family: kernel.IPv6, Local: at("[fd00:2::2]:8080"), Remote: at("[fd00:1111:2222:3333:4444:5555:6666:7777]:40001"),
				Owner: owner, InState: 3 * time.Hour, AtLeast: true, ReceiveQueue: 1,
				Troubles: []watch.Trouble{{Kind: watch.CloseWait, Text: "the peer closed at least 3h00m ago, this program has not"}},
			},
		},
		Moved: []watch.Moved{
			{Name: "TcpRetransSegs", By: 12, Total: 120, Meaning: "segments retransmitted"}, {Name: "TcpInSegs", By: 1000, Total: 100_000},
		},
	}
	for i := range 12 {
		r.Connections = append(r.Connections, watch.Connection{
			Cookie: uint64(10 + i), State: kernel.Established, Family: kernel.IPv4, Local: at("10.0.2.2:8080"), RTT: time.Millisecond, Cwnd: 10,
			Remote: netip.AddrPortFrom(netip.MustParseAddr("10.0.1.1"), uint16(50000+i)), Owner: owner,
		})
	}
	return r
}

// show makes a model that has read once.
func show(width, height int, r Reader) *model {
	m := newModel(r, Options{})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	read(m)
	return m
}

// read has a model read, as its commands do.
func read(m *model) { m.Update(m.read()()) }

// press sends keys: names of package tea, or single letters.
func press(m *model, keys ...string) (quits bool) {
	for _, key := range keys {
		k := tea.Key{Text: key}
		k.Code, _ = utf8.DecodeRuneInString(key)
		switch special := map[string]rune{
			"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "space": tea.KeySpace, "up": tea.KeyUp, "down": tea.KeyDown, "end": tea.KeyEnd,
			"pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace, "home": tea.KeyHome,
		}; {
		case special[key] != 0:
			k = tea.Key{Code: special[key]}
		case key == "ctrl+c":
			k = tea.Key{Code: 'c', Mod: tea.ModCtrl}
		}
		if _, command := m.Update(tea.KeyPressMsg(k)); command != nil {
			_, quits = command().(tea.QuitMsg)
		}
	}
	return quits
}

// expectFits looks for lines that are too many, too wide, or give orders to a terminal.
func expectFits(t *testing.T, m *model) {
	t.Helper()
	lines := strings.Split(m.draw(), "\n")
	if len(lines) > m.height {
		t.Errorf("%d lines in %d", len(lines), m.height)
	}
	for _, line := range lines {
		for _, s := range []style{bold, red, yellow, faint, cursor, reset} {
			line = strings.ReplaceAll(line, string(s), "")
		}
		if text.Width(line) > m.width {
			t.Errorf("%d columns in %d: %q", text.Width(line), m.width, line)
		}
		if strings.ContainsFunc(line, func(c rune) bool { return unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control) }) || !utf8.ValidString(line) {
			t.Errorf("harmful: %q", line)
		}
	}
}

func TestScreens(t *testing.T) {
	for name, keys := range map[string][]string{
		"overview": nil, "listeners": {"tab"}, "counters": {"tab", "tab"}, "opened": {"enter"}, "help": {"?"}, "last": {"end"}, "typing": {"/", "x"},
	} {
		for _, size := range [][2]int{{80, 24}, {200, 50}} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				m := show(size[0], size[1], &fixed{reading: sample("web-server")})
				press(m, keys...)
				read(m)
				expectFits(t, m)
				golden.Compare(t, fmt.Sprintf("%s-%dx%d.txt", name, size[0], size[1]), []byte(m.draw()+"\n"))
			})
		}
	}
}

// TestScreensFit draws at all sizes, with the most hostile of names: nothing is too wide, and nothing harmful comes through.
func TestScreensFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := []string{"tab", "enter", "esc", "?", "s", "r", "up", "down", "end", "home", "pgdown", "space", "/", "x", "backspace", "+", "-"}
	hostile := "\x1b[2J\x1b]0;x\a\u202e\x9b\xff漢字\r\n\b"
	for i := range 500 {
		m := show(1+random.IntN(220), 1+random.IntN(60), &fixed{reading: sample(hostile)})
		m.o.Colour, m.o.ASCII, m.o.Title = i%2 == 0, i%3 == 0, hostile
		for range random.IntN(6) {
			press(m, all[random.IntN(len(all))])
			if random.IntN(3) == 0 {
				read(m)
			}
			expectFits(t, m)
		}
		if t.Failed() {
			return
		}
	}
}

func TestKeys(t *testing.T) {
	g := NewWithT(t)
	f := &fixed{reading: sample("web-server")}
	m := show(80, 24, f)
	g.Expect(press(m, "q")).To(BeTrue())
	g.Expect(press(m, "ctrl+c")).To(BeTrue())

	// Sorted at once, and asked for from then on.
	press(m, "s", "s") // by rtt
	g.Expect(m.draw()).To(ContainSubstring("14 connections by rtt"))
	press(m, "r")
	g.Expect(m.draw()).To(ContainSubstring("by rtt, reversed"))
	g.Expect(m.shown.Connections[0].RTT).To(BeZero())
	read(m)
	g.Expect(f.asked).To(And(HaveField("Order", watch.RTT), HaveField("Reverse", true), HaveField("Listed", listed)))
	press(m, "r", "s", "s", "s", "s", "s")
	g.Expect(m.query.Order).To(Equal(watch.Sick))

	// The cursor stays on its connection, whatever comes above it.
	press(m, "down", "down")
	selected := m.shown.Connections[m.cursor].Cookie
	f.reading = sample("web-server")
	f.reading.Connections = append(f.reading.Connections, watch.Connection{Cookie: 99, Local: f.reading.Connections[0].Local})
	read(m)
	g.Expect(m.shown.Connections[m.cursor].Cookie).To(Equal(selected))

	// A filter is typed, corrected, and taken off.
	press(m, "/", ":", "8", "x", "backspace", "0")
	g.Expect(m.draw()).To(ContainSubstring("filter: :80_"))
	press(m, "enter")
	read(m)
	g.Expect(f.asked.Filter).To(Equal(watch.Filter{Port: 80}))
	g.Expect(m.draw()).To(ContainSubstring("filter: port 80"))
	press(m, "esc")
	read(m)
	g.Expect(f.asked.Filter).To(Equal(watch.Filter{}))
	press(m, "/", "p", "i", "d", "enter")
	g.Expect(m.draw()).To(ContainSubstring("pid needs a value"))
	press(m, "esc")
	g.Expect(m.draw()).NotTo(ContainSubstring("pid needs a value"))
	press(m, "/", "q", "esc") // q is no order there
	g.Expect(f.asked.Filter).To(Equal(watch.Filter{}))
}

func TestFreezes(t *testing.T) {
	g := NewWithT(t)
	f := &fixed{reading: sample("web-server")}
	m := show(80, 24, f)
	press(m, "space")
	before := m.draw()
	g.Expect(before).To(ContainSubstring("FROZEN"))
	f.reading = sample("other")
	read(m)
	g.Expect(m.draw()).To(Equal(before))
	press(m, "space")
	g.Expect(m.draw()).To(And(ContainSubstring("other/4711"), Not(ContainSubstring("FROZEN"))))
}

func TestOpens(t *testing.T) {
	g := NewWithT(t)
	f := &fixed{reading: sample("web-server")}
	m := show(80, 24, f)
	press(m, "enter")
	for i := range 5 {
		f.reading.Connections[0].Cwnd, f.reading.Connections[0].Retransmits = uint32(10+i), uint32(120+i%2)
		read(m)
	}
	g.Expect(f.asked.Open).To(BeEquivalentTo(1))
	g.Expect(m.draw()).To(And(ContainSubstring("cwnd, segments          14 ▆▆▇▇██"), ContainSubstring("new retransmits          0 ▁▁█▁█▁"), ContainSubstring("rtt:40000")))
	f.reading = sample("web-server")
	f.reading.Connections = f.reading.Connections[1:]
	read(m)
	g.Expect(m.draw()).To(And(ContainSubstring("It is gone"), ContainSubstring("cwnd, segments          14")))
	press(m, "esc")
	g.Expect(m.draw()).To(ContainSubstring("connections by sick"))
	read(m)
	g.Expect(f.asked.Open).To(BeZero())
	for range 2 * mostPoints { // and what is remembered is bounded
		press(m, "enter")
		m.open.take(&watch.Opened{Connection: watch.Connection{Cookie: m.open.cookie}})
	}
	g.Expect(len(m.open.points)).To(Equal(mostPoints))
}

func TestSaysWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	f := &fixed{err: errors.New("no\x1b[2J leave")}
	m := show(80, 24, f)
	g.Expect(m.draw()).To(ContainSubstring("no?[2J leave"))
	f.err, f.reading = nil, sample("web-server")
	f.reading.Hidden = true
	read(m)
	g.Expect(m.draw()).To(And(ContainSubstring("other users' sockets need root"), Not(ContainSubstring("leave"))))
	m.Update(tea.WindowSizeMsg{Width: 20, Height: 5})
	g.Expect(m.draw()).To(Equal("20x5: too small"))
}

// TestRuns is the program as a whole, but for the terminal: it draws, ends by a key, and ends with its context.
// announced closes a channel when it is read.
type announced struct {
	*fixed
	read chan struct{}
	once sync.Once
}

func (a *announced) Read(q watch.Query) (*watch.Reading, error) {
	defer a.once.Do(func() { close(a.read) })
	return a.fixed.Read(q)
}

func TestRuns(t *testing.T) {
	g := NewWithT(t)
	f := &fixed{reading: sample("web-server")}
	var out bytes.Buffer
	keys, typing := io.Pipe() // not one of os: cancelreader's reader may still look at that when it is closed
	defer typing.Close()
	first := &announced{fixed: f, read: make(chan struct{})}
	go func() {
		<-first.read
		_, _ = io.WriteString(typing, "q")
	}()
	g.Expect(Run(t.Context(), first, Options{In: keys, Out: &out})).To(Succeed())
	g.Expect(out.String()).To(ContainSubstring("\x1b[?1049h"), "the alternate screen")
	g.Expect(f.asked.Listed).To(Equal(listed))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(Run(ctx, f, Options{In: keys, Out: io.Discard})).To(MatchError(context.Canceled))
}

func TestChart(t *testing.T) {
	g := NewWithT(t)
	g.Expect(chart([]float64{0, 1, 50, 100}, 10, blocks)).To(Equal("▁▂▅█"))
	g.Expect(chart([]float64{0, 1, 50, 100}, 2, ascii)).To(Equal("=#"))
	g.Expect(chart([]float64{0, 0}, 10, blocks)).To(Equal("▁▁"))
	g.Expect(chart(nil, 10, blocks)).To(BeEmpty())
	g.Expect(chart([]float64{1}, 0, blocks)).To(BeEmpty())
}

func TestSize(t *testing.T) {
	for want, n := range map[string]float64{"-": 0, "1": 1, "999": 999, "1.0k": 1000, "9.9k": 9900, "10k": 9960, "999k": 999_000, "1.0M": 999_600, "2.5T": 2.5e12, ">1P": 2e15} {
		if got := size(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
}

func TestUTF8(t *testing.T) {
	g := NewWithT(t)
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		t.Setenv(name, "")
	}
	g.Expect(UTF8()).To(BeFalse())
	t.Setenv("LANG", "de_DE.UTF-8")
	g.Expect(UTF8()).To(BeTrue())
	t.Setenv("LC_ALL", "C")
	g.Expect(UTF8()).To(BeFalse())
}
