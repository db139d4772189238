package lineecho

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/internal/serve"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// ended collects sessions.
type ended struct {
	sync.Mutex
	sessions []Session
}

func (e *ended) add(s Session) {
	e.Lock()
	defer e.Unlock()
	e.sessions = append(e.sessions, s)
}

func TestEchoesLines(t *testing.T) {
	g := NewWithT(t)
	var sessions ended
	address, stop := servetest.Start(t, Server{MaxLine: 20, Closed: sessions.add})
	client, err := Dial(t.Context(), address, ClientOptions{MaxLine: 20})
	g.Expect(err).NotTo(HaveOccurred())
	lines := []string{"hello", "", "with blanks and ünï", strings.Repeat("x", 20), "quitter"}
	for _, line := range lines {
		if len(line) > 20 {
			line = line[:20]
		}
		g.Expect(client.Echo(line)).To(Equal(line))
	}
	g.Expect(client.Echo("\r")).To(Equal(""), "CR LF ends a line, too")
	g.Expect(client.Send("a\nb")).To(MatchError(ContainSubstring("line feed")))
	g.Expect(client.Quit()).To(Succeed())
	g.Eventually(func() []Session { sessions.Lock(); defer sessions.Unlock(); return sessions.sessions }, testenv.Patience).Should(HaveLen(1))
	stop()
	g.Expect(sessions.sessions[0].Err).NotTo(HaveOccurred())
	g.Expect(sessions.sessions[0].Lines).To(Equal(len(lines) + 1))
}

// Whoever breaks the rules is told, and nobody else notices.
func TestTellsTheClientWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		fin  bool
		want error
	}{
		"longer than the limit":               {strings.Repeat("x", 21) + "\n", false, ErrTooLong},
		"longer than the limit, with no end":  {strings.Repeat("x", 100_000), false, ErrTooLong},
		"longer by its CR only":               {strings.Repeat("x", 20) + "\r\r\n", false, ErrTooLong},
		"with a NUL":                          {"a\x00b\n", false, ErrNUL},
		"without an end, and then the stream": {"abc", true, ErrUnfinished},
		"without an end, and then nothing":    {"abc", false, ErrTimeout},
		"nothing":                             {"", false, ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var sessions ended
			timeout := testenv.Patience
			if errors.Is(c.want, ErrTimeout) {
				timeout = 300 * time.Millisecond
			}
			address, stop := servetest.Start(t, Server{MaxLine: 20, Timeout: timeout, Closed: sessions.add})
			other, err := Dial(t.Context(), address, ClientOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			if timeout == testenv.Patience { // else it is silent for too long as well
				g.Expect(other.Echo("before")).To(Equal("before"))
			}

			conn, err := net.Dial("tcp", address)
			g.Expect(err).NotTo(HaveOccurred())
			defer conn.Close()
			_, err = io.WriteString(conn, c.sent)
			g.Expect(err).NotTo(HaveOccurred())
			if c.fin {
				g.Expect(conn.(*net.TCPConn).CloseWrite()).To(Succeed())
			}
			if timeout == testenv.Patience {
				g.Expect(other.Echo("meanwhile")).To(Equal("meanwhile"))
				g.Expect(other.Close()).To(Succeed())
			}
			said, err := io.ReadAll(conn)
			g.Expect(err).NotTo(HaveOccurred(), "no reset")
			g.Expect(string(said)).To(HavePrefix(complaint + c.want.Error()))
			conn.Close()
			other.Close()
			stop()
			count := 0
			for _, s := range sessions.sessions {
				if s.Err != nil && s.Remote.String() == conn.LocalAddr().String() {
					g.Expect(s.Err).To(MatchError(c.want))
					count++
				}
			}
			g.Expect(count).To(Equal(1))
		})
	}
}

// A client that sends a byte at a time has no more time than others.
func TestTimeoutIsForTheWholeLine(t *testing.T) {
	g := NewWithT(t)
	address, _ := servetest.Start(t, Server{Timeout: 200 * time.Millisecond})
	began := time.Now()
	conn, err := net.Dial("tcp", address)
	g.Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	go func() {
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	said, err := newReader(conn, 1000).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(said).To(HavePrefix(complaint + ErrTimeout.Error()))
	g.Expect(time.Since(began)).To(And(BeNumerically(">=", 200*time.Millisecond), BeNumerically("<", time.Minute))) // the client goes on
}

func TestClientSeesWhatTheServerSays(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"an error":       {"error: no\n", "the server refuses the line: no"},
		"no answer":      {"", "receive an answer: unexpected EOF"},
		"half of one":    {"Echo: a", "receive an answer: line without an end"},
		"something else": {"Hello\n", `receive an answer: "Hello" does not begin with "Echo: "`},
		"too much":       {strings.Repeat("x", 100), "receive an answer: line too long: more than 16 bytes"},
		"a NUL":          {"Echo: \x00\n", "receive an answer: line has a NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := servetest.Pair(t)
			go func() {
				_, _ = io.ReadFull(far, make([]byte, 2))
				_, _ = io.WriteString(far, c.said)
				far.Close()
			}()
			client := newClient(serve.NewConn(t.Context(), near), ClientOptions{MaxLine: 10})
			defer client.Close()
			_, err := client.Echo("a")
			NewWithT(t).Expect(err).To(MatchError(c.want))
			var refused *RefusedError
			NewWithT(t).Expect(errors.As(err, &refused)).To(Equal(name == "an error"))
		})
	}
}

func TestClientEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(serve.NewConn(ctx, near), ClientOptions{})
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := client.Echo("a")
	g.Expect(err).To(MatchError(context.Canceled))
	client.Close()
}

func TestPlainEcho(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789\x00\n"), 1_000_000) // 12 MB: more than the buffers of two sockets hold
	for name, c := range map[string]struct {
		echo func(context.Context, net.Conn, []byte, time.Duration) ([]byte, error)
		want string
	}{
		"reads while it writes":                     {PlainEcho, ""},
		"waits for itself, if it writes all before": {WriteFirst, "before the first read: write: "},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			address, _ := servetest.Start(t, Server{Plain: true})
			conn, err := net.Dial("tcp", address)
			g.Expect(err).NotTo(HaveOccurred())
			echoed, err := c.echo(t.Context(), conn, data, 2*time.Second)
			if c.want != "" {
				g.Expect(err).To(MatchError(And(ContainSubstring(c.want), ContainSubstring("timeout"))))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.Equal(echoed, data)).To(BeTrue())
		})
	}
}

// The wrong server is right where each line is a segment, and wrong where two come together or one comes in two.
func TestNaiveServerIsWrong(t *testing.T) {
	g := NewWithT(t)
	address, _ := servetest.Start(t, Naive{})
	conn, err := net.Dial("tcp", address)
	g.Expect(err).NotTo(HaveOccurred())
	client := NewClient(t.Context(), conn, ClientOptions{Timeout: 5 * time.Second})
	defer client.Close()
	g.Expect(client.Echo("one")).To(Equal("one"))
	_, err = io.WriteString(conn, "tw")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.Receive()).To(Equal("tw"))
	_, err = io.WriteString(conn, "o\nthree\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(client.Receive()).To(Equal("o"))
}

// FuzzReadLine compares with lines as package strings cuts them, from a stream that comes a byte at a time.
func FuzzReadLine(f *testing.F) {
	for _, seed := range []string{"", "\n", "a\r\nb\n", "\r\r\n", "a\x00\n", "no end", strings.Repeat("x", 21) + "\n", strings.Repeat("x", 50)} {
		f.Add([]byte(seed), 20)
	}
	f.Fuzz(func(t *testing.T, stream []byte, most int) {
		most &= 0xff
		r := newReader(iotest.OneByteReader(bytes.NewReader(stream)), most)
		for rest := string(stream); ; {
			got, err := readLine(r, most)
			line, after, found := strings.Cut(rest, "\n")
			line = strings.TrimSuffix(line, "\r")
			switch {
			case err == nil:
				if !found || string(got) != line || len(got) > most || bytes.IndexByte(got, 0) >= 0 {
					t.Fatalf("%q: got %q", rest, got)
				}
				rest = after
				continue
			case errors.Is(err, ErrTooLong):
				if len(line) <= most && (found || len(line) < r.Size()-1) {
					t.Fatalf("%q: %v", rest, err)
				}
			case errors.Is(err, ErrNUL):
				if !strings.Contains(line, "\x00") {
					t.Fatalf("%q: %v", rest, err)
				}
			case errors.Is(err, ErrUnfinished):
				if found || rest == "" {
					t.Fatalf("%q: %v", rest, err)
				}
			case errors.Is(err, io.EOF):
				if rest != "" {
					t.Fatalf("%q: %v", rest, err)
				}
			default:
				t.Fatal(err)
			}
			return
		}
	})
}
