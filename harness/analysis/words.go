package analysis

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %ss", thousands(int64(n)), one)
}

// are is "1 segment is", "2 segments are".
func are(n int, one string) string {
	if n == 1 {
		return plural(n, one) + " is"
	}
	return plural(n, one) + " are"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return thousands(int64(n)) + " times"
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of)) }

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// short writes a time with four digits: 1.234 s, 50.12 ms, 17 µs.
func short(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d >= time.Second:
		return sign + digits4(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return sign + digits4(float64(d)/float64(time.Millisecond)) + " ms"
	case d >= time.Microsecond:
		return sign + digits4(float64(d)/float64(time.Microsecond)) + " µs"
	case d == 0:
		return "0 s"
	default:
		return fmt.Sprintf("%s%d ns", sign, d)
	}
}

// rounded writes a time of half a minute or more in whole seconds: 351 s.
func rounded(d time.Duration) string {
	return thousands(int64(d.Round(time.Second)/time.Second)) + " s"
}

// bitRate writes 19.2 Mbit/s.
func bitRate(bps float64) string {
	units := []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}}
	for _, u := range units {
		if bps >= u.size {
			return digits4(bps/u.size) + " " + u.name
		}
	}
	return digits4(bps) + " bit/s"
}

func digits4(f float64) string {
	places := 0
	for limit := 1000.0; f < limit && places < 3; limit /= 10 {
		places++
	}
	s := fmt.Sprintf("%.*f", places, f)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return cmp.Or(s, "0")
}
