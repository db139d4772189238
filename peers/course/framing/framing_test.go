package framing

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/internal/serve"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// A slicer is a stream that arrives in slices: after byte i there is a boundary where bit i of cuts is set.
type slicer struct {
	stream []byte
	at     int
	cuts   uint64
}

func (s *slicer) Read(p []byte) (int, error) {
	if s.at == len(s.stream) {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && s.at < len(s.stream) {
		p[n] = s.stream[s.at]
		n++
		s.at++
		if s.cuts>>(s.at-1)&1 == 1 {
			break
		}
	}
	return n, nil
}

// the three framings, each with messages that fit it.
var framings = map[string]struct {
	framing  Framing
	messages []string
}{
	"fixed":     {Fixed{Length: 5}, []string{"abcde", "\x00\x00\x00\x00\x00", "fghij"}},
	"delimited": {Delimited{Delimiter: '\n', Max: 7}, []string{"a", "bcd", "efghijk", "\x00"}},
	"prefixed":  {Prefixed{Max: 3}, []string{"a", "\x00\x00", "b"}},
}

func streamOf(t testing.TB, framing Framing, messages []string) (stream []byte) {
	t.Helper()
	for _, m := range messages {
		var err error
		if stream, err = framing.Append(stream, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// readAll reads messages until there is an error.
func readAll(framing Framing, stream *bufio.Reader) (messages []string, err error) {
	var buffer []byte
	for {
		message, err := framing.Read(stream, buffer)
		if err != nil {
			return messages, err
		}
		messages, buffer = append(messages, string(message)), message
	}
}

// All ways to slice a stream, each of which is a possible network, give the same messages; and those to slice a part of it, wherever
// it is cut off, the whole messages in that part.
func TestMessagesAreTheSameInAllSlices(t *testing.T) {
	for name, f := range framings {
		t.Run(name, func(t *testing.T) {
			stream := streamOf(t, f.framing, f.messages)
			if len(stream) > 16 { // 2^15 ways take some seconds with the race detector
				t.Fatalf("%d bytes: too many ways to try", len(stream))
			}
			reader := bufio.NewReaderSize(nil, 16)
			want := strings.Join(f.messages, "|")
			for cuts := range uint64(1) << (len(stream) - 1) {
				reader.Reset(&slicer{stream: stream, cuts: cuts})
				got, err := readAll(f.framing, reader)
				if strings.Join(got, "|") != want || err != io.EOF {
					t.Fatalf("cuts %b: %q, %v", cuts, got, err)
				}
			}
			boundaries := map[int]int{} // of messages, and how many there are before
			for i := range len(f.messages) + 1 {
				boundaries[len(streamOf(t, f.framing, f.messages[:i]))] = i
			}
			whole := 0
			for end := range stream {
				n, between := boundaries[end]
				if between {
					whole = n
				}
				for _, cuts := range []uint64{0, ^uint64(0), 0x5555} {
					reader.Reset(&slicer{stream: stream[:end], cuts: cuts})
					got, err := readAll(f.framing, reader)
					if len(got) != whole || between != (err == io.EOF) || !between && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("cut off after %d bytes: %q, %v", end, got, err)
					}
				}
			}
		})
	}
}

// The wrong readers are right only where each message is a slice, or a slice each its prefix and its message.
func TestNaiveReadersAreWrong(t *testing.T) {
	for name, c := range map[string]struct {
		framing Framing
		right   int // in how many ways to slice the stream
	}{
		// Of three messages, each with a prefix: there may be a boundary between any two of these six, and none elsewhere.
		"NaivePrefixed": {NaivePrefixed{Prefixed{Max: 3}}, 1 << 5},
		"OneRead":       {OneRead{}, 1}, // a boundary between any two messages, and none elsewhere
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			messages := framings["prefixed"].messages
			stream := streamOf(t, c.framing, messages)
			ways, right := 1<<(len(stream)-1), 0
			var alone uint64 // each message in a slice of its own
			for i := range messages {
				alone |= 1 << (len(streamOf(t, c.framing, messages[:i+1])) - 1)
			}
			try := func(cuts uint64) bool {
				reader := bufio.NewReader(&slicer{stream: stream, cuts: cuts})
				var got []string
				for range messages {
					message, err := c.framing.Read(reader, nil)
					if err != nil {
						return false
					}
					got = append(got, string(message))
				}
				return strings.Join(got, "|") == strings.Join(messages, "|")
			}
			g.Expect(try(alone)).To(BeTrue())
			for cuts := range ways {
				if try(uint64(cuts)) {
					right++
				}
			}
			g.Expect(right).To(Equal(c.right))
		})
	}
}

func TestTrustingReaderAllocatesWhatThePrefixSays(t *testing.T) {
	g := NewWithT(t)
	trusting := TrustingPrefixed{}
	stream := streamOf(t, trusting, []string{"a", "bc"})
	messages, err := readAll(trusting, bufio.NewReader(bytes.NewReader(stream)))
	g.Expect(err).To(Equal(io.EOF))
	g.Expect(messages).To(HaveExactElements("a", "bc"))
	const claimed = 100 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = trusting.Read(bufio.NewReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, claimed))), nil)
	runtime.ReadMemStats(&after)
	g.Expect(err).To(Equal(io.EOF))
	g.Expect(after.TotalAlloc - before.TotalAlloc).To(BeNumerically(">=", claimed))
}

func TestWhatIsNoMessage(t *testing.T) {
	const most = 10
	prefix := func(n uint32, rest string) string { return string(binary.BigEndian.AppendUint32(nil, n)) + rest }
	for name, c := range map[string]struct {
		framing Framing
		stream  string
		want    error
	}{
		"prefix of 0":                 {Prefixed{most}, prefix(0, "abc"), ErrEmpty},
		"prefix of the maximum":       {Prefixed{most}, prefix(most, strings.Repeat("x", most)), io.EOF},
		"prefix beyond the maximum":   {Prefixed{most}, prefix(most+1, strings.Repeat("x", most+1)), ErrTooLong},
		"prefix of the default":       {Prefixed{}, prefix(DefaultMax, strings.Repeat("x", DefaultMax)), io.EOF},
		"prefix beyond the default":   {Prefixed{}, prefix(DefaultMax+1, strings.Repeat("x", DefaultMax+1)), ErrTooLong},
		"prefix of 0xffffffff":        {Prefixed{most}, prefix(0xffffffff, "x"), ErrTooLong},
		"prefix of 0x80000000":        {Prefixed{most}, prefix(0x80000000, "x"), ErrTooLong},
		"prefix cut off":              {Prefixed{most}, "\x00\x00", io.ErrUnexpectedEOF},
		"prefix alone":                {Prefixed{most}, prefix(3, ""), io.ErrUnexpectedEOF},
		"message cut off":             {Prefixed{most}, prefix(3, "ab"), io.ErrUnexpectedEOF},
		"delimiter alone":             {Delimited{'\n', most}, "\n", ErrEmpty},
		"as long as delimited may be": {Delimited{'\n', most}, strings.Repeat("x", most) + "\n", io.EOF},
		"too long, with delimiter":    {Delimited{'\n', most}, strings.Repeat("x", most+1) + "\n", ErrTooLong},
		"without a delimiter":         {Delimited{'\n', most}, strings.Repeat("x", 1<<20), ErrTooLong},
		"delimited and cut off":       {Delimited{'\n', most}, "abc", io.ErrUnexpectedEOF},
		"longer than a buffer":        {Delimited{'\n', 0}, strings.Repeat("x", 50_000) + "\n", io.EOF},
		"fixed and cut off":           {Fixed{most}, "abc", io.ErrUnexpectedEOF},
		"fixed to nothing":            {Fixed{}, "abc", ErrEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			reader := bufio.NewReader(strings.NewReader(c.stream))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			messages, err := readAll(c.framing, reader)
			runtime.ReadMemStats(&after)
			g.Expect(err).To(MatchError(c.want))
			g.Expect(messages).To(HaveLen(map[bool]int{true: 1}[c.want == io.EOF]))
			if !strings.Contains(name, "default") && name != "longer than a buffer" {
				g.Expect(after.TotalAlloc-before.TotalAlloc).To(BeNumerically("<", 32<<10), "whatever the stream claims")
			}
		})
	}
}

func TestAppendRefusesWhatReadWould(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		framing Framing
		message string
		want    error
	}{
		{Prefixed{3}, "", ErrEmpty},
		{Prefixed{3}, "abcd", ErrTooLong},
		{Delimited{'\n', 3}, "", ErrEmpty},
		{Delimited{'\n', 3}, "abcd", ErrTooLong},
		{Delimited{'\n', 3}, "a\nb", ErrDelimiter},
		{Fixed{3}, "ab", ErrLength},
		{Fixed{0}, "", ErrEmpty},
	} {
		_, err := c.framing.Append(nil, []byte(c.message))
		g.Expect(err).To(MatchError(c.want))
	}
}

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

func TestServerAnswersEachMessage(t *testing.T) {
	for name, f := range framings {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var sessions ended
			address, stop := servetest.Start(t, Server{Framing: f.framing, Closed: sessions.add})
			client, err := Dial(t.Context(), address, f.framing, Timeouts{})
			g.Expect(err).NotTo(HaveOccurred())
			defer client.Close()
			for _, m := range f.messages {
				g.Expect(client.Send([]byte(m))).To(Succeed())
			}
			g.Expect(client.CloseWrite()).To(Succeed())
			for _, m := range f.messages {
				answer, err := client.Receive()
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(answer)).To(Equal(m))
			}
			_, err = client.Receive()
			g.Expect(err).To(Equal(io.EOF))
			client.Close()
			stop()
			g.Expect(sessions.sessions).To(HaveExactElements(And(HaveField("Messages", len(f.messages)), HaveField("Err", BeNil()))))
		})
	}
}

func TestServerEndsTheClientThatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		fin  bool
		want error
	}{
		"a prefix of 0xffffffff, and a flood": {"\xff\xff\xff\xff" + strings.Repeat("x", 100_000), false, ErrTooLong},
		"half a message, and the end":         {"\x00\x00\x00\x05ab", true, io.ErrUnexpectedEOF},
		"half a message, and nothing":         {"\x00\x00\x00\x05ab", false, os.ErrDeadlineExceeded},
		"nothing":                             {"", false, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var sessions ended
			timeouts := Timeouts{testenv.Patience, testenv.Patience}
			if errors.Is(c.want, os.ErrDeadlineExceeded) {
				timeouts = Timeouts{600 * time.Millisecond, 400 * time.Millisecond}
			}
			address, stop := servetest.Start(t, Server{Framing: Prefixed{}, Timeouts: timeouts, Closed: sessions.add})
			conn, err := net.Dial("tcp", address)
			g.Expect(err).NotTo(HaveOccurred())
			defer conn.Close()
			_, err = io.WriteString(conn, "\x00\x00\x00\x02ok"+c.sent)
			g.Expect(err).NotTo(HaveOccurred())
			if c.fin {
				g.Expect(conn.(*net.TCPConn).CloseWrite()).To(Succeed())
			}
			answer, err := io.ReadAll(conn)
			g.Expect(err).NotTo(HaveOccurred(), "no reset")
			g.Expect(string(answer)).To(Equal("\x00\x00\x00\x02ok"))
			conn.Close()
			stop()
			g.Expect(sessions.sessions).To(HaveLen(1))
			g.Expect(sessions.sessions[0].Err).To(MatchError(c.want))
			g.Expect(sessions.sessions[0].Messages).To(Equal(1))
		})
	}
}

func TestServerTakesNoMoreAfterAnErrorOfItsHandler(t *testing.T) {
	g := NewWithT(t)
	var sessions ended
	enough := errors.New("enough")
	address, stop := servetest.Start(t, Server{Framing: Prefixed{}, Closed: sessions.add, Handle: func(_ net.Addr, message []byte) ([]byte, error) {
		switch string(message) {
		case "quiet":
			return nil, nil
		case "end":
			return nil, enough
		}
		return message, nil
	}})
	client, err := Dial(t.Context(), address, Prefixed{}, Timeouts{})
	g.Expect(err).NotTo(HaveOccurred())
	for _, m := range []string{"quiet", "a", "end", "b"} {
		g.Expect(client.Send([]byte(m))).To(Succeed())
	}
	g.Expect(client.Receive()).To(BeEquivalentTo("a"))
	_, err = client.Receive()
	g.Expect(err).To(Equal(io.EOF))
	client.Close()
	stop()
	g.Expect(sessions.sessions[0].Err).To(Equal(enough))
}

func TestConnEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithCancel(t.Context())
	conn := NewConn(serve.NewConn(ctx, near), Prefixed{}, Timeouts{})
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := conn.Receive()
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(conn.Send([]byte("a"))).To(MatchError(context.Canceled))
	g.Expect(conn.Send(nil)).To(MatchError(ErrEmpty))
	g.Expect(conn.CloseWrite()).To(MatchError(errors.ErrUnsupported))
	g.Expect(NewConn(far, Prefixed{}, Timeouts{}).CloseWrite()).To(MatchError(errors.ErrUnsupported))
	conn.Close()
}

// FuzzRead reads a stream of any bytes in any slices: the messages are the same in all, within the limits, and give the same stream
// when they are appended again.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02ab\x00\x00"), uint64(0b1010))
	f.Add([]byte("abc\ndef\n\n"), uint64(7))
	f.Add([]byte("\xff\xff\xff\xffx"), uint64(1))
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint64) {
		for _, framing := range []Framing{Fixed{3}, Delimited{'\n', 20}, Prefixed{20}} {
			whole, wholeErr := readAll(framing, bufio.NewReader(bytes.NewReader(stream)))
			sliced, slicedErr := readAll(framing, bufio.NewReaderSize(&slicer{stream: stream, cuts: cuts}, 16))
			if strings.Join(whole, "|") != strings.Join(sliced, "|") || len(whole) != len(sliced) {
				t.Fatalf("%T: %q in one slice, %q in several", framing, whole, sliced)
			}
			if (wholeErr == io.EOF) != (slicedErr == io.EOF) {
				t.Fatalf("%T: %v in one slice, %v in several", framing, wholeErr, slicedErr)
			}
			var again []byte
			for _, m := range whole {
				var err error
				if again, err = framing.Append(again, []byte(m)); err != nil || len(m) > 20 {
					t.Fatalf("%T: read %q, which Append refuses: %v", framing, m, err)
				}
			}
			if !bytes.HasPrefix(stream, again) || wholeErr == io.EOF && len(again) != len(stream) {
				t.Fatalf("%T: %q gives %q", framing, stream, again)
			}
		}
	})
}

// Cut finds in bytes what Read finds in a stream, wherever they end.
func TestCutIsReadOfBytes(t *testing.T) {
	g := NewWithT(t)
	prefixed := Prefixed{Max: 10}
	stream, err := prefixed.Append(nil, []byte("one"))
	g.Expect(err).NotTo(HaveOccurred())
	for n := range stream {
		_, rest, err := prefixed.Cut(stream[:n])
		g.Expect(err).To(MatchError(io.ErrUnexpectedEOF))
		g.Expect(rest).To(HaveLen(n))
	}
	message, rest, err := prefixed.Cut(append(stream, 0, 0, 0, 11))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(message)).To(Equal("one"))
	_, _, err = prefixed.Cut(rest)
	g.Expect(err).To(MatchError(ErrTooLong))
	_, _, err = prefixed.Cut(make([]byte, 4))
	g.Expect(err).To(MatchError(ErrEmpty))
}
