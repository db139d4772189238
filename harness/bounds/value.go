package bounds

import (
	"fmt"
	"math"
	"reflect"
	"time"
)

// seconds is the unit of times.
const seconds = "s"

// A Value is a number with its unit.
type Value struct {
	Number float64 // in Unit; times are in seconds
	Unit   string  // "s", "Mbit/s", "bytes", "%"; "" is a plain number
	Whole  bool    // it counts something: between 7 and 8 there is nothing
}

// In is a number with a unit. It is whole if its type is: In(n, "segments").
func In[T Number](number T, unit string) Value {
	v := valueOf(number)
	v.Unit = unit
	return v
}

// Mbit is a rate in bit/s as Mbit/s.
func Mbit(bitsPerSecond float64) Value { return Value{Number: bitsPerSecond / 1e6, Unit: "Mbit/s"} }

// Percent is a share of 1 as a percentage: 0.7 is 70 %.
func Percent(share float64) Value { return Value{Number: 100 * share, Unit: "%"} }

// Of is the value of a Value, a time.Duration (in seconds), or any other number, which is whole if its type is. It is an
// error for anything else, and for what is not finite.
func Of(actual any) (Value, error) {
	if v, ok := actual.(Value); ok {
		return v, finite(v)
	}
	if d, ok := actual.(time.Duration); ok {
		return valueOf(d), nil
	}
	switch r := reflect.ValueOf(actual); {
	case r.CanInt():
		return Value{Number: float64(r.Int()), Whole: true}, nil
	case r.CanUint():
		return Value{Number: float64(r.Uint()), Whole: true}, nil
	case r.CanFloat():
		v := Value{Number: r.Float()}
		return v, finite(v)
	}
	return Value{}, fmt.Errorf("a %T is no number: want a time.Duration, an integer, a float or a bounds.Value", actual)
}

func finite(v Value) error {
	if math.IsNaN(v.Number) || math.IsInf(v.Number, 0) {
		return fmt.Errorf("%v is not a finite number", v.Number)
	}
	return nil
}

// Number is what a bound can be given as. A time.Duration is one, and is taken as seconds.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

func valueOf[T Number](n T) Value {
	switch n := any(n).(type) {
	case time.Duration:
		return Value{Number: n.Seconds(), Unit: seconds}
	case float32:
		return Value{Number: float64(n)}
	case float64:
		return Value{Number: n}
	}
	return Value{Number: float64(n), Whole: !reflect.ValueOf(n).CanFloat()}
}
