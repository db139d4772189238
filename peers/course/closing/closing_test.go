package closing

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// zeros is a document.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestUpload(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server Server
		client Client
		size   int64
		want   any
	}{
		{"nothing", Server{Limit: 10}, Client{}, 0, nil},
		{"a document", Server{Limit: 1 << 20}, Client{}, 1 << 20, nil},
		{"too large", Server{Limit: 1 << 20}, Client{}, 1<<20 + 1, ErrTooLarge},
		{"much too large", Server{Limit: 1 << 10}, Client{}, 8 << 20, ErrTooLarge},
		{"close at once", Server{Limit: 1 << 20}, Client{CloseAtOnce: true}, 1000, ErrNoAnswer},
		{"linger 0", Server{Limit: 1 << 20}, Client{Linger0: true}, 1000, ErrNoAnswer},
		{"a server that closes with unread data", Server{Limit: 1 << 10, CloseUnread: true}, Client{}, 8 << 20, Or(MatchError(ErrTooLarge), MatchError(syscall.ECONNRESET))},
		{"a server that forgets to close", Server{Limit: 1 << 20, Forget: true}, Client{Timeout: 200 * time.Millisecond}, 10,
			MatchError(ContainSubstring(`wait for the end of the answer "200 10\n"`))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			address, stop := servetest.Start(t, &tt.server)
			conn, err := net.Dial("tcp", address)
			g.Expect(err).NotTo(HaveOccurred())
			n, err := tt.client.Upload(conn.(*net.TCPConn), zeros(tt.size))
			if tt.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(n).To(Equal(tt.size))
			} else if either, ok := tt.want.(types.GomegaMatcher); ok {
				g.Expect(err).To(either)
			} else {
				g.Expect(err).To(MatchError(tt.want))
			}
			stop()
		})
	}
}

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int64
		want any
	}{
		{"200 0\n", 0, nil},
		{"200 9223372036854775807\n", 1<<63 - 1, nil},
		{"413\n", 0, ErrTooLarge},
		{"", 0, io.ErrUnexpectedEOF},
		{"200 1", 0, io.ErrUnexpectedEOF},
		{"200 -1\n", 0, ContainSubstring("want 413, or 200 and a number")},
		{"200 x\n", 0, ContainSubstring("want 413, or 200 and a number")},
		{"500\n", 0, ContainSubstring("want 413, or 200 and a number")},
		{"200 1\nx", 0, errMore},
		{strings.Repeat("x", 100), 0, io.ErrUnexpectedEOF},
	} {
		n, err := answer(strings.NewReader(tt.text))
		g := NewWithT(t)
		g.Expect(n).To(Equal(tt.n), tt.text)
		if tt.want == nil {
			g.Expect(err).NotTo(HaveOccurred(), tt.text)
		} else {
			g.Expect(err).To(MatchError(tt.want), tt.text)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("200 5\n"))
	f.Add([]byte("413\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := answer(bytes.NewReader(data))
		if err == nil && (n < 0 || !bytes.HasPrefix(data, []byte("200 "))) {
			t.Errorf("%q is %d", data, n)
		}
		if errors.Is(err, ErrTooLarge) && string(data) != "413\n" {
			t.Errorf("%q is too large", data)
		}
	})
}
