package analysis

import "time"

const (
	// clockSlack is by how much times may go back without a word: the queues of one network card do that.
	clockSlack = time.Millisecond
	// longSilence is what may be an idle timeout of something on the path: the shortest that are in use are of a minute, and
	// half of that leaves room for what a person has set.
	longSilence = 30 * time.Second
)

// timeline is what the times of a conversation's packets say.
type timeline struct {
	started bool
	last    time.Duration // of the packet before
	// back are the packets whose time is before that of the one in front, backBy by how much at most.
	back   Frames
	backBy time.Duration
	// silence is how long nothing was sent by anybody before silenceEnd: the last time that it was long.
	silence, silenceEnd time.Duration
}

// clock takes note of a packet's time.
func (c *conversationTracker) clock(s *Classified) {
	if t := &c.timeline; t.started {
		gap := s.At - t.last
		if gap < -clockSlack {
			t.back.add(s.Frame)
			t.backBy = max(t.backBy, -gap)
		}
		if gap >= longSilence {
			t.silence, t.silenceEnd = gap, s.At
		}
	}
	c.timeline.started, c.timeline.last = true, s.At
	c.Start, c.End = min(c.Start, s.At), max(c.End, s.At)
}

// silenceBefore is how long nobody had sent anything when the other side sent what this side's segment answers; 0 if it was not long.
func (c *conversationTracker) silenceBefore(s *Classified, own *sideTracker) time.Duration {
	// A segment that is not answered is sent again some times.
	const tries = 10 * time.Second
	if c.silence == 0 || s.At-c.silenceEnd > tries || own.previous.Src.IsValid() && own.previous.At >= c.silenceEnd {
		return 0
	}
	return c.silence
}

// request is what one side has asked, as far as data that goes to and fro tells.
type request struct {
	open    bool
	next    uint32        // after its last byte
	end     time.Duration // when that passed
	acked   bool          // without an answer
	ackedAt time.Duration
	// disturbed: something was sent again meanwhile, so that it was not the program that took the time.
	disturbed bool
}

// thinking is what the program on a side took to answer.
type thinking struct {
	slow     Frames        // the answers that took long
	sum, max time.Duration // of these
}

const (
	// slowAnswer is what a person waits for.
	slowAnswer = time.Second
	// longPoll is what a server may take to say that there is nothing new (RFC 6202, section 5.5: 30 s is safe).
	longPoll = 20 * time.Second
)

// exchange measures how long the sides take to answer each other. The program's time begins with its host's ACK of the request:
// without that it may have been the network's.
func (c *conversationTracker) exchange(s *Classified, own *sideTracker) {
	r := &own.request
	if r.open && !r.acked && s.Flags&FlagACK != 0 && s.Length == 0 && !before(s.Ack, r.next) {
		r.acked, r.ackedAt = true, s.At
	}
	if s.Length == 0 || own.probing || s.Flags&(FlagSYN|FlagRST) != 0 {
		return
	}
	end := s.Seq + uint32(s.Length)
	if own.spoke && !before(own.highest, end) {
		r.disturbed, own.other.request.disturbed = true, true
		return
	}
	if r.open {
		own.Answers.add(s.At - r.end)
		own.thinking.answered(s, r)
	}
	*r = request{}
	own.other.request = request{open: true, next: end, end: s.At}
}

func (t *thinking) answered(s *Classified, r *request) {
	took := s.At - r.ackedAt
	if !r.acked || r.disturbed || took < slowAnswer || took >= longPoll {
		return
	}
	t.slow.add(s.Frame)
	t.sum += took
	t.max = max(t.max, took)
}
