package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

func TestTail(t *testing.T) {
	w := tail{max: 10}
	for _, s := range []string{"0123", "4567", "89", "ab", strings.Repeat("x", 5)} {
		w.Write([]byte(s))
	}
	got := string(w.Bytes())
	const all = "0123456789abxxxxx"
	if !strings.HasSuffix(all, got) || len(got) < 5 || len(got) > 10 || int(w.Dropped())+len(got) != len(all) {
		t.Errorf("kept %q, dropped %d", got, w.Dropped())
	}
}

func TestLastLines(t *testing.T) {
	for _, x := range []struct {
		in   string
		n    int
		want string
	}{{"", 2, ""}, {"a", 2, "a"}, {"a\nb\n", 2, "a\nb"}, {"a\nb\nc\n\n", 2, "b\nc"}, {"\na", 1, "a"}} {
		if got := lastLines([]byte(x.in), x.n); got != x.want {
			t.Errorf("last %d of %q: %q, expected %q", x.n, x.in, got, x.want)
		}
	}
}

// The stacks behind a panic are many; what it says comes first.
func TestExcerpt(t *testing.T) {
	stacks := strings.Repeat("goroutine\n", 50)
	for _, x := range []struct {
		name, in string
		want     string
	}{
		{"no panic", "a\nb\nc\n", "b\nc"},
		{"panic", "a\npanic: x\n" + stacks, "panic: x\ngoroutine"},
		{"at the start", "fatal error: x\n" + stacks, "fatal error: x\ngoroutine"},
		{"the last of two", "panic: x\n" + stacks + "panic: y\n" + stacks, "panic: y\ngoroutine"},
		{"near the end", "a\npanic: x\n", "a\npanic: x"},
		{"in mid-line", "no panic: x\n" + stacks + "end\n", "goroutine\nend"},
	} {
		if got := excerpt([]byte(x.in), 2); got != x.want {
			t.Errorf("%s: %q, expected %q", x.name, got, x.want)
		}
	}
}

func TestLineScanner(t *testing.T) {
	for _, x := range []struct {
		name, in string
		lines    []string
		err      error
	}{
		{"nothing", "", nil, nil},
		{"two lines", "a\nb\n", []string{"a", "b"}, nil},
		{"empty line", "\n", []string{""}, nil},
		{"no newline at the end", "a\nb", []string{"a"}, io.ErrUnexpectedEOF},
		{"long line", strings.Repeat("x", 64) + "\n", nil, bufio.ErrTooLong},
		{"longest line", strings.Repeat("x", 63) + "\n", []string{strings.Repeat("x", 63)}, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(x.in), iotest.OneByteReader(strings.NewReader(x.in))} {
				s := lineScanner(r, 64)
				var lines []string
				for s.Scan() {
					lines = append(lines, s.Text())
				}
				if !slices.Equal(lines, x.lines) || !errors.Is(s.Err(), x.err) {
					t.Errorf("%q, %v", lines, s.Err())
				}
			}
		})
	}
}

func TestErrnoByName(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ECONNREFUSED, unix.ETIMEDOUT, unix.EPERM, unix.EHWPOISON} {
		if got := errnoByName(unix.ErrnoName(errno)); got != errno {
			t.Errorf("%v: %v", errno, got)
		}
	}
	for _, name := range []string{"", "ENOSUCH"} {
		if got := errnoByName(name); got != 0 {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// The longest result has to fit into a line.
func TestLongestResultFits(t *testing.T) {
	info := tcpinfo.Parse(bytes.Repeat([]byte{0xff}, 1<<10)) // every field is there, and the greatest number
	addr := netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	e := &PeerError{Op: "setsockopt TCP_CONGESTION", Addr: addr.String(), Errno: "EADDRNOTAVAIL", Message: strings.Repeat("x", 100)}
	c := Connection{Local: addr, Remote: addr, ConnectTime: time.Hour, Sent: 1 << 62, Received: 1 << 62, Elapsed: time.Hour, Goodput: 1.0 / 3,
		Congestion: "0123456789abcde", MSS: 65535, SendBuffer: 1 << 30, ReceiveBuffer: 1 << 30, TCPInfo: info, Err: e}
	connections := slices.Repeat([]Connection{c}, MaxConnections)
	o := Outcome{Step: "set IP_BIND_ADDRESS_NO_PORT 1000000", Start: time.Hour, Elapsed: time.Hour, Bytes: 1 << 62, Err: e}
	connections[0].Steps = slices.Repeat([]Outcome{o}, MaxOutcomes-MaxInspects)
	o.TCPInfo = info
	connections[0].Steps = append(connections[0].Steps, slices.Repeat([]Outcome{o}, MaxInspects)...)
	b, err := json.Marshal(message{Type: typeResult, Result: &Result{Err: e, Connections: connections}})
	if err != nil || len(b) >= maxMessageLine {
		t.Errorf("%d bytes, allowed are %d; %v", len(b), maxMessageLine, err)
	}
}

func TestConfigsSurviveTheWay(t *testing.T) {
	listen, connect := netip.MustParseAddrPort("[::1]:0"), netip.MustParseAddrPort("10.0.0.1:5001")
	for _, p := range []Program{
		BulkServer{Listen: listen, Connections: 2, Backlog: 3, Socket: Socket{Congestion: "bbr", SendBuffer: 4, ReceiveBuffer: 5, MSS: 600, NoDelay: true}, ProgressInterval: time.Second},
		BulkClient{Connect: connect, AwaitBegin: true, Duration: 1, Socket: Socket{Congestion: "bbr", SendBuffer: 4, ReceiveBuffer: 5, MSS: 600, NoDelay: true}, ProgressInterval: time.Second},
		BulkClient{Connect: connect, Bytes: 1},
		EchoServer{Listen: listen, Connections: 2, Backlog: 3, Socket: Socket{Congestion: "bbr", SendBuffer: 4, ReceiveBuffer: 5, MSS: 600, NoDelay: true}},
		EchoClient{Connect: connect, AwaitBegin: true, Requests: 1, Size: 2, Interval: 3, Socket: Socket{Congestion: "bbr", SendBuffer: 4, ReceiveBuffer: 5, MSS: 600, NoDelay: true}},
		Accept{Listen: listen, Backlog: 1, Count: 2, Hold: 3, Socket: Socket{SendBuffer: 4, ReceiveBuffer: 5, MSS: 600}},
		Dial{Connect: connect, AwaitBegin: true, Count: 1, Parallel: true, Timeout: 2, Hold: UntilStopped, Socket: Socket{SYNRetries: 3, SendBuffer: 4, ReceiveBuffer: 5, MSS: 600}},
		Script{Connect: connect, Local: netip.MustParseAddrPort("10.0.0.2:7"), AwaitBegin: true, Connections: 2, Together: true,
			Timeout: time.Second, TryConnect: true, Socket: Socket{KeepAlive: true, Linger: new(time.Duration(0)), ReuseAddr: new(false)},
			Steps: Steps(Write(1), Read(2), ReadSome(), ReadAll(), ReadSlowly(3), Sleep(UntilStopped), Await(), CloseWrite(), Set("TCP_CORK", 0),
				Inspect(), Try(Repeat(4, Write(5))), Close())},
		Script{Listen: listen, Backlog: 3, Socket: Socket{QuickACK: new(true), FastOpenQueue: 4}, Steps: Steps(Abort())},
	} {
		b, err := encodeConfig(p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := newRunner(p.program(), b)
		if err != nil || !reflect.DeepEqual(back, p) {
			t.Errorf("%s: %+v, %v, expected %+v", b, back, err, p)
		}
	}
}

func TestRunByHand(t *testing.T) {
	ctx := testenv.Context(t)
	in, commands := io.Pipe()
	defer commands.Close()
	messages, out := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Run(ctx, "accept", []byte(`{"listen":"127.0.0.1:0","never":true}`), in, out)
		out.Close()
	}()
	lines := lineScanner(messages, maxMessageLine)
	next := func() message {
		t.Helper()
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		m, err := parseMessage(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	addr := next().Ready.Addr

	var b bytes.Buffer
	if err := Run(ctx, "dial", []byte(`{"connect":"`+addr.String()+`"}`), nil, &b); err != nil {
		t.Error(err)
	}
	if s := b.String(); strings.Count(s, "\n") != 3 || !strings.Contains(s, `"type":"started"`) || !strings.Contains(s, `"total_retrans":0`) {
		t.Error(s)
	}
	io.WriteString(commands, `{"type":"stop"}`+"\n")
	if r := next().Result; r == nil || r.Accept.Queued != 1 || r.Peer != "accept" {
		t.Errorf("%+v", r)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRunReturnsErrors(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, x := range []struct {
		name, program, config string
		ctx                   context.Context
		in                    io.Reader
		part                  string
	}{
		{"unknown program", "jump", `{}`, nil, nil, `unknown program "jump", known are ["bulk-server" "bulk-client"`},
		{"no JSON", "dial", `{`, nil, nil, "dial: config: "},
		{"refused configuration", "dial", `{}`, nil, nil, "dial field Connect is not set"},
		{"refused option", "bulk-server", `{"listen":"127.0.0.1:0","congestion":"warp"}`, nil, nil, "setsockopt TCP_CONGESTION: ENOENT"},
		{"context", "bulk-client", `{"connect":"127.0.0.1:1","bytes":1,"await_begin":true}`, over, nil, "begin: ECANCELED"},
		{"refused step", "script", `{"connect":"127.0.0.1:1","steps":[{"do":"jump"}]}`, nil, nil, `script field Steps[0].Do: "jump" is not allowed`},
		{"bad command", "accept", `{"listen":"127.0.0.1:0","never":true}`, nil, strings.NewReader("jump\n"), "commands: invalid character"},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := x.ctx
			if ctx == nil {
				ctx = context.Background()
			}
			err := Run(ctx, x.program, []byte(x.config), x.in, io.Discard)
			if err == nil || !strings.Contains(err.Error(), x.part) {
				t.Errorf("%v, expected %s", err, x.part)
			}
		})
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		`{"type":"ready","version":1,"ready":{"addr":"127.0.0.1:5001"}}`,
		`{"type":"started","started":{"local":"[::1]:1","remote":"[fe80::1%2]:2"}}`,
		`{"type":"progress","progress":{"elapsed_ns":1,"bytes":2}}`,
		`{"type":"waiting","waiting":{"number":1}}`,
		`{"type":"error","version":1,"error":{"op":"connect","errno":"ECONNREFUSED"}}`,
		`{"type":"result","result":{"peer":"p","program":"dial","connections":[{"connect_ns":1,"sent":0,"received":0,"elapsed_ns":0,"goodput_bps":0,"nodelay":false,"tcp_info":{"state":7,"snd_wscale":9,"total_retrans":3}}]}}`,
		`{"type":"ready","version":2}`, `null`, `{"type":"result","result":null}`, `{}{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseMessage(line)
		if err != nil {
			return
		}
		// What is taken can be written, and is taken again as the same.
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseMessage(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if b2, err := json.Marshal(again); err != nil || !bytes.Equal(b, b2) {
			t.Fatalf("%s, then %s; %v", b, b2, err)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		`{"type":"config","version":1,"name":"p","program":"dial","config":{"connect":"127.0.0.1:1","count":3}}`,
		`{"type":"config","version":1,"name":"p","program":"bulk-client","config":{"connect":"[::1]:1","bytes":3}}`,
		`{"type":"config","version":1,"name":"p","program":"script","config":{"listen":"[::1]:1","steps":[{"do":"repeat","times":2,"steps":[{"do":"write","bytes":3,"try":true}]}]}}`,
		`{"type":"start"}`, `{"type":"stop"}`, `{"type":"continue"}`, `{"type":"config","version":2}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := parseCommand(line)
		if err != nil || c.Type != typeConfig {
			return
		}
		if p, err := newRunner(c.Program, c.Config); err == nil && p.Validate() != nil {
			t.Fatalf("%s: taken although refused", line)
		}
	})
}

func FuzzLineScanner(f *testing.F) {
	f.Add([]byte("a\n\nb"), 16)
	f.Add(bytes.Repeat([]byte("x"), 100), 64)
	f.Fuzz(func(t *testing.T, data []byte, max int) {
		if max < 1 || max > 1<<16 {
			return
		}
		s := lineScanner(bytes.NewReader(data), max)
		var lines []byte
		for s.Scan() {
			if len(s.Bytes()) >= max {
				t.Fatalf("a line of %d bytes, allowed are %d", len(s.Bytes())+1, max)
			}
			lines = append(append(lines, s.Bytes()...), '\n')
		}
		if !bytes.HasPrefix(data, lines) || s.Err() == nil && len(lines) != len(data) {
			t.Fatalf("%q from %q, %v", lines, data, s.Err())
		}
	})
}

// A program that is told to go on and then to stop has gone on, however late it looks; after a stop nothing goes on.
func TestOrdersKeepTheirOrder(t *testing.T) {
	const tries = 100 // a select of what is ready takes either with the same probability
	for _, x := range []struct {
		name   string
		orders []string
		begins bool
	}{
		{"start, stop", []string{typeStart, typeContinue, typeStop}, true},
		{"stop, start", []string{typeStop, typeStart, typeContinue}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			for range tries {
				s := newSession(t.Context(), &lineWriter{w: io.Discard, max: maxMessageLine})
				var lines []string
				for _, order := range x.orders {
					lines = append(lines, `{"type":"`+order+`"}`+"\n")
				}
				scanner := lineScanner(strings.NewReader(strings.Join(lines, "")), maxCommandLine)
				if err := s.commands(scanner.Scan, scanner.Bytes, scanner.Err); err != nil {
					t.Fatal(err)
				}
				if began, wentOn := s.awaitBegin(true) == nil, s.awaitContinue() == nil; began != x.begins || wentOn != x.begins {
					t.Fatalf("began: %v, went on: %v; expected of both: %v", began, wentOn, x.begins)
				}
			}
		})
	}
}
