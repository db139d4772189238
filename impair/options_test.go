package impair

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
)

// leaves are the names of all fields of a type, of its structs' and of those of all loss models.
func leaves(of reflect.Type, prefix string) (names []string) {
	for i := range of.NumField() {
		switch f := of.Field(i); {
		case f.Type == reflect.TypeFor[Loss]():
			for _, model := range []Loss{RandomLoss{}, GilbertElliott{}, FourState{}} {
				names = append(names, leaves(reflect.TypeOf(model), prefix+f.Name+".")...)
			}
		case f.Type.Kind() == reflect.Struct:
			names = append(names, leaves(f.Type, prefix+f.Name+".")...)
		default:
			names = append(names, prefix+f.Name)
		}
	}
	return names
}

func TestEveryFieldHasAnEntry(t *testing.T) {
	var names []string
	for _, f := range fields {
		if f.name != "Loss model" { // the type of Loss
			names = append(names, f.name)
		}
	}
	NewWithT(t).Expect(names).To(Equal(leaves(reflect.TypeFor[Netem](), "")), "options has one entry each, in the order of the fields")
}

// withField is an impairment with a field that is not zero, and as little else as the field needs.
func withField(t *testing.T, f field) Netem {
	t.Helper()
	var p parts
	switch {
	case strings.HasPrefix(f.name, "Loss.P1"), strings.HasPrefix(f.name, "Loss.P2"), strings.HasPrefix(f.name, "Loss.P3"):
		p.model, p.four.P13 = fourStateModel, 1
	case f.name == "Loss.P", f.name == "Loss.R", strings.HasPrefix(f.name, "Loss.OneMinus"):
		p.model, p.gilbert.OneMinusK = gilbertModel, 1
	case strings.HasPrefix(f.name, "Loss"), f.name == "ECN":
		p.model, p.random.Percent = randomModel, 1
	case strings.HasPrefix(f.name, "Reorder"):
		p.Delay, p.Reorder.Percent = ms, 1
	case f.name == "Duplicate.Correlation":
		p.Duplicate.Percent = 1
	case f.name == "Corrupt.Correlation":
		p.Corrupt.Percent = 1
	case strings.HasPrefix(f.name, "Rate"):
		p.Rate.BitsPerSecond, p.Rate.CellSize = Mbit, 1
	case f.name == "Slot.Delay", f.name == "Slot.Jitter", f.name == "Slot.Distribution":
		p.Slot.Delay, p.Slot.Jitter = time.Second, ms
	case strings.HasPrefix(f.name, "Slot"):
		p.Slot.MaxDelay = time.Second
	case f.name == "Jitter", f.name == "DelayCorrelation", f.name == "Distribution":
		p.Delay, p.Jitter = time.Second, ms
	}
	switch v := f.at(&p).(type) {
	case *time.Duration:
		*v = 30 * ms
	case *Percent:
		*v = 12.5
	case *Distribution:
		*v = Pareto
	case *lossModel:
	case *bool:
		*v = true
	case *int:
		*v = 77
	case *int32:
		*v = 77
	case *int64:
		*v = 77_000
	case *uint64:
		*v = 77
	default:
		t.Fatalf("%s is a %T, which this test has no value for", f.name, v)
	}
	return p.assemble()
}

// Each field that is not zero is seen in the text, in a record, on the wire and in what is read back.
func TestEveryFieldIsKept(t *testing.T) {
	for _, f := range fields {
		t.Run(f.name, func(t *testing.T) {
			g := NewWithT(t)
			n := withField(t, f)
			g.Expect(n.Validate()).To(Succeed())
			with := takeApart(n)
			value := f.text(&with)

			without := with
			reflect.ValueOf(f.at(&without)).Elem().SetZero()
			if f.name != "Loss model" {
				g.Expect(n.String()).NotTo(Equal(without.assemble().String()), "text")
				g.Expect(n.String()).To(ContainSubstring(worded(f, &with)), "text")
			}

			text, err := json.Marshal(n)
			g.Expect(err).NotTo(HaveOccurred())
			object, name := f.path()
			var written map[string]any
			g.Expect(json.Unmarshal(text, &written)).To(Succeed())
			if object != "" {
				written = written[object].(map[string]any)
			}
			g.Expect(written).To(HaveKeyWithValue(name, Not(BeZero())), "JSON")
			var back Netem
			g.Expect(json.Unmarshal(text, &back)).To(Succeed())
			g.Expect(back).To(Equal(n), "JSON")

			r, sent, got := overTheWire(g, n, false)
			if _, unreported := f.at(&with).(*Distribution); unreported {
				g.Expect(f.kernel).To(BeNil())
				g.Expect(r.tables).NotTo(Equal(tables{}))
				return
			}
			read := takeApart(got.netem())
			g.Expect(f.text(&read)).To(Equal(value), "what is read back")
			if f.name == "Loss model" {
				return
			}
			g.Expect(f.kernel.get(got)).NotTo(BeZero(), "wire")
			g.Expect(verify(sent, changed(got, f.name, f.kernel.get(got)+1))).
				To(MatchError(HavePrefix("the kernel has another netem than asked: "+f.keptName()+": ")), "verification")
		})
	}
}

// worded is the field's value as it stands in the text.
func worded(f field, p *parts) string {
	switch f.name {
	case "ECN":
		return "ecn"
	case "Rate.BitsPerSecond":
		return bitRate(p.Rate.BitsPerSecond)
	}
	return f.text(p)
}

// Each field but the seed has values that netem cannot take, and its check refuses them by its name.
func TestEveryFieldIsValidated(t *testing.T) {
	for _, f := range fields {
		t.Run(f.name, func(t *testing.T) {
			p := takeApart(withField(t, f))
			switch v := f.at(&p).(type) {
			case *time.Duration:
				*v = -1
			case *Percent:
				*v = 101
			case *Distribution:
				*v = "none"
			case *int:
				*v = -1
			case *int32:
				*v = math.MinInt32
			case *int64:
				*v = -1
			case *bool:
				p.model = noLoss
			case *lossModel, *uint64:
				return // any type of Loss, and any number, is allowed
			}
			err := p.assemble().Validate()
			field, ok := errors.AsType[*invalid.FieldError](err)
			NewWithT(t).Expect(ok).To(BeTrue(), "%v is not refused", p.assemble())
			NewWithT(t).Expect(field.Field).To(Equal(f.name))
		})
	}
}

// No two numbers of the kernel's share bytes, and all lie within their structs.
func TestPlaces(t *testing.T) {
	taken := map[string]string{}
	take := func(name string, p place) {
		i := slices.IndexFunc(layout, func(l layoutEntry) bool { return l.attribute == p.in })
		if i < 0 || p.offset+p.form.size() > layout[i].size {
			t.Errorf("%s: %+v is not within the layout", name, p)
		}
		for b := range p.form.size() {
			at := fmt.Sprintf("attribute %d, byte %d", p.in, p.offset+b)
			if taken[at] != "" {
				t.Errorf("%s and %s share %s", taken[at], name, at)
			}
			taken[at] = name
		}
	}
	for _, f := range fields {
		switch k := f.kernel.(type) {
		case place:
			take(f.name, k)
		case ticks:
			take(f.name, k.coarse)
			take(f.name, k.exact)
		case wideRate:
			take(f.name, k.narrow)
			take(f.name, k.wide)
		}
	}
	total := 0
	for _, l := range layout {
		total += l.size
	}
	if len(taken) != total {
		t.Errorf("%d bytes have a field, the layout has %d: %v", len(taken), total, slices.Sorted(maps.Keys(taken)))
	}
}
