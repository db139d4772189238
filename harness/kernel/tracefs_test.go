package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorded is what a kernel recorded: testdata/linux-VERSION-events is from its
// tracefs, and the pages are of the first recording in it.
func recorded(t testing.TB, version string) *Events {
	t.Helper()
	dir := "linux-" + version + "-events"
	e := &Events{formats: make(map[uint16]*format), kinds: make(map[uint16]EventKind)}
	read := func(name string) *bytes.Reader {
		b, err := os.ReadFile("testdata/" + dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.NewReader(b)
	}
	var err error
	if e.layout, err = parseLayout(read("header_page")); err != nil {
		t.Fatal(err)
	}
	for _, kind := range EventKinds() {
		f, err := parseFormat(read(string(kind) + "/format"))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.need(tracepoints[kind].fields...); err != nil {
			t.Fatal(err)
		}
		e.formats[f.id], e.kinds[f.id] = f, kind
	}
	e.buffers = []*buffer{{dir: dir, pages: readHex(t, dir+"/pages")}}
	return e
}

func decodeAll(t testing.TB, e *Events) []Event {
	t.Helper()
	var events []Event
	var err error
	for _, page := range e.buffers[0].pages {
		if events, err = e.decode(page, events); err != nil {
			t.Fatal(err)
		}
	}
	relate(events)
	return events
}

func TestParseFormat(t *testing.T) {
	const text = "name: x\nID: 1297\nformat:\n" +
		"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n" +
		"\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n" +
		"\tfield:enum skb_drop_reason reason;\toffset:16;\tsize:4;\tsigned:1;\n" +
		"\tfield:__u8 saddr[sizeof(struct sockaddr_in6)];\toffset:20;\tsize:28;\tsigned:0;\n" +
		"\tfield:int old;\toffset:48;\tsize:4;\n\n" +
		`print fmt: "%s %s", __print_symbolic(REC->reason, { 2, "A" }, { 0x10, "B_1" }, { -1, "C" }, { D, "D" }), REC->old` + "\n"
	f, err := parseFormat(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if f.name != "x" || f.id != 1297 || len(f.fields) != 5 {
		t.Errorf("format %+v", f)
	}
	for name, want := range map[string]field{
		"common_type": {0, 2, false}, "skaddr": {8, 8, false}, "reason": {16, 4, true}, "saddr": {20, 28, false}, "old": {48, 4, false},
	} {
		if f.fields[name] != want {
			t.Errorf("%s is at %+v, want %+v", name, f.fields[name], want)
		}
	}
	if got := fmt.Sprint(f.symbols); got != "map[reason:map[-1:C 2:A 16:B_1]]" {
		t.Error(got)
	}
	r := record{f, make([]byte, 52)}
	for value, want := range map[int32]string{2: "A", 16: "B_1", -1: "C", 5: "5"} {
		binary.LittleEndian.PutUint32(r.b[16:], uint32(value))
		if got := r.symbol("reason"); got != want {
			t.Errorf("%d is %q, want %q", value, got, want)
		}
	}
	if r.symbol("nothing") != "" || r.uint("nothing") != 0 || r.uint("saddr") != 0 {
		t.Error("a field that is not there, or is no number, has a value")
	}
	if err := f.need("old", "new"); err == nil || !strings.Contains(err.Error(), "event x has no field new") {
		t.Error(err)
	}
}

func TestParseFormatErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "no fields"},
		{"ID", "ID: x\n", "line 1: ID"},
		{"large ID", "ID: 65536\n", "line 1: ID"},
		{"field", "\n\tfield:int x\n", "line 2"},
		{"offset", "\tfield:int x;\toffset:65536;\tsize:4;\tsigned:1;\n", "offset of x"},
		{"size", "\tfield:int x;\toffset:0;\tsize:9999999;\tsigned:1;\n", "size of x"},
		{"twice", strings.Repeat("\tfield:int x;\toffset:0;\tsize:4;\tsigned:1;\n", 2), "x: is there twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseFormat(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := parseLayout(strings.NewReader("\tfield:u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n")); err == nil {
		t.Error("a page without data is taken")
	}
	bad := "\tfield:u64 timestamp;\toffset:0;\tsize:4;\tsigned:0;\n\tfield:local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\tfield:char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
	if _, err := parseLayout(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "want 8 bytes of time") {
		t.Error(err)
	}
}

// page builds a page of the ring buffer.
func page(at uint64, flags uint32, words ...uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, at)
	b = binary.LittleEndian.AppendUint32(b, uint32(4*len(words))|flags)
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

var smallPage = layout{commit: field{8, 8, true}, data: field{16, 4080, false}}

func TestParsePage(t *testing.T) {
	const missed, stored = 1 << 31, 1 << 30
	word := func(kind, delta uint32) uint32 { return kind | delta<<5 }
	for _, tt := range []struct {
		name string
		page []byte
		want string // time and data of each event, or the error
	}{
		{"nothing", page(100, 0), ""},
		{"one", page(100, 0, word(2, 5), 0xa, 0xb), "105:0a0000000b000000 "},
		{"two", page(100, 0, word(1, 0), 0xa, word(1, 7), 0xb), "100:0a000000 107:0b000000 "},
		{"long", page(100, 0, word(0, 1), 12, 0xa, 0xb), "101:0a0000000b000000 "},
		{"odd length", page(100, 0, word(0, 1), 7, 0xa), "101:0a000000 "},
		{"time extended", page(100, 0, word(typeTimeExtend, 3), 2, word(1, 1), 0xa), fmt.Sprintf("%d:0a000000 ", 100+(2<<27+3)+1)},
		{"time stamp", page(1<<63|100, 0, word(typeTimeStamp, 3), 2, word(1, 1), 0xa), fmt.Sprintf("%d:0a000000 ", uint64(1)<<63+(2<<27+3)+1)},
		{"end", page(100, 0, word(1, 1), 0xa, word(typePadding, 0), 0xb, word(1, 1), 0xc), "101:0a000000 "},
		{"taken back", page(100, 0, word(typePadding, 4), 8, 0xb, word(1, 1), 0xc), "105:0c000000 "},
		{"taken back at once", page(100, 0, word(typePadding, 1), 8, 0xb, word(1, 1), 0xc), "101:0c000000 "},
		{"others are missing", page(100, missed|stored, word(1, 1), 0xa), "101:0a000000 "},
		{"cut off", page(100, 0, word(1, 1), 0xa)[:16], "page says that 8 bytes are used: it has 0"},
		{"no header", page(100, 0)[:15], "page of 15 bytes: want at least 16"},
		{"event cut off", page(100, 0, word(2, 1), 0xa), "record of 8 bytes, with 4 left"},
		{"length cut off", page(100, 0, word(0, 1)), "record of type 0 is cut off"},
		{"time cut off", page(100, 0, word(typeTimeExtend, 1)), "record of type 30 is cut off"},
		{"short length", page(100, 0, word(0, 1), 3), "record of length 3"},
		{"large length", page(100, 0, word(0, 1), 0xffffffff), "record of"},
		{"large padding", page(100, 0, word(typePadding, 1), 0xffffffff), "record of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			err := parsePage(smallPage, tt.page, func(at uint64, data []byte) error {
				fmt.Fprintf(&got, "%d:%x ", at, data)
				return nil
			})
			if err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) || err == nil && got.String() != tt.want {
				t.Errorf("%q, %v; want %q", got.String(), err, tt.want)
			}
		})
	}
}

func FuzzParsePage(f *testing.F) {
	for _, version := range []string{"6.1", "6.12"} {
		for _, p := range recorded(f, version).buffers[0].pages {
			f.Add(p)
		}
	}
	f.Add(page(1, 0, typePadding|1<<5, 8, 0, typeTimeExtend, 1, typeTimeStamp, 1, 0, 8, 1))
	e := recorded(f, "6.12")
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := e.decode(b, nil)
		if err != nil {
			return
		}
		relate(events)
		for _, x := range events {
			if x.Kind == "" || (x.Probe != nil) != (x.Kind == Probe) {
				t.Errorf("event %+v", x)
			}
			statesOf(events, x.Local, x.Remote)
		}
	})
}

func FuzzParseFormat(f *testing.F) {
	for _, version := range []string{"6.1", "6.12"} {
		for _, name := range []string{"header_page", string(StateChange) + "/format", string(Drop) + "/format", string(ResetSent) + "/format"} {
			b, err := os.ReadFile("testdata/linux-" + version + "-events/" + name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, err := parseFormat(strings.NewReader(text))
		if err == nil {
			// Whatever the fields are, a record has values for them.
			r := record{x, make([]byte, 100)}
			for name := range x.fields {
				r.uint(name)
				r.symbol(name)
				r.addrPort(name, name)
			}
		}
		if l, err := parseLayout(strings.NewReader(text)); err == nil && parsePage(l, make([]byte, l.size()), nil) != nil {
			t.Error("a page of zeros is no empty page")
		}
	})
}

func TestParseStats(t *testing.T) {
	const text = "entries: 5\noverrun: 10\ncommit overrun: 200\nbytes: 7\noldest event ts:     0.000000\nnow ts:     1.465148\ndropped events: 3000\nread events: 0\n"
	if stats, err := parseStats(strings.NewReader(text)); err != nil || stats != (bufferStats{unread: 5, read: 0, lost: 3210}) {
		t.Errorf("%+v, %v", stats, err)
	}
	if _, err := parseStats(strings.NewReader("overrun: many\n")); err == nil {
		t.Error("many is a number")
	}
}

// What was recorded: three connections over IPv6 on a link that lost packets, one
// that was closed at both ends, one half closed, one reset, one refused.
func TestDecodeFixtures(t *testing.T) {
	for _, tt := range []struct {
		version                string
		counts                 string
		closed, reset, refused string // clients' ports
		resets                 []string
		drops                  []string
	}{
		{
			"6.1",
			"map[skb/kfree_skb:6 sock/inet_sock_set_state:42 tcp/tcp_probe:58 tcp/tcp_receive_reset:2 tcp/tcp_retransmit_skb:1 tcp/tcp_send_reset:1]",
			"56520", "56546", "34578",
			// What answers for want of a socket is not there before Linux 6.10.
			[]string{"10.0.1.1:56546 10.0.2.2:4000 UNCONN "},
			[]string{"QDISC_DROP", "QDISC_DROP", "TCP_RESET", "NO_SOCKET", "NO_SOCKET", "NOT_SPECIFIED"},
		},
		{
			"6.12",
			"map[skb/kfree_skb:11 sock/inet_sock_set_state:42 tcp/tcp_probe:59 tcp/tcp_receive_reset:2 tcp/tcp_retransmit_skb:5 tcp/tcp_retransmit_synack:1 tcp/tcp_send_reset:3]",
			"45894", "45922", "53278",
			[]string{
				"10.0.1.1:45922 10.0.2.2:4000 UNCONN TCP_STATE",
				"10.0.1.1:45922 10.0.2.2:4000 state 0 NO_SOCKET",
				"10.0.2.2:4001 10.0.1.1:53278 state 0 NO_SOCKET",
			},
			[]string{
				"QDISC_DROP", "QDISC_DROP", "QDISC_DROP", "TCP_INVALID_SYN [fd00:1::1]:38002 [fd00:2::2]:4000", "QDISC_DROP", "QDISC_DROP", "QDISC_DROP",
				"NO_SOCKET 10.0.1.1:45922 10.0.2.2:4000", "TCP_RESET 10.0.2.2:4000 0.0.0.0:0", "NO_SOCKET 10.0.2.2:4001 10.0.1.1:53278", "NOT_SPECIFIED",
			},
		},
	} {
		t.Run(tt.version, func(t *testing.T) {
			events := decodeAll(t, recorded(t, tt.version))
			counts := make(map[EventKind]int)
			var resets, drops []string
			for _, x := range events {
				counts[x.Kind]++
				switch x.Kind {
				case ResetSent:
					resets = append(resets, fmt.Sprintf("%v %v %v %s", x.Local, x.Remote, x.State, x.Reason))
				case Drop:
					line := x.Reason
					if x.Local.IsValid() {
						line += fmt.Sprintf(" %v %v", x.Local, x.Remote)
					}
					drops = append(drops, line)
				case Probe:
					p := x.Probe
					if p.SndCwnd != 10 && x.Local.Port() == 4000 || p.SRTT < 1000 && x.Local.Addr().Is6() || p.SndNxt-p.SndUna > p.SndWnd || x.Cookie == 0 {
						t.Errorf("probe %+v of %v", *p, x.Local)
					}
				case Retransmit:
					if x.State != Established && x.State != SynSent || x.Err != 0 || x.Socket == 0 {
						t.Errorf("retransmission %+v", x)
					}
				}
			}
			if got := fmt.Sprint(counts); got != tt.counts {
				t.Errorf("events %s", got)
			}
			if !slices.Equal(resets, tt.resets) {
				t.Errorf("resets %q", resets)
			}
			if !slices.Equal(drops, tt.drops) {
				t.Errorf("drops %q", drops)
			}
			if !slices.IsSortedFunc(events, func(a, b Event) int { return int(a.At - b.At) }) {
				t.Error("times are not in order")
			}
			server, other := netip.MustParseAddrPort("10.0.2.2:4000"), netip.MustParseAddrPort("10.0.2.2:4001")
			client := func(port string) netip.AddrPort { return netip.MustParseAddrPort("10.0.1.1:" + port) }
			for _, c := range []struct {
				local, remote netip.AddrPort
				want          string
			}{
				{client(tt.closed), server, "[SYN-SENT ESTAB FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT]"},
				{server, client(tt.closed), "[SYN-RECV ESTAB CLOSE-WAIT LAST-ACK UNCONN]"},
				{client(tt.reset), server, "[SYN-SENT ESTAB UNCONN]"},
				{server, client(tt.reset), "[SYN-RECV ESTAB UNCONN]"},
				{client(tt.refused), other, "[SYN-SENT UNCONN]"},
				{other, client(tt.refused), "[]"},
			} {
				if got := fmt.Sprint(statesOf(events, c.local, c.remote)); got != c.want {
					t.Errorf("%v to %v: states %s, want %s", c.local, c.remote, got, c.want)
				}
			}
		})
	}
}

// A reset does not count against the next connection between the same addresses.
func TestStatesOfPortsUsedAgain(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.1.1:1"), netip.MustParseAddrPort("10.0.2.2:2")
	change := func(from, to State) Event {
		return Event{Kind: StateChange, Local: a, Remote: b, Old: from, New: to}
	}
	events := []Event{
		change(Close, SynSent), change(SynSent, Established), change(Established, FinWait1), change(FinWait1, FinWait2),
		{Kind: ResetReceived, Local: a, Remote: b}, change(FinWait2, Close),
		{Kind: StateChange, Local: b, Remote: a, Old: Close, New: SynSent},
		change(Close, SynSent), change(SynSent, Established), change(Established, FinWait1), change(FinWait1, Closing), change(Closing, Close),
	}
	want := []State{SynSent, Established, FinWait1, FinWait2, Close, SynSent, Established, FinWait1, Closing, TimeWait}
	if got := statesOf(events, a, b); !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
}

// The kernel enters SYN-SENT before it chooses a port, and may find none.
func TestRelateFillsInThePort(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.1.1:0"), netip.MustParseAddrPort("10.0.2.2:2")
	bound := netip.AddrPortFrom(a.Addr(), 1)
	events := []Event{
		{Kind: StateChange, Socket: 5, Local: a, Remote: b, Old: Close, New: SynSent},
		{Kind: StateChange, Socket: 6, Local: a, Remote: b, Old: Close, New: SynSent},
		{Kind: Retransmit, Socket: 5, Local: bound, Remote: b},
		{Kind: StateChange, Socket: 6, Local: a, Remote: b, Old: SynSent, New: Close},
	}
	relate(events)
	if events[0].Local != bound || events[1].Local != a {
		t.Errorf("%v and %v", events[0].Local, events[1].Local)
	}
}
