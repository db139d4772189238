package queue

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Policer drops what comes faster than a rate, and holds nothing: a bucket fills at the rate, and a packet passes that finds its size in it
// (the action police, tc-police(8)). Operators have such ones in front of their links.
type Policer struct {
	BitsPerSecond int64 `json:"rate_bit_per_s"`        // Ethernet headers included: 8 to 400 Gbit/s
	Burst         int   `json:"burst_bytes,omitempty"` // the size of the bucket; 0 takes a quarter of a second at the rate, at least two frames
}

// Validate returns what is wrong with p: an [*invalid.FieldError] for each field, joined; nil if all is well.
func (p Policer) Validate() error {
	var c checker
	if p.BitsPerSecond == 0 {
		c.refuse("Policer.BitsPerSecond", 0, "a rate")
	}
	c.rate("Policer.BitsPerSecond", p.BitsPerSecond)
	if p.Burst < 0 || p.Burst > maxBurst {
		c.refuse("Policer.Burst", p.Burst, fmt.Sprintf("0 (chosen) to %d bytes", maxBurst))
	}
	if p.BitsPerSecond > 0 && p.ticks() > math.MaxUint32 {
		c.refuse("Policer.Burst", p.Burst, "less: the kernel keeps it as the time in which it goes at the rate, which is at most 274 s")
	}
	return errors.Join(c.errs...)
}

// String is like tc's "police rate 10Mbit burst 312500 conform-exceed drop".
func (p Policer) String() string {
	text := "police " + rateText(p.BitsPerSecond)
	if p.Burst > 0 {
		text += fmt.Sprintf(" burst %d", p.Burst)
	}
	return text + " conform-exceed drop"
}

// ticks is the bucket as the kernel keeps it.
func (p Policer) ticks() float64 {
	return math.Round(float64(p.Burst) / (float64(p.BitsPerSecond) / 8) / tick.Seconds())
}

// Policed is a policer as asked and as applied.
type Policed struct {
	Asked Policer  `json:"asked"`
	Got   Policer  `json:"got"`
	Notes []string `json:"notes,omitempty"`
}

// From linux/pkt_cls.h and linux/pkt_sched.h.
const (
	clsact       = "clsact"
	clsactParent = 0xfffffff1 // TC_H_CLSACT
	clsactHandle = 0xffff0000
	clsactEgress = 0xfffffff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)

	attrMatchAllAct = 2 // TCA_MATCHALL_ACT
	attrActKind     = 1
	attrActOptions  = 2
	attrActStats    = 4
	attrPolice      = 1 // struct tc_police
	attrPoliceTable = 2
	attrPoliceWide  = 8 // TCA_POLICE_RATE64

	actShot        = 2    // TC_ACT_SHOT
	rateTableSize  = 1024 // TC_RTAB_SIZE: it has to be there, and nobody reads it
	rateTableCells = 3    // and so has its scale
	policeKind     = "police"
)

// policeParms is struct tc_police.
type policeParms struct {
	Index              uint32
	Action             int32
	Limit, Burst, MTU  uint32
	Rate, Peak         rateSpec
	References, Bounds int32
	Capabilities       uint32
}

// Police makes a policer of what leaves through d, before its queue: it passes what a queue, or netem, then gets. At a host's own device the
// local TCP hears of the drops, and takes them for congestion: put it on a router. Rules (package impair/rules) have the same place: a device
// has one or the other.
//
// Errors: as of [Apply], and [ErrBusy].
func Police(d netdev.Device, p Policer) (Policed, error) {
	policed := Policed{Asked: p}
	err := errors.Join(d.Validate(), p.Validate())
	if err == nil {
		err = qdisc.With(d, policed.apply)
	}
	if err != nil {
		return policed, fmt.Errorf("police what leaves through %s: %w", d, err)
	}
	return policed, nil
}

func (p *Policed) apply(l *qdisc.Link) error {
	sent := p.Asked
	if sent.Burst == 0 {
		const quarter = 4
		sent.Burst = min(maxBurst, max(2*l.Frame(), int(sent.BitsPerSecond/8/quarter)))
		p.Notes = append(p.Notes, fmt.Sprintf("Burst: chosen %d bytes, a quarter of a second", sent.Burst))
	} else if sent.Burst < l.Frame() {
		var c checker
		c.refuse("Policer.Burst", sent.Burst, fmt.Sprintf("at least %d bytes, a frame of this device: no larger packet would ever pass", l.Frame()))
		return errors.Join(c.errs...)
	}
	if err := l.Add(clsact, clsactParent, clsactHandle); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%w (%w)", ErrBusy, err)
		}
		return supported(err)
	}
	err := p.install(l, sent)
	if err != nil && !errors.As(err, new(*MismatchError)) {
		err = errors.Join(err, l.Delete(clsactParent))
	}
	return err
}

func (p *Policed) install(l *qdisc.Link, sent Policer) error {
	options, err := sent.encode()
	if err != nil {
		return err
	}
	if err := l.AddFilter("matchall", clsactEgress, options); err != nil {
		return supported(err)
	}
	got, _, err := readPolicer(l)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	p.Got = got
	step := float64(sent.BitsPerSecond) / 8 * tick.Seconds()
	if sent.BitsPerSecond/8 != got.BitsPerSecond/8 || math.Abs(float64(sent.Burst-got.Burst)) > 2*step+1 {
		return &MismatchError{[]string{fmt.Sprintf("sent %v, got %v", sent, got)}}
	}
	return nil
}

// encode is the payload of matchall's TCA_OPTIONS.
func (p Policer) encode() ([]byte, error) {
	spec := specOf(p.BitsPerSecond)
	spec.CellLog = rateTableCells
	parms := policeParms{Action: actShot, Burst: uint32(p.ticks()), MTU: math.MaxUint32, Rate: spec}
	nested := func(ae *netlink.AttributeEncoder, kind uint16, f func(*netlink.AttributeEncoder)) {
		ae.Nested(kind, func(ae *netlink.AttributeEncoder) error {
			f(ae)
			return nil
		})
	}
	ae := netlink.NewAttributeEncoder()
	nested(ae, attrMatchAllAct, func(ae *netlink.AttributeEncoder) {
		const first = 1
		nested(ae, first, func(ae *netlink.AttributeEncoder) {
			ae.String(attrActKind, policeKind)
			nested(ae, attrActOptions, func(ae *netlink.AttributeEncoder) {
				ae.Bytes(attrPolice, qdisc.Pack(parms))
				ae.Bytes(attrPoliceTable, make([]byte, rateTableSize))
				if bytes := p.BitsPerSecond / 8; bytes > math.MaxUint32 {
					ae.Uint64(attrPoliceWide, uint64(bytes))
				}
			})
		})
	})
	return ae.Encode()
}

// readPolicer is the policer of a device, and its counters: Packets and Bytes are of all that came, Drops of those that did not pass.
func readPolicer(l *qdisc.Link) (Policer, netdev.Stats, error) {
	filters, err := l.Filters(clsactEgress)
	if err != nil {
		return Policer{}, netdev.Stats{}, err
	}
	i := slices.IndexFunc(filters, func(f qdisc.Filter) bool { return f.Kind == "matchall" && f.Options != nil })
	if i < 0 {
		return Policer{}, netdev.Stats{}, fmt.Errorf("%w: no policer", ErrNone)
	}
	return parsePolicer(filters[i].Options)
}

// parsePolicer reads matchall's TCA_OPTIONS.
func parsePolicer(data []byte) (p Policer, s netdev.Stats, err error) {
	options, err := attributes(data)
	if err != nil {
		return p, s, err
	}
	actions, err := attributes(options[attrMatchAllAct])
	if err != nil {
		return p, s, err
	}
	for _, data := range actions {
		action, err := attributes(data)
		if err != nil {
			return p, s, err
		}
		if unix.ByteSliceToString(action[attrActKind]) != policeKind {
			continue
		}
		own, err := attributes(action[attrActOptions])
		if err != nil {
			return p, s, err
		}
		var parms policeParms
		if err := qdisc.Unpack("struct tc_police", own[attrPolice], &parms); err != nil {
			return p, s, err
		}
		bytes := uint64(parms.Rate.Rate)
		if wide, there := own[attrPoliceWide]; there {
			if err := qdisc.Unpack("TCA_POLICE_RATE64", wide, &bytes); err != nil {
				return p, s, err
			}
		}
		p = Policer{BitsPerSecond: int64(min(bytes, math.MaxInt64/8) * 8), Burst: bucket(bytes, parms.Burst)}
		s, _, err = qdisc.ParseStats(action[attrActStats])
		return p, s, err
	}
	return p, s, fmt.Errorf("%w: no policer", ErrNone)
}

// PolicerStats reads what the policer of d has counted: Packets and Bytes of all that came to it, Drops of those that it did not let pass.
func PolicerStats(d netdev.Device) (s netdev.Stats, err error) {
	err = qdisc.With(d, func(l *qdisc.Link) error {
		_, s, err = readPolicer(l)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("read statistics of the policer of %s: %w", d, err)
	}
	return s, nil
}

// Unpolice removes the policer of d.
func Unpolice(d netdev.Device) error {
	err := qdisc.With(d, func(l *qdisc.Link) error {
		if _, _, err := readPolicer(l); err != nil {
			return err
		}
		return l.Delete(clsactParent)
	})
	if err != nil {
		return fmt.Errorf("remove the policer of %s: %w", d, err)
	}
	return nil
}
