package numbered

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

func message(number uint64, sent time.Time) []byte {
	b := make([]byte, Size)
	encode(b, number, sent)
	return b
}

func TestTally(t *testing.T) {
	g := NewWithT(t)
	began := time.Unix(1000, 0)
	tally, err := NewTally(6)
	g.Expect(err).NotTo(HaveOccurred())
	for i, number := range []uint64{0, 2, 1, 2, 5, 4} { // 3 is lost, 2 comes twice, 1 and 4 come late
		g.Expect(tally.Add(message(number, began), began.Add(time.Duration(i+1)*time.Second))).To(Succeed())
	}
	g.Expect(tally.Lost()).To(Equal([]int{3}))
	g.Expect(tally.Duplicated).To(Equal(1))
	g.Expect(tally.Swapped).To(Equal(2))
	g.Expect(tally.InOrder).To(Equal(2), "0, and 4, which is the fifth that came")
	g.Expect(tally.Took).To(Equal([]time.Duration{time.Second, 3 * time.Second, 2 * time.Second, 0, 6 * time.Second, 5 * time.Second}))
	g.Expect(tally.LaterThan(3 * time.Second)).To(Equal(2))
	g.Expect(tally.Add(message(6, began), began)).To(MatchError("message 6: the last is 5"))
	g.Expect(tally.Add([]byte("short"), began)).To(MatchError("a message of 5 bytes: each has 200"))
	for _, bad := range []int{-1, maxMessages + 1} {
		_, err := NewTally(bad)
		g.Expect(err).To(MatchError(ContainSubstring("allowed are 0 to 1048576")))
	}
}

func TestBoth(t *testing.T) {
	g := NewWithT(t)
	check := servetest.NoLeaks(t)
	const messages = 100
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer packets.Close()
	for network, address := range map[string]net.Addr{"tcp": listener.Addr(), "udp": packets.LocalAddr()} {
		conn, err := net.Dial(network, address.String())
		g.Expect(err).NotTo(HaveOccurred())
		got := make(chan *Tally, 1)
		go func() {
			defer close(got)
			if network == "udp" {
				tally, err := ReceiveDatagrams(t.Context(), packets, messages, 200*time.Millisecond)
				if err == nil {
					got <- tally
				}
				return
			}
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if tally, err := ReceiveStream(t.Context(), conn, messages, time.Second); err == nil {
				got <- tally
			}
		}()
		g.Expect(Send(t.Context(), conn, messages, 100*time.Microsecond, time.Second)).To(Succeed())
		conn.Close()
		tally := <-got
		g.Expect(tally).NotTo(BeNil(), network)
		g.Expect(tally.Lost()).To(BeEmpty(), network)
		g.Expect(tally.InOrder).To(Equal(messages), network)
	}
	listener.Close()
	check()
}

func TestEnds(t *testing.T) {
	g := NewWithT(t)
	whole := message(0, time.Now())
	for name, tt := range map[string]struct {
		sent []byte
		want any
	}{
		"nothing":                   {nil, nil},
		"a message":                 {whole, nil},
		"a message that is cut off": {whole[:Size-1], io.ErrUnexpectedEOF},
		"one too many":              {bytes.Repeat(message(1, time.Now()), 1), ContainSubstring("message 1: the last is 0")},
	} {
		ours, theirs := servetest.Pair(t)
		go func() { _, _ = ours.Write(tt.sent); ours.Close() }()
		_, err := ReceiveStream(t.Context(), theirs, 1, time.Second)
		if tt.want == nil {
			g.Expect(err).NotTo(HaveOccurred(), name)
		} else {
			g.Expect(err).To(MatchError(tt.want), name)
		}
	}

	// Each ends with its context, and with its time-out.
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ours2, theirs2 := net.Pipe()
	defer ours2.Close()
	defer theirs2.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer packets.Close()
	ended := make(chan error, 3)
	go func() { ended <- Send(ctx, ours, 1, 0, time.Hour) }() // nobody reads
	go func() { _, err := ReceiveStream(ctx, theirs2, 1, time.Hour); ended <- err }()
	go func() { _, err := ReceiveDatagrams(ctx, packets, 1, time.Hour); ended <- err }()
	time.Sleep(10 * time.Millisecond)
	cancel(why)
	for range 3 {
		g.Expect(<-ended).To(MatchError(why))
	}
	_, err = ReceiveStream(t.Context(), theirs2, 1, time.Millisecond)
	g.Expect(err).To(MatchError(os.ErrDeadlineExceeded))
}

func FuzzTally(f *testing.F) {
	f.Add(message(1, time.Unix(5, 5)), int64(7))
	f.Fuzz(func(t *testing.T, data []byte, now int64) {
		tally, err := NewTally(3)
		if err != nil {
			t.Fatal(err)
		}
		err = tally.Add(data, time.Unix(0, now))
		if arrived := 3 - len(tally.Lost()); (err == nil) != (arrived == 1) {
			t.Errorf("%v, and %d have arrived", err, arrived)
		}
	})
}
