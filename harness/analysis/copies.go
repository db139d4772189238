package analysis

import "time"

// fingerprint is what is the same in a packet that is captured twice.
type fingerprint struct {
	seq, ack, tsval, tsecr uint32
	blocks                 uint32 // of SACK, mixed
	length                 int
	flags                  Flags
	window                 uint16
	options                uint8 // which there are
}

// sighting is a packet that passed, and what may differ in its copy.
type sighting struct {
	fingerprint
	id  uint16
	ttl uint8
	at  time.Duration
}

func sightingOf(s *Classified) sighting {
	o := &s.Options
	p := sighting{fingerprint{
		seq: s.Seq, ack: s.Ack, tsval: o.TSVal, tsecr: o.TSEcr, length: s.Length, flags: s.Flags, window: s.Window, options: o.sackCount,
	}, s.ID, s.TTL, s.At}
	for _, b := range o.SACK() {
		p.blocks = p.blocks*31 + b.Left
		p.blocks = p.blocks*31 + b.Right
	}
	return p
}

const (
	// maxSightings is how many packets of a side may lie between one and its copy.
	maxSightings = 64
	// atOnceAgain is too soon for any sender to retransmit it.
	atOnceAgain = time.Millisecond
	// sameIdentity is how long an identification stands for one packet. A sender that counts them has sent 65,535 others when it
	// comes again.
	sameIdentity = 5 * time.Second
)

// sightings remembers the packets of a side, to recognize one that is captured once more.
type sightings struct {
	list []sighting
	at   int // of the oldest, once there are maxSightings
	last sighting
	// constant: packets that differ have the same identification, so it tells nothing.
	constant bool
}

// copied reports whether a packet is in the capture already, and remembers it if it is not.
func (d *sideTracker) copied(s *Classified) bool {
	p := sightingOf(s)
	v := &d.sightings
	// What moves on was not there before.
	fresh := len(v.list) == 0 || before(v.last.seq+uint32(v.last.length), s.Seq+uint32(s.Length)) || before(v.last.ack, s.Ack)
	if !fresh {
		for i := range v.list {
			if v.list[i].fingerprint == p.fingerprint && v.copies(&v.list[i], &p) {
				return true
			}
		}
	} else if len(v.list) > 0 && p.id == v.last.id {
		v.constant = true
	}
	v.last = p
	if len(v.list) < maxSightings {
		v.list = append(v.list, p)
	} else {
		v.list[v.at] = p
		v.at = (v.at + 1) % maxSightings
	}
	return false
}

// copies reports whether two packets that are the same otherwise are one. Of data that was retransmitted the identification is
// another, and without one it comes later. A host does not change its TTL.
func (v *sightings) copies(first, again *sighting) bool {
	apart := again.at - first.at
	takes := again.length > 0 || again.flags&(FlagSYN|FlagFIN) != 0
	switch {
	case apart < 0:
		return false // the clock is of no use
	case !v.constant && (first.id != 0 || again.id != 0):
		return first.id == again.id && apart < sameIdentity
	case first.ttl != again.ttl:
		return apart < minRTO
	default:
		// Duplicate ACKs are the same, too.
		return takes && apart < atOnceAgain
	}
}
