package queue

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Kind is "fq".
func (q FQ) Kind() string { return "fq" }

// Kind is "codel".
func (q CoDel) Kind() string { return "codel" }

// Kind is "fq_codel".
func (q FQCoDel) Kind() string { return "fq_codel" }

// Kind is "pie".
func (q PIE) Kind() string { return "pie" }

// Kind is "cake".
func (q Cake) Kind() string { return "cake" }

// Kind is "dualpi2".
func (q DualPI2) Kind() string { return "dualpi2" }

// String is as of [Discipline].
func (q FQ) String() string { return text(q.Kind(), q.options()) }

// String is as of [Discipline].
func (q CoDel) String() string { return text(q.Kind(), q.options()) }

// String is as of [Discipline].
func (q FQCoDel) String() string { return text(q.Kind(), q.options()) }

// String is as of [Discipline].
func (q PIE) String() string { return text(q.Kind(), q.options()) }

// String is as of [Discipline].
func (q Cake) String() string { return text(q.Kind(), q.options()) }

// String is as of [Discipline].
func (q DualPI2) String() string { return text(q.Kind(), q.options()) }

// Validate is as of [Discipline].
func (q FQ) Validate() error { return check("FQ", q.options(), nil) }

// Validate is as of [Discipline].
func (q CoDel) Validate() error { return check("CoDel", q.options(), nil) }

// Validate is as of [Discipline].
func (q FQCoDel) Validate() error { return check("FQCoDel", q.options(), nil) }

// Validate is as of [Discipline].
func (q PIE) Validate() error { return check("PIE", q.options(), nil) }

// Validate is as of [Discipline].
func (q Cake) Validate() error { return check("Cake", q.options(), nil) }

// Validate is as of [Discipline].
func (q DualPI2) Validate() error {
	return check("DualPI2", q.options(), func(c *checker) {
		if q.StepThreshold != 0 && q.StepPackets != 0 {
			c.refuse("DualPI2.StepPackets", q.StepPackets, "0 with StepThreshold: it is one threshold, in packets or as a time")
		}
	})
}

func (q DropTail) form() form { return &tail{q} }
func (q FQ) form() form       { return &table[FQ]{value: &q, options: q.options()} }
func (q CoDel) form() form    { return &table[CoDel]{value: &q, options: q.options()} }
func (q FQCoDel) form() form  { return &table[FQCoDel]{value: &q, options: q.options()} }
func (q PIE) form() form      { return &table[PIE]{value: &q, options: q.options()} }
func (q DualPI2) form() form  { return &table[DualPI2]{value: &q, options: q.options()} }
func (q RED) form() form      { return &early{RED: q} }

// rttOfTarget is how many targets cake's RTT has where tc sets it (iproute2, tc/q_cake.c).
const rttOfTarget = 20

func (q Cake) form() form {
	var notes []string
	if q.RTT > 0 && q.Target == 0 {
		q.Target = max(q.RTT/rttOfTarget, time.Microsecond)
		notes = append(notes, "Target: chosen "+q.Target.String()+": a twentieth of RTT, as tc sets it")
	}
	return &table[Cake]{value: &q, options: q.options(), notes: notes}
}

// forms are of the zero values of all kinds.
var forms = map[string]func() form{
	"pfifo":    func() form { return DropTail{}.form() },
	"bfifo":    func() form { return &tail{DropTail{Bytes: 1}} },
	"fq":       func() form { return FQ{}.form() },
	"codel":    func() form { return CoDel{}.form() },
	"fq_codel": func() form { return FQCoDel{}.form() },
	"pie":      func() form { return PIE{}.form() },
	"red":      func() form { return RED{}.form() },
	"cake":     func() form { return Cake{}.form() },
	"dualpi2":  func() form { return DualPI2{}.form() },
}

// formOf is that of a kind; nil if it is unknown.
func formOf(kind string) form {
	if make := forms[kind]; make != nil {
		return make()
	}
	return nil
}

func kinds() []string { return slices.Sorted(maps.Keys(forms)) }

// unmarshalStrict refuses fields that it does not know: who misspells one would get the kernel's default.
func unmarshalStrict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
