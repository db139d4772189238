package profiles

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate writes a rate for people: "1.6 Mbit/s"; "no limit" for 0.
func Rate(bits int64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if float64(bits) >= unit.size {
			return strconv.FormatFloat(float64(bits)/unit.size, 'f', -1, 64) + " " + unit.name
		}
	}
	if bits == 0 {
		return "no limit"
	}
	return strconv.FormatInt(bits, 10) + " bit/s"
}

// Loss writes the loss of both directions, which are the same in all profiles.
func (p Profile) Loss() string {
	if p.downLoss == nil {
		return "none"
	}
	return strings.TrimPrefix(p.downLoss.String(), "loss ")
}

// Delay writes the one-way delays: "50ms down, 65ms up", or "50ms each way".
func (p Profile) Delay() string {
	if p.downDelay == p.upDelay {
		return p.downDelay.Round(time.Microsecond).String() + " each way"
	}
	return fmt.Sprintf("%v down, %v up", p.downDelay, p.upDelay)
}
