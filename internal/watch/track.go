package watch

import (
	"time"

	"github.com/tcplab/tcplab/harness/kernel"
)

// A track is what is remembered of a socket from one reading to the next. It is small: there can be 100,000.
type track struct {
	generation uint32 // of the reading that saw it last
	state      kernel.State
	exact      bool // since is when it came into this state, to the time between two readings; otherwise it was there before

	since     int64 // when it was seen first in this state: nanoseconds since the watcher's first reading
	zeroSince int64 // when the peer's window was seen closed first, -1 if it is open
	readSince int64 // when the program was seen to read last
	read      uint64
	acked     uint64
	received  uint64

	// What there was at the two points of windows; of a listener, retransmits are drops.
	retransmits, segments [2]uint32
}

// windows are two points in time, the later one at most a window ago: what has grown since the earlier one is recent.
type windows struct {
	begin [2]time.Time
	first time.Time
}

// turn makes now the later point if a window has passed since it was, and reports whether it did.
func (w *windows) turn(now time.Time, window time.Duration) bool {
	if w.first.IsZero() {
		w.first = now
		w.begin = [2]time.Time{now, now}
		return false
	}
	if now.Sub(w.begin[1]) < window {
		return false
	}
	w.begin = [2]time.Time{w.begin[1], now}
	return true
}

// length is how long ago the earlier one was.
func (w *windows) length(now time.Time) time.Duration { return now.Sub(w.begin[0]) }

// follow brings a socket's track up to date. Those in TIME-WAIT have nothing to remember: the kernel ends them by itself.
func (w *Watcher) follow(l *listing, s *kernel.Socket) (t track, sendRate, receiveRate float64) {
	t, known := w.tracks[s.Cookie]
	now := l.now.Sub(w.windows.first).Nanoseconds()
	acked, received, retransmits, segments := totals(s)
	if !known {
		t = track{state: s.State, since: now, exact: !l.before.IsZero(), zeroSince: -1, readSince: now, read: readBytes(s)}
		if l.before.IsZero() { // what it had before is not recent
			t.retransmits, t.segments = [2]uint32{retransmits, retransmits}, [2]uint32{segments, segments}
			t.acked, t.received = acked, received
		}
	}
	if l.turned {
		t.retransmits, t.segments = [2]uint32{t.retransmits[1], retransmits}, [2]uint32{t.segments[1], segments}
	}
	if t.state != s.State {
		t.state, t.since, t.exact = s.State, now, true
	}
	switch {
	case !windowClosed(s):
		t.zeroSince = -1
	case t.zeroSince < 0:
		t.zeroSince = now
	}
	if read := readBytes(s); read != t.read || s.ReceiveQueue == 0 {
		t.read, t.readSince = read, now
	}
	if seconds := l.now.Sub(l.before).Seconds(); !l.before.IsZero() && seconds > 0 && s.State != kernel.Listen {
		sendRate = float64(acked-min(t.acked, acked)) / seconds
		receiveRate = float64(received-min(t.received, received)) / seconds
	}
	t.acked, t.received, t.generation = acked, received, w.generation
	if s.State != kernel.TimeWait {
		w.tracks[s.Cookie] = t
	}
	return t, sendRate, receiveRate
}

// forget drops the tracks of sockets that are gone: not at once, for a listing can miss one that is just going from one of the
// kernel's tables to another.
func (w *Watcher) forget() {
	for cookie, t := range w.tracks {
		if w.generation-t.generation > 1 {
			delete(w.tracks, cookie)
		}
	}
}

// totals are what a socket has counted since it was made: bytes that were acknowledged and received, retransmits, and segments with
// data; of a listener, dropped packets are in the place of retransmits.
func totals(s *kernel.Socket) (acked, received uint64, retransmits, segments uint32) {
	switch {
	case s.State == kernel.Listen && s.Memory != nil:
		return 0, 0, s.Memory.Drops, 0
	case s.TCPInfo != nil:
		i := s.TCPInfo
		return i.Bytes_acked, i.Bytes_received, i.Total_retrans, i.Data_segs_out
	}
	return 0, 0, 0, 0
}

// readBytes is how far the program has read.
func readBytes(s *kernel.Socket) uint64 {
	if s.TCPInfo == nil {
		return 0
	}
	return s.TCPInfo.Bytes_received - uint64(s.ReceiveQueue) // modulo 2^64: a FIN is in the queue, too
}

// windowClosed reports whether data waits and the peer takes none. (Linux 5.3 and older do not tell the peer's window.)
func windowClosed(s *kernel.Socket) bool {
	return s.TCPInfo != nil && s.SendQueue > 0 && s.TCPInfo.Snd_wnd == 0 && canSend(s.State) && s.TCPInfo.Has("snd_wnd")
}

// canSend reports whether data can be on its way in a state.
func canSend(s kernel.State) bool {
	switch s {
	case kernel.Established, kernel.CloseWait, kernel.FinWait1, kernel.Closing, kernel.LastAck:
		return true
	}
	return false
}
