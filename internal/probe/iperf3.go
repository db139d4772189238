package probe

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// Iperf3 measures how fast a connection to an iperf3 server is, by its protocol: both directions, one after the other. The protocol is
// that of iperf3 3.x (iperf_api.h, iperf_client_api.c): a control connection with a byte for each state, and JSON with its length in front.
type Iperf3 struct {
	Host     string        `json:"host"`
	Port     uint16        `json:"port"`
	Family   int           `json:"family,omitempty"` // 4 or 6; 0: what the name's first address is
	Duration time.Duration `json:"duration_ns"`      // of each direction, whole seconds; 0 is 5 s
	Timeout  time.Duration `json:"timeout_ns"`       // of each step, the transfer itself left out; 0 is 10 s
}

// Validate returns what is wrong with i: an *invalid.FieldError for each field, joined.
func (i Iperf3) Validate() error {
	var errs []error
	refuse := func(wrong bool, field string, value any, allowed string) {
		if wrong {
			errs = append(errs, &invalid.FieldError{Field: "Iperf3." + field, Value: value, Allowed: allowed})
		}
	}
	refuse(i.Host == "", "Host", i.Host, "a name or an address")
	refuse(i.Port == 0, "Port", i.Port, "1 to 65535")
	refuse(i.Family != 0 && i.Family != 4 && i.Family != 6, "Family", i.Family, "0, 4 or 6")
	refuse(i.Duration < 0 || i.Duration > time.Hour || i.Duration%time.Second != 0, "Duration", i.Duration, "whole seconds, up to 1h")
	refuse(i.Timeout < 0, "Timeout", i.Timeout, "0 and more")
	return errors.Join(errs...)
}

// A Transfer is one direction of an Iperf3.
type Transfer struct {
	Bytes int64         `json:"bytes"`   // that arrived, by the receiver's count
	Took  time.Duration `json:"took_ns"` // by the receiver's clock
	Rate  float64       `json:"bps"`
	// Of this side's socket, by TCP_INFO in the end: of a download they tell of little but ACKs.
	MinRTT      time.Duration `json:"min_rtt_ns"`
	RTT         time.Duration `json:"rtt_ns"`
	Retransmits int64         `json:"retransmits"` // by the sender's count
}

// An Iperf3Report is what came of both directions; nil is one that did not come so far.
type Iperf3Report struct {
	Options  Iperf3    `json:"options"`
	Upload   *Transfer `json:"upload,omitempty"`
	Download *Transfer `json:"download,omitempty"`
}

// States of a test (iperf_api.h).
const (
	iperfStart         = 1
	iperfRunning       = 2
	iperfEnd           = 4
	iperfParameters    = 9
	iperfCreateStreams = 10
	iperfExchange      = 13
	iperfDisplay       = 14
	iperfDone          = 16
	iperfDenied        = 0xff // -1
	iperfError         = 0xfe // -2
)

// ErrIperf3 is for a server that does not do as the protocol says, or refuses the test.
var ErrIperf3 = errors.New("iperf3")

// Run measures the upload and then the download. Beside an error the report has what there is. The progress may be nil.
func (i Iperf3) Run(ctx context.Context, progress func(doing string)) (*Iperf3Report, error) {
	if err := i.Validate(); err != nil {
		return nil, err
	}
	i.Duration, i.Timeout = cmp.Or(i.Duration, 5*time.Second), cmp.Or(i.Timeout, 10*time.Second)
	if progress == nil {
		progress = func(string) {}
	}
	r := &Iperf3Report{Options: i}
	for _, direction := range []struct {
		name    string
		to      **Transfer
		reverse bool
	}{{"upload", &r.Upload, false}, {"download", &r.Download, true}} {
		progress(direction.name)
		t, err := i.testWhenReady(ctx, direction.reverse)
		if err != nil {
			return r, fmt.Errorf("%s: %w", direction.name, err)
		}
		*direction.to = t
	}
	return r, nil
}

// An iperfTest is one test with a server.
type iperfTest struct {
	Iperf3
	control, data net.Conn
	reverse       bool
	answered      bool  // the server has said a state
	moved         int64 // bytes, by this side
	took          time.Duration
	info          *tcpinfo.Info
	theirs        iperfTheirs
}

// iperfTheirs is what is read of the server's. Numbers that it does not have are -1, or the same without a sign.
type iperfTheirs struct {
	Streams []struct {
		Bytes       float64 `json:"bytes"`
		Retransmits float64 `json:"retransmits"`
		Start       float64 `json:"start_time"` // s
		End         float64 `json:"end_time"`
	} `json:"streams"`
}

// unknown is more than any count is.
const unknown = 1 << 62

// iperfWanted is what the test is to be. That reverse is there at all means yes (iperf_api.c: get_parameters).
type iperfWanted struct {
	TCP      bool   `json:"tcp"`
	Omit     int    `json:"omit"`
	Time     int    `json:"time"` // s
	Parallel int    `json:"parallel"`
	Block    int    `json:"len"`
	Reverse  bool   `json:"reverse,omitempty"`
	Version  string `json:"client_version"`
}

// iperfResults are what this side says in the end, of one stream.
type iperfResults struct {
	CPU            float64       `json:"cpu_util_total"`
	CPUUser        float64       `json:"cpu_util_user"`
	CPUSystem      float64       `json:"cpu_util_system"`
	HasRetransmits int           `json:"sender_has_retransmits"`
	Streams        []iperfStream `json:"streams"`
}

type iperfStream struct {
	ID          int     `json:"id"`
	Bytes       int64   `json:"bytes"`
	Retransmits int64   `json:"retransmits"`
	Jitter      float64 `json:"jitter"`
	Errors      int     `json:"errors"`
	Packets     int     `json:"packets"`
	Start       float64 `json:"start_time"`
	End         float64 `json:"end_time"`
}

// testWhenReady tests one direction. Between two tests a server closes its listener for a moment, after it has closed the connection of
// the test before (iperf_server_api.c: cleanup_server): who has connected meanwhile is reset, and who connects then is refused.
func (i Iperf3) testWhenReady(ctx context.Context, reverse bool) (*Transfer, error) {
	const pause = 20 * time.Millisecond
	for until := time.Now().Add(i.Timeout); ; time.Sleep(pause) {
		t := &iperfTest{Iperf3: i, reverse: reverse}
		result, err := t.all(ctx)
		wasThere := reverse // the upload has been tested
		between := !t.answered && (errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) || wasThere && errors.Is(err, unix.ECONNREFUSED))
		if !between || time.Now().After(until) {
			return result, err
		}
	}
}

// all is a test from its first connection to its result.
func (t *iperfTest) all(ctx context.Context) (*Transfer, error) {
	address, err := (&prober{Options: Options{Host: t.Host, Family: t.Family}}).resolve(ctx)
	if err != nil {
		return nil, err
	}
	target := netip.AddrPortFrom(address, t.Port).String()
	cookie, err := iperfCookie()
	if err != nil {
		return nil, err
	}
	if t.control, err = t.connect(ctx, target, cookie); err != nil {
		return nil, err
	}
	defer t.control.Close()
	stop := context.AfterFunc(ctx, func() { _ = t.control.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err = t.run(ctx, target, cookie)
	if t.data != nil {
		t.data.Close()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return t.transfer()
}

// iperfCookie names a test: 36 characters and a zero.
func iperfCookie() ([]byte, error) {
	random := make([]byte, 23)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	name := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random))
	return append([]byte(name[:36]), 0), nil
}

// connect opens a connection, which begins with the cookie.
func (t *iperfTest) connect(ctx context.Context, target string, cookie []byte) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: t.Timeout}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(t.Timeout)) // a connection of package net can have one
	if _, err := conn.Write(cookie); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// run does what the server's states ask for, until it has shown its results.
func (t *iperfTest) run(ctx context.Context, target string, cookie []byte) error {
	for {
		_ = t.control.SetDeadline(time.Now().Add(t.Timeout))
		if ctx.Err() != nil { // its deadline may have been before that one
			return ctx.Err()
		}
		var state [1]byte
		if _, err := io.ReadFull(t.control, state[:]); err != nil {
			return fmt.Errorf("%w: wait for the server's next state: %w", ErrIperf3, err)
		}
		t.answered = true
		var err error
		switch state[0] {
		case iperfParameters:
			err = t.send(iperfWanted{TCP: true, Time: int(t.Duration.Seconds()), Parallel: 1, Block: iperfBlock, Reverse: t.reverse, Version: "3.12"})
		case iperfCreateStreams:
			t.data, err = t.connect(ctx, target, cookie)
		case iperfStart:
		case iperfRunning:
			if err = t.move(ctx); err == nil {
				_, err = t.control.Write([]byte{iperfEnd})
			}
		case iperfExchange:
			err = t.exchange()
		case iperfDisplay:
			if _, err = t.control.Write([]byte{iperfDone}); err == nil {
				// Until it closes it is not ready for another test.
				_, _ = io.Copy(io.Discard, io.LimitReader(t.control, mostJSON))
			}
			return err
		case iperfDenied:
			return fmt.Errorf("%w: the server runs another test: it does one at a time", ErrIperf3)
		case iperfError:
			return fmt.Errorf("%w: the server gave the test up", ErrIperf3)
		default:
			return fmt.Errorf("%w: state %d is none that it has: is that an iperf3 server?", ErrIperf3, state[0])
		}
		if err != nil {
			return err
		}
	}
}

const (
	iperfBlock = 128 << 10
	// mostJSON is the most that is read of a server's results.
	mostJSON = 1 << 20
)

func (t *iperfTest) send(value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = t.control.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// move sends, or receives, for the time of the test.
func (t *iperfTest) move(ctx context.Context) error {
	if t.data == nil {
		return fmt.Errorf("%w: the test begins without a stream", ErrIperf3)
	}
	stop := context.AfterFunc(ctx, func() { _ = t.data.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	began := time.Now()
	_ = t.data.SetDeadline(began.Add(t.Duration))
	block := make([]byte, iperfBlock)
	var err error
	for err == nil {
		var n int
		if t.reverse {
			n, err = t.data.Read(block)
		} else {
			n, err = t.data.Write(block)
		}
		t.moved += int64(n)
	}
	t.took = time.Since(began)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: the stream ended after %v of %v: %w", ErrIperf3, t.took.Round(time.Millisecond), t.Duration, err)
	}
	if raw, err := t.data.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { t.info, _ = tcpinfo.Get(int(fd)) }) // without it there is no RTT to tell
	}
	if t.reverse {
		go func() { // what is under way still, so that the server is not held up
			_ = t.data.SetDeadline(time.Now().Add(t.Timeout))
			_, _ = io.Copy(io.Discard, t.data)
		}()
	}
	return nil
}

// exchange tells the server what this side has counted, and reads what it has.
func (t *iperfTest) exchange() error {
	own := iperfStream{ID: 1, Bytes: t.moved, Retransmits: -1, End: t.took.Seconds()}
	if t.info != nil && !t.reverse {
		own.Retransmits = int64(t.info.Total_retrans)
	}
	if err := t.send(iperfResults{HasRetransmits: map[bool]int{true: 0, false: 1}[t.reverse], Streams: []iperfStream{own}}); err != nil {
		return err
	}
	var length [4]byte
	if _, err := io.ReadFull(t.control, length[:]); err != nil {
		return fmt.Errorf("%w: the server's results: %w", ErrIperf3, err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > mostJSON {
		return fmt.Errorf("%w: the server's results are to have %d bytes: at most %d are read", ErrIperf3, n, mostJSON)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(t.control, body); err != nil {
		return fmt.Errorf("%w: the server's results: %w", ErrIperf3, err)
	}
	var err error
	t.theirs, err = parseIperf(body)
	return err
}

func parseIperf(body []byte) (iperfTheirs, error) {
	var r iperfTheirs
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("%w: the server's results: %w", ErrIperf3, err)
	}
	if len(r.Streams) != 1 {
		return r, fmt.Errorf("%w: the server's results have %d streams, there was one", ErrIperf3, len(r.Streams))
	}
	if n := r.Streams[0].Bytes; !(n >= 0 && n < unknown) {
		return r, fmt.Errorf("%w: the server's results have %v bytes", ErrIperf3, n)
	}
	return r, nil
}

// transfer is what came of the test: what arrived, by who received it.
func (t *iperfTest) transfer() (*Transfer, error) {
	if len(t.theirs.Streams) == 0 || t.took == 0 {
		return nil, fmt.Errorf("%w: the server ended the test before there were results", ErrIperf3)
	}
	theirs := t.theirs.Streams[0]
	r := &Transfer{Bytes: int64(theirs.Bytes), Took: t.took}
	// What was under way when this side ended arrives later: the server has counted for longer.
	if lasted := theirs.End - theirs.Start; !t.reverse && lasted > 0 && lasted < time.Hour.Seconds() {
		r.Took = time.Duration(lasted * float64(time.Second))
	}
	if t.reverse {
		r.Bytes = t.moved
		if n := theirs.Retransmits; n > 0 && n < unknown {
			r.Retransmits = int64(n)
		}
	}
	if t.info != nil {
		r.MinRTT, r.RTT = time.Duration(t.info.Min_rtt)*time.Microsecond, time.Duration(t.info.Rtt)*time.Microsecond
		if !t.reverse {
			r.Retransmits = int64(t.info.Total_retrans)
		}
	}
	r.Rate = float64(r.Bytes) * 8 / r.Took.Seconds()
	return r, nil
}

// Text writes the report for people.
func (r *Iperf3Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s port %d, iperf3, %v each\n\n", text.Printable(r.Options.Host), r.Options.Port, r.Options.Duration)
	for _, direction := range []struct {
		name string
		*Transfer
	}{{"upload", r.Upload}, {"download", r.Download}} {
		if direction.Transfer == nil {
			continue
		}
		fmt.Fprintf(&b, "%-9s %s, %d retransmits", direction.name, bits(direction.Rate), direction.Retransmits)
		if direction.name == "upload" {
			fmt.Fprintf(&b, "; RTT %s at least, %s in the end", Short(direction.MinRTT), Short(direction.RTT))
		}
		fmt.Fprintln(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
