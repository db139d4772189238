package queue

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Errors for callers to decide on. They are wrapped: use errors.Is.
var (
	// ErrNotSupported means that the kernel has no such queue.
	ErrNotSupported = errors.New("not supported by this kernel: modprobe sch_KIND (tbf needs sch_tbf, a policer act_police, sch_ingress and " +
		"cls_matchall; dualpi2 came with Linux 6.17), or use a guest kernel: tcplab run")

	// ErrNotPermitted means that the caller lacks the permission.
	ErrNotPermitted = qdisc.ErrNotPermitted

	// ErrBusy means that the device has rules (package impair/rules), or a policer.
	ErrBusy = errors.New("the device has a clsact or ingress qdisc already, for rules or another policer: put them on different devices (tc qdisc show)")

	// ErrNone means that there is no such queue on the device.
	ErrNone = errors.New("the root qdisc is none of this package's")
)

// Applied is a queue as asked and as applied.
type Applied struct {
	Asked Queue `json:"asked"`
	Got   Queue `json:"got"` // with the kernel's defaults

	// Notes say what was chosen, and where Got differs from Asked within the kernel's resolution. Each begins with the name of a field.
	Notes []string `json:"notes,omitempty"`
}

// MismatchError says that the kernel accepted a queue, but reports another. It stays as it is.
type MismatchError struct {
	Differences []string // a field each: "Limit: sent 5, got 6"
}

func (e *MismatchError) Error() string {
	return "the kernel has another queue than was sent: " + strings.Join(e.Differences, "; ")
}

const tbf = "tbf"

// Apply makes q the queue of d, instead of any qdisc that is there, and reads back what the kernel has. What was queued, and what arrives in
// that instant, is lost.
//
// Errors: [*invalid.FieldError] (joined; nothing was done), [ErrNotSupported], [ErrNotPermitted], [netdev.ErrNoDevice], [*MismatchError] (it
// was done; see Applied). After any other error the device has the kernel's default.
func Apply(d netdev.Device, q Queue) (Applied, error) {
	a := Applied{Asked: q}
	err := errors.Join(d.Validate(), q.Validate())
	if err == nil {
		err = qdisc.With(d, a.apply)
	}
	if err != nil {
		return a, fmt.Errorf("set the queue of %s to %v: %w", d, q, err)
	}
	return a, nil
}

func (a *Applied) apply(l *qdisc.Link) error {
	bottleneck, err := a.burst(l)
	if err != nil {
		return err
	}
	err = a.make(l, bottleneck)
	if err != nil && !errors.As(err, new(*MismatchError)) {
		// Not half of it: a token bucket without a queue drops all.
		_ = l.Delete(qdisc.Root) // there may be nothing to delete
	}
	return supported(err)
}

// supported says what to do about a kernel that lacks something.
func supported(err error) error {
	if errors.Is(err, qdisc.ErrUnknownKind) {
		return fmt.Errorf("%w (%w)", ErrNotSupported, err)
	}
	return err
}

// burst is the bottleneck with a bucket.
func (a *Applied) burst(l *qdisc.Link) (Bottleneck, error) {
	b := a.Asked.Bottleneck
	const frames = 2
	switch frame := l.Frame(); {
	case b.BitsPerSecond == 0:
	case b.Burst == 0:
		b.Burst = max(frames*frame, int(b.BitsPerSecond/8/int64(time.Second/time.Millisecond)))
		a.Notes = append(a.Notes, fmt.Sprintf("Bottleneck.Burst: chosen %d bytes, the larger of %d frames and a millisecond", b.Burst, frames))
	case b.Burst < frame:
		var c checker
		c.refuse("Bottleneck.Burst", b.Burst, fmt.Sprintf("at least %d bytes, a frame of this device: the kernel would drop all that are larger", frame))
		return b, errors.Join(c.errs...)
	}
	return b, nil
}

// make makes the qdiscs, and compares what the kernel has.
func (a *Applied) make(l *qdisc.Link, bottleneck Bottleneck) error {
	parent := uint32(qdisc.Root)
	if bottleneck.BitsPerSecond > 0 {
		options, err := bottleneck.encode()
		if err != nil {
			return err
		}
		handle, err := l.Replace(tbf, parent, options)
		if err != nil {
			return err
		}
		parent = qdisc.Class(handle)
	}
	form := a.Asked.Discipline.form()
	options, err := form.encode()
	if err != nil {
		return err
	}
	if _, err := l.Replace(a.Asked.Discipline.Kind(), parent, options); err != nil {
		return err
	}
	list, err := l.List()
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	got, err := queueOf(list)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	a.Got = got
	a.Notes = append(a.Notes, form.chosen()...)
	a.Notes = append(a.Notes, roundings(a.Asked.Discipline, got.Discipline)...)
	return a.verify(list, bottleneck, form, options)
}

// verify compares what was sent with what the kernel has, in its own units.
func (a *Applied) verify(list []qdisc.Qdisc, sent Bottleneck, form form, options []byte) error {
	var differences []string
	if want, got := sent.BitsPerSecond/8, a.Got.Bottleneck.BitsPerSecond/8; want != got {
		differences = append(differences, fmt.Sprintf("Bottleneck.BitsPerSecond: sent %d bytes/s, got %d", want, got))
	}
	// The kernel keeps the bucket as a time, and tells it in ticks.
	if step := float64(sent.BitsPerSecond) / 8 * tick.Seconds(); math.Abs(float64(sent.Burst-a.Got.Bottleneck.Burst)) > 2*step+1 {
		differences = append(differences, fmt.Sprintf("Bottleneck.Burst: sent %d, got %d", sent.Burst, a.Got.Bottleneck.Burst))
	}
	if a.Got.kind() != a.Asked.Discipline.Kind() {
		differences = append(differences, fmt.Sprintf("Discipline: sent %s, got %s", a.Asked.Discipline.Kind(), a.Got.kind()))
	} else {
		of, err := form.differences(options, discipline(list).Options)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		differences = append(differences, of...)
	}
	if differences != nil {
		return &MismatchError{differences}
	}
	return nil
}

// roundings note the fields that the kernel has a little otherwise.
func roundings(asked, got Discipline) []string {
	var notes []string
	want, has := optionsOf(asked), optionsOf(got)
	for i, o := range want {
		if i < len(has) && o.isSet() && o.text() != has[i].text() {
			notes = append(notes, fmt.Sprintf("%s: asked %s, got %s: %s", o.field, o.text(), has[i].text(), o.why))
		}
	}
	return notes
}

// optionsOf are those of a copy of a discipline; nil of those that have none.
func optionsOf(d Discipline) []option {
	switch q := d.(type) {
	case FQ:
		return q.options()
	case CoDel:
		return q.options()
	case FQCoDel:
		return q.options()
	case PIE:
		return q.options()
	case Cake:
		return q.options()
	case DualPI2:
		return q.options()
	}
	return nil
}

// discipline is the one that packets wait in: below a token bucket its child.
func discipline(list []qdisc.Qdisc) qdisc.Qdisc {
	root := at(list, qdisc.Root)
	if root.Kind == tbf {
		return at(list, qdisc.Class(root.Handle))
	}
	return root
}

func at(list []qdisc.Qdisc, parent uint32) qdisc.Qdisc {
	if i := slices.IndexFunc(list, func(q qdisc.Qdisc) bool { return q.Parent == parent }); i >= 0 {
		return list[i]
	}
	return qdisc.Qdisc{}
}

// queueOf is the queue that qdiscs make.
func queueOf(list []qdisc.Qdisc) (Queue, error) {
	var q Queue
	root := at(list, qdisc.Root)
	if root.Kind == tbf {
		if err := q.Bottleneck.decode(root.Options); err != nil {
			return Queue{}, err
		}
	}
	waits := discipline(list)
	f := formOf(waits.Kind)
	if f == nil {
		return Queue{}, fmt.Errorf("%w: it is %q", ErrNone, waits.Kind)
	}
	if err := f.decode(waits.Options); err != nil {
		return Queue{}, fmt.Errorf("%s: %w", waits.Kind, err)
	}
	q.Discipline = f.discipline()
	return q, nil
}

// Read returns the queue that the kernel has on d, whoever set it. The error is [ErrNone] if it is none of this package's.
func Read(d netdev.Device) (Queue, error) {
	var q Queue
	err := qdisc.With(d, func(l *qdisc.Link) error {
		list, err := l.List()
		if err == nil {
			q, err = queueOf(list)
		}
		return err
	})
	if err != nil {
		return Queue{}, fmt.Errorf("read the queue of %s: %w", d, err)
	}
	return q, nil
}

// ReadStats reads the counters of the qdiscs on d, the root first: of a queue with a bottleneck the token bucket's, then the discipline's. A
// token bucket counts what it has sent, and all that was dropped by it or below it.
func ReadStats(d netdev.Device) ([]Stats, error) {
	var all []Stats
	err := qdisc.With(d, func(l *qdisc.Link) error {
		list, err := l.List()
		if err != nil {
			return err
		}
		for _, q := range []qdisc.Qdisc{at(list, qdisc.Root), discipline(list)} {
			if len(all) > 0 && q.Handle == at(list, qdisc.Root).Handle {
				continue
			}
			s, err := statsOf(q)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read statistics of the queue of %s: %w", d, err)
	}
	return all, nil
}

// Clear removes the queue from d, with what is in it: the kernel's default takes its place. If there is none of this package's it is
// [ErrNone].
func Clear(d netdev.Device) error {
	err := qdisc.With(d, func(l *qdisc.Link) error {
		list, err := l.List()
		if err != nil {
			return err
		}
		if _, err := queueOf(list); err != nil {
			return err
		}
		return l.Delete(qdisc.Root)
	})
	if err != nil {
		return fmt.Errorf("clear the queue of %s: %w", d, err)
	}
	return nil
}

// The attributes of tbf's TCA_OPTIONS.
const (
	attrTBFParms  = 1 // struct tc_tbf_qopt
	attrTBFRate64 = 4 // u64, where 32 bits do not do
	attrTBFBurst  = 6 // u32, bytes

	// tick is the unit of struct tc_tbf_qopt's and struct tc_police's times (PSCHED_SHIFT 6).
	tick = 64 * time.Nanosecond

	linkEthernet = 1 // TC_LINKLAYER_ETHERNET: no table of times is needed
)

// rateSpec is struct tc_ratespec.
type rateSpec struct {
	CellLog, LinkLayer      byte
	Overhead, Align, MinLen uint16
	Rate                    uint32 // bytes per second
}

// tbfParms is struct tc_tbf_qopt.
type tbfParms struct {
	Rate, Peak         rateSpec
	Limit, Buffer, MTU uint32
}

func specOf(bitsPerSecond int64) rateSpec {
	return rateSpec{LinkLayer: linkEthernet, Rate: uint32(min(bitsPerSecond/8, math.MaxUint32))}
}

// encode has no limit: the child has.
func (b Bottleneck) encode() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attrTBFParms, qdisc.Pack(tbfParms{Rate: specOf(b.BitsPerSecond)}))
	if bytes := b.BitsPerSecond / 8; bytes > math.MaxUint32 {
		ae.Uint64(attrTBFRate64, uint64(bytes))
	}
	ae.Uint32(attrTBFBurst, uint32(b.Burst))
	return ae.Encode()
}

func (b *Bottleneck) decode(data []byte) error {
	all, err := attributes(data)
	if err != nil {
		return fmt.Errorf("tbf: %w", err)
	}
	var parms tbfParms
	if err := qdisc.Unpack("struct tc_tbf_qopt", all[attrTBFParms], &parms); err != nil {
		return err
	}
	bytes := uint64(parms.Rate.Rate)
	if wide, there := all[attrTBFRate64]; there {
		if err := qdisc.Unpack("TCA_TBF_RATE64", wide, &bytes); err != nil {
			return err
		}
	}
	b.BitsPerSecond, b.Burst = int64(min(bytes, math.MaxInt64/8)*8), bucket(bytes, parms.Buffer)
	return nil
}

// bucket is the size of one that fills in so many ticks, in bytes.
func bucket(bytesPerSecond uint64, ticks uint32) int {
	return int(math.Round(float64(bytesPerSecond) * (time.Duration(ticks) * tick).Seconds()))
}
